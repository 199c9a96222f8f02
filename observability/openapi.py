"""What the OpenAPI documents of both services say of every answer, refusals included."""

from typing import Any, Final

from fastapi import FastAPI

from observability.problems import PROBLEM_JSON, title_of
from observability.signals import CORRELATION_HEADER

_PROBLEM: Final = "Problem"
_CORRELATION_ID: Final = {
    "type": "string",
    "format": "uuid",
    "description": "Finds the request's trace and log lines",
}
_LIMIT: Final = {"type": "integer", "description": "Of a client that may store no more"}
_SCHEMA: Final[dict[str, Any]] = {
    "title": _PROBLEM,
    "description": "A refusal or failure (RFC 9457)",
    "type": "object",
    "required": ["type", "title", "status", "detail", "correlation_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "examples": ["about:blank"]},
        "title": {"type": "string", "examples": ["Unprocessable Content"]},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "examples": [422]},
        "detail": {"type": "string", "description": "What is wrong, and what to do"},
        "correlation_id": _CORRELATION_ID,
        "errors": {
            "type": "array",
            "description": "Of a request that has not the form that is documented",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "limit": _LIMIT,
        "used": _LIMIT,
        "requested": _LIMIT,
    },
}
_RETRY_AFTER: Final = {
    "Retry-After": {
        "description": "Seconds to wait before the next try",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_HEADERS: Final[dict[int, dict[str, Any]]] = {
    401: {
        "WWW-Authenticate": {
            "description": "The challenge (RFC 6750)",
            "required": True,
            "schema": {"type": "string"},
        }
    },
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses` with these refusals and failures."""
    return {
        status: {
            "description": title_of(status),
            "headers": dict(_HEADERS.get(status, {})),
            "content": {PROBLEM_JSON: {"schema": {"$ref": f"#/components/schemas/{_PROBLEM}"}}},
        }
        for status in statuses
    }


def _with_whole_limits(part: Any) -> Any:
    """Return a part of a document with the limits of integers as such: FastAPI writes 5 as 5.0."""
    if isinstance(part, dict):
        return {name: _with_whole_limits(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_with_whole_limits(value) for value in part]
    return int(part) if isinstance(part, float) and part.is_integer() else part


def describe_answers(app: FastAPI) -> None:
    """Put into the OpenAPI document what every answer has (FastAPI: Extending OpenAPI)."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document: dict[str, Any] = _with_whole_limits(generate())
        document.setdefault("components", {}).setdefault("schemas", {})[_PROBLEM] = _SCHEMA
        for methods in document["paths"].values():
            for operation in methods.values():
                for answer in operation["responses"].values():
                    answer.setdefault("headers", {})[CORRELATION_HEADER] = {
                        "required": True,
                        "schema": _CORRELATION_ID,
                    }
        return document

    app.openapi = openapi  # type: ignore[method-assign]
