"""Errors as problem+json (RFC 9457), one shape for every answer that is not a success.

Problem                 an expected refusal or failure, with its HTTP status
+- NotFound             404
+- Unavailable          503, with Retry-After
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from opentelemetry import trace
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route

from observability.context import current_correlation_id, current_request
from observability.signals import Attribute, ErrorType

logger = logging.getLogger(__name__)
PROBLEM_JSON: Final = "application/problem+json"

_ERROR_TYPES: Final = {
    400: ErrorType.BAD_REQUEST,
    401: ErrorType.UNAUTHENTICATED,
    403: ErrorType.FORBIDDEN,
    404: ErrorType.NOT_FOUND,
    405: ErrorType.METHOD_NOT_ALLOWED,
    408: ErrorType.REQUEST_TIMEOUT,
    409: ErrorType.CONFLICT,
    413: ErrorType.PAYLOAD_TOO_LARGE,
    415: ErrorType.UNSUPPORTED_MEDIA_TYPE,
    422: ErrorType.VALIDATION_ERROR,
    429: ErrorType.TOO_MANY_REQUESTS,
    499: ErrorType.CLIENT_DISCONNECTED,
    502: ErrorType.UPSTREAM_ERROR,
    503: ErrorType.UNAVAILABLE,
    504: ErrorType.TIMEOUT,
    507: ErrorType.INSUFFICIENT_STORAGE,
}
# Where Python's names changed between 3.11 and 3.13: those that nginx's error bodies say as well.
_TITLES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}


class Problem(Exception):  # noqa: N818  RFC 9457's own word
    """A refusal or failure that is answered with `status` and said to the client in `detail`.

    Telemetry is told the detail, too: of what was sent it quotes nothing but numbers and IDs.
    """

    status: int = 500

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status if status is not None else type(self).status
        self.headers = dict(headers or {})
        self.members = members


class NotFound(Problem):
    """The thing asked for is not there, or not this client's."""

    status = 404


class Unavailable(Problem):
    """Something this service needs does not answer; the same request may succeed later."""

    status = 503

    def __init__(self, detail: str, *, retry_after_seconds: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


def error_type_of(status: int) -> str:
    """Return the label `error_type` for an HTTP status of 400 or more."""
    default = (
        ErrorType.INTERNAL_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ErrorType.CLIENT_ERROR
    )
    return _ERROR_TYPES.get(status, default)


def is_server_error(error: BaseException) -> bool:
    """Tell whether an exception is a failure of this service, not of the request."""
    if isinstance(error, Problem):
        return error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return not isinstance(error, ClientDisconnect)


def title_of(status: int) -> str:
    """Return the title of a status, the same on every Python."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def problem_body(status: int, detail: str, **members: object) -> dict[str, Any]:
    """Return the members of a problem document; `members` are extensions."""
    return {
        "type": "about:blank",
        "title": title_of(status),
        "status": status,
        "detail": detail,
        "correlation_id": current_correlation_id(),
        **members,
    }


def problem_response(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **members: object
) -> JSONResponse:
    """Return the answer for a problem, and note it on the request's span."""
    return _response(problem_body(status, detail, **members), headers, recorded=detail)


def _response(
    body: Mapping[str, Any], headers: Mapping[str, str] | None = None, *, recorded: str
) -> JSONResponse:
    """Return the answer with such a body; `recorded` is what telemetry is told where the detail quotes what was sent."""
    request = current_request()
    if request is not None:
        request.error_type = error_type_of(body["status"])
    trace.get_current_span().set_attribute(Attribute.PROBLEM_DETAIL, recorded)
    return JSONResponse(body, body["status"], headers=dict(headers or {}), media_type=PROBLEM_JSON)


async def _on_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)  # noqa: S101  registered for this class only
    if is_server_error(error):
        trace.get_current_span().record_exception(error)
        logger.error(error.detail, exc_info=error, extra={"context_data": {"status": error.status}})
    return problem_response(error.status, error.detail, error.headers, **error.members)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this class only
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        named = headers.get("Allow", "").split(", ")
        headers["Allow"] = ", ".join(sorted({*filter(None, named), *_allowed(request)}))
    detail = {
        404: f"Nothing is served at {request.scope['path']}.",
        405: f"{request.method} is not allowed here; allowed: {headers.get('Allow')}.",
    }.get(error.status_code, str(error.detail))
    body = problem_body(error.status_code, detail)
    return _response(body, headers, recorded=body["title"])


def _allowed(request: Request) -> set[str]:
    """Return the methods of all routes of a path: the framework tells those of the first one (RFC 9110, 10.2.1)."""
    return {
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL
        for method in route.methods or ()
    }


async def _on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for this class only
    errors = [
        {"field": ".".join(str(part) for part in item["loc"]), "message": item["msg"]}
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in errors)
    recorded = "; ".join(map(_kind_of_mistake, error.errors()))
    return _response(problem_body(422, detail, errors=errors), recorded=recorded)


def _kind_of_mistake(error: Mapping[str, Any]) -> str:
    """Return which field is wrong in what way, in words of ours and pydantic's; an unknown field's name is the client's."""
    place = error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"]
    return f"{'.'.join(map(str, place))}: {error['type']}"


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every refusal and failure of the app as problem+json."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
