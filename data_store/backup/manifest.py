"""What an archive says of itself: at its beginning what it is of, at its end what is in it."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_store.backup import BackupError

# As slow as a login: whoever finds an archive tries many peppers that people think of.
_SCRYPT: Final = {"n": 2**14, "r": 8, "p": 1}

Name = Annotated[str, Field(pattern="^[a-z_][a-z0-9_]*$", max_length=63)]
Hexadecimal = Annotated[str, Field(pattern="^[0-9a-f]{32,64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read it; what is no such thing is a BackupError."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise BackupError(
                f"{where or 'the manifest'}: {first['msg']}: this version of robin cannot read the backup"
            ) from error


class PepperDigest(_Model):
    """Tells whether a pepper is the one of the backup, and nothing else."""

    salt: Hexadecimal
    digest: Hexadecimal

    @classmethod
    def of(cls, pepper: str) -> Self:
        """Digest a pepper with a salt of its own."""
        salt = secrets.token_bytes(16)
        return cls(salt=salt.hex(), digest=_digest(pepper, salt).hex())

    def matches(self, pepper: str) -> bool:
        """Tell whether it is of this pepper."""
        return hmac.compare_digest(_digest(pepper, bytes.fromhex(self.salt)).hex(), self.digest)


class TableColumns(_Model):
    """A table, and its columns in the order in which they are in the archive."""

    name: Name
    columns: Sequence[Name]


class Manifest(_Model):
    """The beginning: what the backup is of. Tables that others refer to come first."""

    format: Literal[1] = 1
    robin: str
    schema_revision: str
    postgresql: str
    taken_at: datetime
    documents: int
    files: int | None = None  # an older backup has one for each document
    document_bytes: int
    documents_at: str | None = None  # STORAGE_URL of the store that has their bytes; none: they are in it
    pepper: PepperDigest
    tables: Sequence[TableColumns]


class TableContent(_Model):
    """What is in the archive of a table."""

    rows: int
    sha256: Hexadecimal


class Complete(_Model):
    """The end: who reads this has got everything."""

    documents: int
    damaged: int = 0  # files that it has not got, or not as they were uploaded
    tables: Mapping[Name, TableContent]
    sequences: Mapping[Name, int | None]


def _digest(pepper: str, salt: bytes) -> bytes:
    return hashlib.scrypt(pepper.encode(), salt=salt, dklen=32, **_SCRYPT)
