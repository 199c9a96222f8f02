"""What becomes of a document after its upload: tagged, deleted, restored, purged with its bytes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from access.audit import Action
from data_store.database import Database, Result, Work
from data_store.failures import failures_as_problems
from data_store.records.schemas import Document
from data_store.records.statements import ALL, TABLE, audit, audited, document_of, statement
from observability import NotFound, Problem, current_correlation_id
from observability.database import Connection, Statement
from observability.fields import MAX_TAGS

_WHICH: Final = "client_id = :of_client AND id = :of_id"
_NOT_THERE: Final = "The client has no such document."
# As many as are done at once, of all tenants.
_PURGED_AT_ONCE: Final = 100
KEYS_AT_ONCE: Final = 1000


def _update(what: str, which: str) -> Statement:
    return audited(f"UPDATE {TABLE} SET {what} WHERE {_WHICH} AND {which} RETURNING {ALL}", "UPDATE")  # noqa: S608


_DELETE: Final = _update("deleted_at = now()", "deleted_at IS NULL")
_RESTORE: Final = _update("deleted_at = NULL", "deleted_at > now() - make_interval(secs => :kept_seconds)")
# A tag that is null is taken away (RFC 7396).
_CHANGE: Final = _update("tags = jsonb_strip_nulls(tags || CAST(:tags AS jsonb))", "deleted_at IS NULL")
_SELECT: Final = statement(f"SELECT {ALL} FROM {TABLE} WHERE {_WHICH}", "SELECT")  # noqa: S608
_PURGE: Final = statement("SELECT purge_document(:of_id, :by_actor, CAST(:in_request AS uuid))", "DELETE")
_PURGE_EXPIRED: Final = statement(
    "SELECT purge_expired(:kept_seconds, :most, CAST(:in_request AS uuid))", "DELETE"
)
_REMOVED_KEYS: Final = statement("SELECT removed_storage_keys(:most)", "SELECT", table="removed_contents")
_FORGET_KEYS: Final = statement("SELECT forget_storage_keys(:keys)", "DELETE", table="removed_contents")


class DocumentLifecycle:
    """Changes documents of clients; a deleted one can be restored for `kept_seconds`."""

    def __init__(self, database: Database, *, kept_seconds: float) -> None:
        self._database = database
        self._kept_seconds = kept_seconds

    async def delete(self, client_id: str, document_id: int, *, actor: str) -> None:
        """Hide a document; one that is deleted already stays as it is. Raises NotFound."""
        values = _values(client_id, document_id, actor, Action.DOCUMENT_DELETE)

        def mark(connection: Connection) -> None:
            if not (connection.execute(_DELETE, values) or connection.execute(_SELECT, values)):
                raise NotFound(_NOT_THERE)

        await self._write(mark, client_id)

    async def restore(self, client_id: str, document_id: int, *, actor: str) -> Document:
        """Bring a deleted document back; one that is not deleted stays as it is. Raises NotFound."""
        values = _values(client_id, document_id, actor, Action.DOCUMENT_RESTORE)

        def unmark(connection: Connection) -> Document:
            rows = connection.execute(_RESTORE, {**values, "kept_seconds": self._kept_seconds})
            rows = rows or connection.execute(_SELECT, values)
            document = document_of(rows[0]) if rows else None
            if document is None or document.deleted_at is not None:  # its time is over
                raise NotFound("The client has no such document to restore.")
            return document

        return await self._write(unmark, client_id)

    async def change(
        self, client_id: str, document_id: int, tags: Mapping[str, str | None], *, actor: str
    ) -> Document:
        """Set tags, and take those away that are None. Raises NotFound, and Problem (422) for too many."""
        values = _values(client_id, document_id, actor, Action.DOCUMENT_CHANGE)

        def set_tags(connection: Connection) -> Document:
            rows = connection.execute(_CHANGE, {**values, "tags": json.dumps(dict(tags))})
            if not rows:
                raise NotFound(_NOT_THERE)
            document = document_of(rows[0])
            if len(document.tags) > MAX_TAGS:
                raise Problem(f"A document may have {MAX_TAGS} tags.", status=422)
            return document

        return await self._write(set_tags, client_id)

    async def purge(self, client_id: str, document_id: int, *, actor: str) -> None:
        """Do away with a deleted document and its versions for ever; raises NotFound, and Problem (409) where it is not deleted."""
        values = _values(client_id, document_id, actor, Action.DOCUMENT_PURGE)

        def remove(connection: Connection) -> None:
            if connection.execute(_PURGE, values) == [(True,)]:
                return
            if connection.execute(_SELECT, values):
                raise Problem("The document is not deleted: delete it first.", status=409)
            raise NotFound(_NOT_THERE)

        await self._write(remove, client_id)

    async def purge_expired(self) -> list[str]:
        """Purge what was deleted long enough ago, of all clients, and return the names of bytes that are to be removed."""

        def remove(connection: Connection) -> list[str]:
            connection.execute(
                _PURGE_EXPIRED,
                {
                    "kept_seconds": self._kept_seconds,
                    "most": _PURGED_AT_ONCE,
                    "in_request": current_correlation_id(),
                },
            )
            return [key for (key,) in connection.execute(_REMOVED_KEYS, {"most": KEYS_AT_ONCE})]

        with failures_as_problems():
            return await self._database.write(remove, tenant=None)

    async def forget(self, keys: Sequence[str]) -> None:
        """Forget bytes that are removed from the storage."""

        def remove(connection: Connection) -> None:
            connection.execute(_FORGET_KEYS, {"keys": list(keys)})

        with failures_as_problems():
            await self._database.write(remove, tenant=None)

    async def _write(self, work: Work[Result], client_id: str) -> Result:
        with failures_as_problems():
            return await self._database.write(work, tenant=client_id)


def _values(client_id: str, document_id: int, actor: str, action: Action) -> dict[str, Any]:
    return {"of_client": client_id, "of_id": document_id, **audit(actor, action)}
