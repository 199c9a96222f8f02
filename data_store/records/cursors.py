"""Where a page of a list ended: opaque to clients, and held against what it may be when it comes back."""

import base64
import binascii
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_store.records.schemas import Order
from observability import Problem
from observability.fields import INT64_MAX, StoredText, Timestamp

_Id = Annotated[int, Field(ge=1, le=INT64_MAX)]


class _Position(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: _Id


class ByTime(_Position):
    """After a document of this time."""

    order: Literal[Order.NEWEST, Order.OLDEST]
    key: Timestamp


class ByName(_Position):
    """After a document of this name."""

    order: Literal[Order.NAME]
    key: StoredText


class ByRank(_Position):
    """After a document that was found with this rank."""

    order: Literal["rank"]
    key: float = Field(ge=0, le=1e6, allow_inf_nan=False)


Cursor = ByTime | ByName | ByRank


def cursor_of(at: Cursor) -> str:
    """Return a position as clients are told it."""
    return base64.urlsafe_b64encode(at.model_dump_json().encode()).decode().rstrip("=")


def position(kind: type[Cursor], order: str, cursor: str) -> Cursor:
    """Return the position that a cursor says; raises Problem (422) where it is none of this order."""
    try:
        at = kind.model_validate_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        at = None
    if at is None or at.order != order:
        raise Problem("The cursor is not one that was given for this order: begin without one.", status=422)
    return at
