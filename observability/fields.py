"""Fields that the APIs of both services show, written and checked in one way."""

import re
from datetime import MINYEAR, UTC, datetime
from typing import Annotated, Final

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer

INT32_MAX: Final = 2**31 - 1  # PostgreSQL's integer
INT64_MAX: Final = 2**63 - 1  # PostgreSQL's bigint
JSON_INTEGER_MAX: Final = 2**53 - 1  # every reader of JSON keeps it (RFC 8259, 6), OpenAPI documents too

DocumentId = Annotated[int, Path(ge=1, le=INT64_MAX, description="The document's number")]


def rfc3339(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC, always with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _storable(value: str) -> str:
    """Return a text that PostgreSQL can store; pydantic lets surrogates pass where it has no length to count."""
    if "\0" in value:
        raise ValueError("must not contain NUL characters: PostgreSQL cannot store them")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain surrogates: they are no characters") from None
    return value


StoredText = Annotated[str, AfterValidator(_storable), Field(json_schema_extra={"pattern": "^[^\\x00]*$"})]
_TAG_NAME: Final = "[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
MAX_TAGS: Final = 32  # of a document
TagName = Annotated[str, Field(pattern=f"^{_TAG_NAME}$")]
TagValue = Annotated[StoredText, Field(min_length=1, max_length=256)]
# As lists are asked for it.
Tag = Annotated[
    str,
    Field(pattern=f"^{_TAG_NAME}:[^\\x00]{{1,256}}$", examples=["year:2026"]),
    AfterValidator(_storable),
]
# RFC 3339, and nothing else that pydantic would take for a time.
_MOMENT: Final = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})$"


def _is_a_moment(value: object) -> object:
    if isinstance(value, str) and not re.match(_MOMENT, value):
        raise ValueError("must be a time with its offset, as 2026-01-01T00:00:00Z (RFC 3339)")
    return value


def _in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC, for PostgreSQL knows no offset of 16 hours; beyond the years that Python knows, the last it knows."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        return first if moment.year == MINYEAR else last


Moment = Annotated[AwareDatetime, BeforeValidator(_is_a_moment), AfterValidator(_in_utc)]
Timestamp = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]
