"""Fields that the APIs of both services show, written and checked in one way."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Path
from pydantic import AfterValidator, Field, PlainSerializer

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
Timestamp = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]
