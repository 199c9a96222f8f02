"""Log lines on stdout hold exactly the contract's fields, and OTLP gets the same record."""

import asyncio
import gc
import io
import json
import logging
import time
import traceback
from typing import Any

import pytest

from observability import Problem
from observability.context import RequestContext, enter_request
from observability.exceptions import WITHHELD
from tests.canaries import MAIL
from tests.records import LINE_FIELDS
from tests.telemetry_spy import TelemetrySpy, spied_telemetry

KEPT = "0f8fad5b-d9cb-469f-a165-70867728950e"
logger = logging.getLogger("document_api.test")


def line(stdout: io.StringIO) -> dict[str, Any]:
    """Return the only line on stdout."""
    (only,) = stdout.getvalue().splitlines()
    found: dict[str, Any] = json.loads(only)
    return found


@pytest.fixture
def request_context() -> Any:
    """Be inside of a request of a known client."""
    enter_request(RequestContext(KEPT, client_id="acme"))
    yield
    enter_request(None)  # type: ignore[arg-type]


@pytest.fixture
def stdout(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The standard output that the telemetry finds when it is built; to be asked for before it."""
    written = io.StringIO()
    monkeypatch.setattr("sys.stdout", written)
    return written


@pytest.mark.usefixtures("request_context")
def test_a_line_holds_exactly_the_contracts_fields(stdout: io.StringIO, telemetry: TelemetrySpy) -> None:
    """Each with its type and its value."""
    before = time.time()
    with telemetry.telemetry.step("step"):
        logger.info("Stored %s", "it", extra={"context_data": {"document_id": 5}})

    found = line(stdout)
    context = telemetry.span("step").context
    assert set(found) == LINE_FIELDS
    assert before - 1 < found.pop("timestamp") < time.time() + 1
    assert found == {
        "level": "INFO",
        "service": "service-under-test",
        "correlation_id": KEPT,
        "log_message": "Stored it",
        "context_data": {"client_id": "acme", "document_id": 5},
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "logger": "document_api.test",
    }


def test_outside_of_a_request_the_fields_are_there_and_empty(
    stdout: io.StringIO, telemetry: TelemetrySpy
) -> None:
    """Whoever reads the lines needs no second case."""
    logger.warning("alone")

    found = line(stdout)
    assert set(found) == LINE_FIELDS
    assert (found["correlation_id"], found["trace_id"], found["span_id"]) == ("", "", "")
    assert found["context_data"] == {}


def test_an_exception_stays_on_its_line(stdout: io.StringIO, telemetry: TelemetrySpy) -> None:
    """The stack is in context_data, in one line with the message."""
    logger.error("failed", exc_info=Problem("No room."))

    found = line(stdout)
    assert found["level"] == "ERROR"
    assert "observability.problems.Problem: No room." in found["context_data"]["exception"]


@pytest.mark.parametrize("text", ["two\nlines", "中文 🙂 é", 'quo"te\\', "\x00\x1b[31m", "\u2028"])
def test_every_text_is_one_line_of_json(stdout: io.StringIO, telemetry: TelemetrySpy, text: str) -> None:
    """No text of a client breaks a line or forges one."""
    logger.info("%s", text)

    out = stdout.getvalue()
    assert out.count("\n") == 1
    assert json.loads(out)["log_message"] == text


def test_values_that_are_no_json_are_written_as_text(stdout: io.StringIO, telemetry: TelemetrySpy) -> None:
    """A path in context_data is no reason to lose the line."""
    logger.info("x", extra={"context_data": {"kind": ValueError}})

    lines = [json.loads(text) for text in stdout.getvalue().splitlines()]
    assert {"kind": "<class 'ValueError'>"} in [found["context_data"] for found in lines]


def test_debug_lines_wait_for_their_level(stdout: io.StringIO, telemetry: TelemetrySpy) -> None:
    """LOG_LEVEL holds for both outlets."""
    logger.debug("detail")

    assert stdout.getvalue() == ""
    assert telemetry.messages() == []


@pytest.mark.usefixtures("request_context")
def test_the_same_record_goes_out_by_otlp(telemetry: TelemetrySpy) -> None:
    """Body, severity, identity, trace and logger."""
    with telemetry.telemetry.step("step"):
        logger.warning("Stored", extra={"context_data": {"document_id": 5}})

    (record,) = telemetry.logs()
    context = telemetry.span("step").context
    log = record.log_record
    assert (log.body, log.severity_text) == ("Stored", "WARN")
    assert (log.trace_id, log.span_id) == (context.trace_id, context.span_id)
    attributes: dict[str, Any] = dict(log.attributes or {})
    assert (attributes["correlation_id"], attributes["client_id"]) == (KEPT, "acme")
    assert attributes["logger"] == "document_api.test"
    assert attributes["context_data.document_id"] == 5
    assert record.resource.attributes["service.name"] == "service-under-test"


def test_the_exporters_own_complaints_stay_out_of_otlp(stdout: io.StringIO, telemetry: TelemetrySpy) -> None:
    """A failing export must not feed itself; on stdout it is seen."""
    logging.getLogger("opentelemetry.exporter").error("cannot export")

    assert telemetry.messages() == []
    assert line(stdout)["log_message"] == "cannot export"


def test_a_failing_export_does_not_feed_itself(telemetry: TelemetrySpy) -> None:
    """What is said of a batch that could not be sent is no item of the next."""
    logging.getLogger("observability.batches").error("Telemetry could not be exported")

    assert telemetry.messages() == []


def test_a_full_disk_below_stdout_leaves_the_log_store_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Just then somebody wants to know."""

    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("sys.stdout", Full())
    with spied_telemetry() as spy:
        logger.warning("told")

        assert spy.messages() == ["told"]


def test_what_cannot_be_written_is_not_told_on_stderr_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], telemetry: TelemetrySpy
) -> None:
    """logging's own complaint shows message and arguments."""

    class Unspeakable:
        def __str__(self) -> str:
            raise ValueError(MAIL)

    monkeypatch.setattr("sys.stdout", io.StringIO())
    logger.info("of %s", MAIL, extra={"context_data": {"what": Unspeakable()}})

    told = capsys.readouterr().err
    assert told.startswith("A line of document_api.test was lost.\nTraceback")
    assert "ValueError" in told
    assert MAIL not in told
    assert telemetry.messages() == []


@pytest.mark.parametrize(
    ("name", "message", "arguments", "told"),
    [
        (
            "asyncio",
            f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{MAIL}')>",
            (),
            True,
        ),
        ("asyncio", f"Exception in callback answer('{MAIL}')\nhandle: <Handle>", (), True),
        ("some.library", f"Cannot parse {MAIL}", (), False),
        ("some.library", "Cannot parse %s", (MAIL,), True),
        ("concurrent.futures", "exception calling callback for %r", (MAIL,), True),
        ("opentelemetry.baggage.propagation", "Baggage list-member `%s` is invalid", (MAIL,), True),
    ],
)
def test_libraries_messages_are_told_without_their_values(
    stdout: io.StringIO,
    telemetry: TelemetrySpy,
    name: str,
    message: str,
    arguments: tuple[str, ...],
    *,
    told: bool,
) -> None:
    """Nobody has read what all of them put into their messages."""
    logging.getLogger(name).warning(message, *arguments)

    found = line(stdout)["log_message"]
    assert (found != WITHHELD) is told
    assert found == WITHHELD or message.startswith(found)
    assert MAIL not in stdout.getvalue() + telemetry.everything()


async def test_a_task_that_nobody_waits_for_tells_its_frames(
    stdout: io.StringIO, telemetry: TelemetrySpy
) -> None:
    """asyncio shows the exception in its message."""

    async def fail() -> None:
        raise ValueError(MAIL)

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    gc.collect()

    found = line(stdout)
    assert found["log_message"] == "Task exception was never retrieved"
    assert "in fail\n" in found["context_data"]["exception"]
    everything = telemetry.everything()
    assert found["log_message"] in everything, "what is sent is looked at"
    assert MAIL not in stdout.getvalue() + everything


def test_libraries_that_are_known_say_all(stdout: io.StringIO, telemetry: TelemetrySpy) -> None:
    """Addresses to listen on, and processes."""
    logging.getLogger("uvicorn.error").info("Uvicorn running on %s:%d", "127.0.0.1", 8000)

    assert line(stdout)["log_message"] == "Uvicorn running on 127.0.0.1:8000"


def test_a_traceback_in_a_message_is_told_by_its_frames(stdout: io.StringIO, telemetry: TelemetrySpy) -> None:
    """Starlette hands uvicorn that of a failed start as text."""
    try:
        int(MAIL)
    except ValueError:
        logging.getLogger("uvicorn.error").error(traceback.format_exc())  # noqa: TRY400  as uvicorn does

    found = line(stdout)["log_message"].splitlines()
    assert found[0] == "Traceback (most recent call last):"
    assert found[1].endswith("in test_a_traceback_in_a_message_is_told_by_its_frames")
    assert found[2:] == ["ValueError"]


def test_what_a_library_adds_for_terminals_stays_out_of_otlp(telemetry: TelemetrySpy) -> None:
    """uvicorn says each thing a second time, in colours."""
    logger.warning("Started", extra={"color_message": "\x1b[36mStarted"})

    (record,) = telemetry.logs()
    assert set(record.log_record.attributes or {}) == {"logger"}


def test_a_parsers_word_on_a_clients_mistake_is_no_warning(telemetry: TelemetrySpy) -> None:
    """The client is told, the span says why, and nobody who sends rubbish fills the log."""
    logging.getLogger("python_multipart.multipart").warning("Expected boundary character")

    assert telemetry.messages() == []
