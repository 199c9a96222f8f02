"""The comment that links a SQL statement to its request."""

import contextvars
import re
from collections.abc import Callable

from observability.context import RequestContext, enter_request
from observability.database import sql_comment
from tests.telemetry_spy import TelemetrySpy

CORRELATION_ID = "3f2b8a4e-6f0e-4c1d-9a59-0b6a3d5c7e21"


def in_request(comment: Callable[[], str], correlation_id: str = CORRELATION_ID) -> str:
    """Return what `comment` returns while a request is served."""

    def serve() -> str:
        enter_request(RequestContext(correlation_id))
        return comment()

    return contextvars.copy_context().run(serve)


def test_a_statement_outside_of_a_request_has_no_comment() -> None:
    """Nothing is appended where there is nothing to say."""
    assert sql_comment() == ""


def test_a_statement_of_a_request_without_a_trace_names_its_correlation_id() -> None:
    """The ID alone is worth a comment."""
    assert in_request(sql_comment) == f" /*correlation_id='{CORRELATION_ID}'*/"


def test_a_traced_statement_names_its_correlation_id_and_its_span(telemetry: TelemetrySpy) -> None:
    """Keys are sorted, values quoted, and traceparent is that of the current span."""
    with telemetry.telemetry.step("step"):
        comment = in_request(sql_comment)
    context = telemetry.span("step").context
    found = re.fullmatch(r" /\*correlation_id='(.*)',traceparent='00-(.{32})-(.{16})-(..)'\*/", comment)
    assert found is not None, comment
    assert found.groups()[:3] == (CORRELATION_ID, f"{context.trace_id:032x}", f"{context.span_id:016x}")


def test_a_value_cannot_end_the_comment() -> None:
    """Whatever becomes of correlation IDs, none of them closes the comment or its quotes."""
    comment = in_request(sql_comment, correlation_id="'*/ DROP TABLE clients; /*")
    assert comment.count("'") == 2
    assert comment.index("*/") == len(comment) - 2
