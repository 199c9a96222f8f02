"""The SQL of the credentials: functions that answer one question each, for a role that may read neither users nor keys."""

from typing import Any, Final

from sqlalchemy import FunctionElement, Select, Text, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import BYTEA

from data_store.credentials.keys import stored_hash
from data_store.credentials.schemas import KeyClaim, Principal, SubjectClaim
from data_store.database import Database
from data_store.failures import failures_as_problems
from data_store.records.models import users
from observability.database import Connection, Statement

_COLUMNS: Final = tuple(Principal.model_fields)


# What the functions are about; their names would tell less.
_ABOUT: Final = ("SELECT", users.name)


def _rows_of(call: FunctionElement[Any]) -> Select[Any]:
    returned = call.table_valued(*map(column, _COLUMNS))
    return select(*returned.columns)


_BY_KEY: Final = Statement.of(
    _rows_of(func.principal_by_key(bindparam("prefix", type_=Text), bindparam("hash", type_=BYTEA))),
    about=_ABOUT,
    durable=False,  # when a key was last used may be lost with the server's last second
)
_BY_SUBJECT: Final = Statement.of(
    _rows_of(func.principal_by_subject(bindparam("subject", type_=Text))), about=_ABOUT
)


class PrincipalRepository:
    """Finds who somebody is, of all clients."""

    def __init__(self, database: Database, *, pepper: str) -> None:
        self._database = database
        self._pepper = pepper

    async def by_key(self, claim: KeyClaim) -> Principal | None:
        """Return whose a key is, None when it is not valid now."""
        hashed = stored_hash(claim.digest, self._pepper)
        return await self._find(_BY_KEY, {"prefix": claim.prefix, "hash": hashed})

    async def by_subject(self, claim: SubjectClaim) -> Principal | None:
        """Return who a subject is, None when it is nobody's or may not do anything now."""
        return await self._find(_BY_SUBJECT, {"subject": claim.subject})

    async def _find(self, statement: Statement, values: dict[str, Any]) -> Principal | None:
        def find(connection: Connection) -> Principal | None:
            rows = connection.execute(statement, values)
            return Principal.model_validate(dict(zip(_COLUMNS, rows[0], strict=True))) if rows else None

        with failures_as_problems():
            return await self._database.read(find, tenant=None)
