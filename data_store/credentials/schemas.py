"""What goes in and out of the credentials' endpoints."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from data_store.credentials.keys import DIGEST_PATTERN, PREFIX_PATTERN
from observability.fields import StoredText

MAX_SUBJECT_CHARS: Final = 255


class _Claim(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class KeyClaim(_Claim):
    """What is told of an API key: never its secret."""

    prefix: str = Field(pattern=PREFIX_PATTERN, description="Finds the key")
    digest: str = Field(pattern=DIGEST_PATTERN, description="SHA-256 of the secret's characters")


class SubjectClaim(_Claim):
    """Whom a bearer token that has been verified is about."""

    subject: StoredText = Field(
        min_length=1, max_length=MAX_SUBJECT_CHARS, description="The token's claim `sub`"
    )


class Principal(BaseModel):
    """Who somebody is."""

    user_id: int
    client_id: str | None = Field(description="None: an operator, who is no client's")
    role: str
