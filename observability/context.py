"""The identity of the request being served: its correlation ID and, once known, its tenant and who sent it."""

import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Path
from pydantic import AfterValidator

CLIENT_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
# A client's id is recorded everywhere, so what begins as an API key does, or has one inside, is none.
API_KEY_INSIDE: Final = "robin_[0-9a-f]{12}_"
_CLIENT_ID: Final = re.compile(CLIENT_ID_PATTERN)
_API_KEY: Final = re.compile(API_KEY_INSIDE, re.IGNORECASE)
_UUID4: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def is_client_id(text: str) -> bool:
    """Tell whether this may be a client's id."""
    return bool(_CLIENT_ID.fullmatch(text)) and not _API_KEY.search(text)


@dataclass(slots=True)
class RequestContext:
    """One per request, shared by every task and thread that serves it."""

    correlation_id: str
    client_id: str | None = None
    actor: str | None = None
    error_type: str | None = None


_current: ContextVar[RequestContext | None] = ContextVar("robin_request", default=None)


def accept_correlation_id(candidate: str | None) -> str:
    """Return the candidate when it is a lower-case UUID4, else a new one."""
    if candidate is not None and _UUID4.fullmatch(candidate):
        return candidate
    return str(uuid.uuid4())


def current_request() -> RequestContext | None:
    """Return the request being served, None outside of one."""
    return _current.get()


def current_correlation_id() -> str | None:
    """Return the correlation ID of the request being served, None outside of one."""
    request = _current.get()
    return request.correlation_id if request else None


def current_actor() -> str | None:
    """Return who sent the request being served, None where nobody asked."""
    request = _current.get()
    return request.actor if request else None


def current_client() -> str | None:
    """Return the tenant of the request being served, None where it is not known."""
    request = _current.get()
    return request.client_id if request else None


def enter_request(request: RequestContext) -> None:
    """Make this the request being served, for the current context and those copied from it."""
    _current.set(request)


def bind_client(client_id: str) -> None:
    """Put the tenant on everything recorded of the request whose span has not ended yet."""
    request = _current.get()
    if request is not None:
        request.client_id = client_id


def bind_actor(actor: str) -> None:
    """Note who sent the request, for the audit log: a user and a credential by its name, never a secret."""
    request = _current.get()
    if request is not None:
        request.actor = actor


def _bound(client_id: str) -> str:
    if not is_client_id(client_id):
        raise ValueError("this looks like an API key, which belongs into the header X-API-Key")
    bind_client(client_id)
    return client_id


# Whoever takes one has bound it. A validator, because each dependency costs a request more than its call.
ClientId = Annotated[
    str,
    Path(pattern=CLIENT_ID_PATTERN, description="The tenant", examples=["acme"]),
    AfterValidator(_bound),
]
