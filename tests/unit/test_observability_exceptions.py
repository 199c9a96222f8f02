"""Of an exception telemetry is told type and frames, and its text only where somebody has read what it says."""

import ast
import asyncio
import errno
import importlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import psycopg2
import pytest
import trustme
from pydantic import BaseModel
from sqlalchemy.exc import StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from document_api.http import NoAnswer, http_client
from observability import NotFound, Problem
from observability.exceptions import (
    WITHHELD,
    attributes_of,
    exception_message,
    exception_stack,
    exception_text,
)
from tests.canaries import MAIL
from tests.ports import free_port


class Person(BaseModel):
    """What a value may be held against."""

    age: int


def raised(work: Callable[[], Any]) -> Exception:
    """Return the exception that a piece of work raises, with its frames."""
    try:
        work()
    except Exception as error:  # noqa: BLE001  whatever it is
        return error
    raise AssertionError("nothing was raised")


def failing_in_a_chain() -> None:
    """Fail three times: with a cause, and while handling that."""
    try:
        try:
            int(MAIL)
        except ValueError as error:
            raise KeyError(MAIL) from error
    except KeyError:
        raise RuntimeError(f"{MAIL} is unheard of")  # noqa: B904  the context is what is tested


def failing_in_a_group() -> None:
    """Fail twice at once."""
    raise ExceptionGroup(f"of {MAIL}", [raised(lambda: {}[MAIL]), raised(lambda: int(MAIL))])


def with_a_note() -> None:
    """Fail with a note, which is text as well."""
    error = ValueError("x")
    error.add_note(MAIL)
    raise error


@pytest.mark.parametrize(
    "work",
    [
        lambda: int(MAIL),
        lambda: {}[MAIL],
        lambda: MAIL.encode("utf-16").decode("utf-8"),
        lambda: Person.model_validate({"age": MAIL}),
        lambda: compile(f"{MAIL} says", MAIL, "exec"),
        lambda: open(MAIL),  # noqa: PTH123, SIM115  fails
        lambda: getattr(object(), MAIL),
        failing_in_a_chain,
        failing_in_a_group,
        with_a_note,
    ],
    ids=range(10),
)
def test_no_text_of_an_exception_tells_a_value(work: Callable[[], Any]) -> None:
    """Neither its own, nor that of a cause, of a group, or of a note."""
    error = raised(work)

    assert MAIL not in str(attributes_of(error)) + exception_text(error)
    assert "test_observability_exceptions.py" in exception_stack(error)


def test_the_frames_of_every_cause_are_told() -> None:
    """Type, file, line and function of all that led to it, in Python's own words between them."""
    stack = exception_stack(raised(failing_in_a_chain))

    types = ("ValueError", "KeyError", "RuntimeError")
    assert [line for line in stack.splitlines() if line.startswith(types)] == [
        f"{name}: {WITHHELD}" for name in types
    ]
    assert stack.count("in failing_in_a_chain") == 3
    assert stack.index("direct cause") < stack.index("During handling")


def test_a_cause_that_is_hidden_stays_hidden() -> None:
    """`from None` says that it does not matter."""

    def work() -> None:
        try:
            int(MAIL)
        except ValueError:
            raise RuntimeError from None

    stack = exception_stack(raised(work))
    assert "ValueError" not in stack
    assert stack.endswith("RuntimeError\n")


def test_causes_in_a_circle_end() -> None:
    """Python allows them."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one

    assert exception_stack(one).count("ValueError") == 2


def test_frames_of_exceptions_in_a_group_are_told() -> None:
    """Task groups raise nothing else."""
    stack = exception_stack(raised(failing_in_a_group))

    assert [name in stack for name in ("KeyError", "ValueError", "ExceptionGroup")] == [True] * 3


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NotFound("There is no document 7."), "There is no document 7."),
        (OSError(errno.ENOSPC, "what somebody wrote", MAIL), "ENOSPC: No space left on device"),
        (FileNotFoundError(errno.ENOENT, MAIL, MAIL), "ENOENT: No such file or directory"),
        (ConnectionRefusedError(errno.ECONNREFUSED, MAIL), "ECONNREFUSED: Connection refused"),
        (OSError(MAIL), WITHHELD),
        (TimeoutError(), ""),
        (TimeoutError(MAIL), WITHHELD),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (PoolTimeoutError("No connection in 5 s"), "No connection in 5 s"),
        (StatementError(MAIL, f"SELECT '{MAIL}'", {"a": MAIL}, ValueError(MAIL)), WITHHELD),
        (aiohttp.ServerDisconnectedError(MAIL), WITHHELD),
        (aiohttp.InvalidURL(MAIL), WITHHELD),
        (psycopg2.DataError(MAIL), WITHHELD),
        (psycopg2.ProgrammingError(MAIL), WITHHELD),
    ],
)
def test_texts_that_hold_no_input_are_told(error: Exception, message: str) -> None:
    """And of those that may, what is surely of the system's own."""
    assert exception_message(error) == message


def test_a_database_that_is_away_says_why() -> None:
    """libpq speaks of server and role, which are configured."""
    port = free_port()
    error = raised(lambda: psycopg2.connect(host="127.0.0.1", port=port, user="robin", password=MAIL))

    assert f"port {port} failed: Connection refused" in exception_message(error)
    assert MAIL not in str(attributes_of(error))


def test_a_certificate_that_is_not_believed_says_why() -> None:
    """Of all failures this is one that nobody finds without its reason."""
    certificate = trustme.CA().issue_cert("robin.example")
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(theirs)
    to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(to_us, to_them, server_hostname="robin.example")
    server = theirs.wrap_bio(to_them, to_us, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()

    error = raised(client.do_handshake)

    assert exception_message(error).startswith("CERTIFICATE_VERIFY_FAILED: unable to get local issuer")


async def test_a_server_that_is_away_says_why() -> None:
    """What document_api tells of the data store: type and the system's text, without the path."""
    async with http_client(f"http://127.0.0.1:{free_port()}", timeout_seconds=1, connections=1) as client:
        with pytest.raises(NoAnswer) as failed:
            await client.send("GET", f"/clients/{MAIL}", {})

    assert exception_message(failed.value) == (
        "aiohttp.client_exceptions.ClientConnectorError: ECONNREFUSED: Connection refused"
    )
    assert MAIL not in exception_stack(failed.value)


async def test_a_server_that_hangs_says_so() -> None:
    """aiohttp's own text names the address."""

    left = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client is gone
        writer.close()
        left.set()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with http_client(address, timeout_seconds=0.05, connections=1) as client:
            with pytest.raises(NoAnswer) as failed:
                await client.send("GET", f"/clients/{MAIL}", {})
        await left.wait()

    assert "TimeoutError" in exception_message(failed.value)
    assert MAIL not in exception_stack(failed.value)


# What details of problems are made of: numbers, IDs, and names of our own. Of a body's parser: positions, and single characters.
QUOTED = {
    *("client_id", "doc_id", "documents", "file_size", "max_documents", "max_stored", "stored"),
    "stored_documents",
    *(
        "max_bytes",
        "min_bytes_per_second",
        "error",
        "permission",
        "principal.role",
        "status",
        "answer.status",
    ),
    "detail",  # of a limit, with its number
}


def test_details_of_problems_quote_only_what_is_listed() -> None:
    """Telemetry is told each of them: whoever quotes something else has to ask himself who wrote it."""
    root = Path(__file__).parents[2]
    for service in ("data_store", "document_api"):
        importlib.import_module(f"{service}.app")
    names = {kind.__name__ for kind in subclasses(Problem)} | {"kind"}
    raised_here = [
        node.exc
        for package in ("access", "data_store", "document_api", "observability")
        for path in (root / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    ]
    problems = [call for call in raised_here if ast.unparse(call.func) in names]
    quoted = {text for call in problems for argument in call.args for text in quoted_by(argument)}

    assert len(problems) > 20
    assert quoted <= QUOTED


def quoted_by(argument: ast.expr) -> set[str]:
    """Return what a detail is made of, beside text and constants."""
    if isinstance(argument, ast.Constant | ast.JoinedStr):
        parts = {
            ast.unparse(part.value) for part in ast.walk(argument) if isinstance(part, ast.FormattedValue)
        }
    else:
        parts = {ast.unparse(argument)}
    return {part for part in parts if not part.isupper()}


def subclasses(kind: type) -> set[type]:
    """Return a class and all that is derived from it, as far as it is imported."""
    return {kind}.union(*map(subclasses, kind.__subclasses__()))
