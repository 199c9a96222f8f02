"""Waiting for telemetry with a deadline, on a clock of the test's own."""

from collections.abc import Callable

import httpx

from observability_checks.polling import Deadline, wait_until_none
from telemetry_queries.failures import describe


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def missing_until(clock: Clock, moment: float) -> Callable[[], list[str]]:
    """Telemetry that arrives at a moment."""
    return lambda: [] if clock.now >= moment else [f"missing at {clock.now:.1f}"]


def waited(clock: Clock, problems: Callable[[], list[str]], seconds: float) -> list[str]:
    """Wait on the test's clock."""
    return list(wait_until_none(problems, Deadline(seconds, clock=clock), pause=clock.wait))


def test_what_is_there_is_found_without_waiting():
    """No time is lost on telemetry that has arrived."""
    clock = Clock()
    assert waited(clock, missing_until(clock, 0), 10) == []
    assert clock.now == 0


def test_what_arrives_in_time_is_found():
    """Asking goes on until it is there."""
    clock = Clock()
    assert waited(clock, missing_until(clock, 3), 10) == []
    assert 3 <= clock.now < 4


def test_what_never_arrives_is_a_problem_at_the_deadline():
    """The last answer says what is still missing."""
    clock = Clock()
    (problem,) = waited(clock, missing_until(clock, 99), 10)
    assert problem.startswith("missing at 10.")


def test_a_deadline_that_is_over_still_asks_once():
    """The last of many requests is judged by what is there, not by how long the others took."""
    clock = Clock()
    assert waited(clock, missing_until(clock, 0), -1) == []


def refused() -> list[str]:
    """A server that is not there."""
    request = httpx.Request("GET", "http://jaeger:16686/api/traces?service=x")
    raise httpx.ConnectError("connection refused", request=request)


def test_a_server_that_does_not_answer_is_a_problem_and_no_crash():
    """It may come back before the deadline; if not, the message names its address."""
    clock = Clock()
    (problem,) = waited(clock, refused, 1)
    assert problem == "http://jaeger:16686/api/traces did not answer: connection refused"


def test_an_error_answer_is_shown_with_its_status_and_text():
    """The reason that the server gives is not lost."""
    request = httpx.Request("GET", "http://loki:3100/loki/api/v1/query_range")
    error = httpx.HTTPStatusError(
        "bad", request=request, response=httpx.Response(400, text="parse error", request=request)
    )
    assert describe(error) == "http://loki:3100/loki/api/v1/query_range answered 400: parse error"


def test_an_error_without_a_request_has_a_message_too():
    """Not every error of the client knows its address."""
    assert describe(httpx.ReadTimeout("")) == "the server did not answer: ReadTimeout"
