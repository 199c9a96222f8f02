"""New versions of documents: the document becomes what is new, and what it was is kept beside it."""

from typing import Final

from access.audit import Action
from data_store.database import Database
from data_store.failures import failures_as_problems
from data_store.records.limits import Limits
from data_store.records.repository import (
    KEPT_AT,
    LATER,
    WHERE_SAME_BYTES,
    Added,
    AddedBefore,
    check_same,
    new_values,
)
from data_store.records.schemas import Document, NewDocument
from data_store.records.statements import ALL, COLUMNS, TABLE, audit, audited, document_of, statement
from observability import NotFound
from observability.database import Connection, Statement

_MOST_SHOWN: Final = 1000
_OF_THE_CLIENT: Final = "client_id = :of_client AND {id} = :of_id"
_VERSIONS: Final = "document_versions"
_REPLACED: Final = (
    *("filename", "file_type", "sha256", "storage_key", "file_size"),
    *("summary", "summary_source", "summary_reason", "summary_status"),
)
_KEPT: Final = ", ".join(("client_id", "version", *_REPLACED, "upload_timestamp", "version_digest"))
# The columns of a document, of a version that it was; what belongs to all of its versions is the document's.
_OF_A_VERSION: Final = ", ".join(
    {"id": "document_id", "tags": "'{}'::jsonb", "deleted_at": "NULL"}.get(name, name) for name in COLUMNS
)

# Locks the client's row until the commit, as storing a document does.
_COUNT_BYTES: Final = statement(
    """
    UPDATE clients SET stored_bytes = stored_bytes + :new_file_size
    WHERE id = :of_client
        AND stored_bytes <= coalesce(max_stored_bytes, :most_bytes) - :new_file_size
    RETURNING id
    """,
    "UPDATE",
    table="clients",
)
_LOCK: Final = statement(
    f"SELECT {ALL} FROM {TABLE} WHERE {_OF_THE_CLIENT.format(id='id')} AND deleted_at IS NULL FOR UPDATE",  # noqa: S608
    "SELECT",
)
_KEEP: Final = statement(
    f"INSERT INTO {_VERSIONS} (document_id, {_KEPT}) SELECT id, {_KEPT} FROM {TABLE} WHERE {_OF_THE_CLIENT.format(id='id')}",  # noqa: S608
    "INSERT",
    table=_VERSIONS,
)


def _replace(more: str = "") -> Statement:
    return statement(
        f"""
        WITH client AS (SELECT CAST(:of_client AS text) AS id), {WHERE_SAME_BYTES}, document AS (
            UPDATE {TABLE} SET {", ".join(f"{name} = {KEPT_AT if name == 'storage_key' else f':new_{name}'}" for name in _REPLACED)},
                version = version + 1, version_digest = :new_idempotency_digest, upload_timestamp = now()
            WHERE {_OF_THE_CLIENT.format(id="id")} RETURNING {ALL}
        ), text AS (
            UPDATE document_texts SET name = :new_filename, content = :new_text
            WHERE {_OF_THE_CLIENT.format(id="document_id")}
        ), audit AS (
            INSERT INTO audit_log (client_id, actor, action, document_id, correlation_id)
            SELECT client_id, :by_actor, :action, id, CAST(:in_request AS uuid) FROM document
        ){more} SELECT {ALL} FROM document
        """,  # noqa: S608  names of columns
        "UPDATE",
    )


_REPLACE: Final = _replace()
_REPLACE_LATER: Final = _replace(LATER)
_SELECT_EARLIER: Final = statement(
    f"""
    SELECT {ALL} FROM {TABLE} WHERE {_OF_THE_CLIENT.format(id="id")} AND version_digest = :new_idempotency_digest
    UNION ALL
    SELECT {_OF_A_VERSION} FROM {_VERSIONS}
    WHERE {_OF_THE_CLIENT.format(id="document_id")} AND version_digest = :new_idempotency_digest
    """,  # noqa: S608  names of columns
    "SELECT",
)
_SELECT_VERSIONS: Final = statement(
    f"""
    SELECT {ALL} FROM {TABLE} WHERE {_OF_THE_CLIENT.format(id="id")} AND deleted_at IS NULL
    UNION ALL
    SELECT {_OF_A_VERSION} FROM {_VERSIONS} WHERE {_OF_THE_CLIENT.format(id="document_id")}
        AND EXISTS (SELECT FROM {TABLE} WHERE {_OF_THE_CLIENT.format(id="id")} AND deleted_at IS NULL)
    ORDER BY version DESC LIMIT :most
    """,  # noqa: S608  names of columns
    "SELECT",
)
_VERSION: Final = f"""
    SELECT {ALL} FROM {TABLE} WHERE {_OF_THE_CLIENT.format(id="id")} AND deleted_at IS NULL AND version = :of_version
    UNION ALL
    SELECT {_OF_A_VERSION} FROM {_VERSIONS} WHERE {_OF_THE_CLIENT.format(id="document_id")} AND version = :of_version
        AND EXISTS (SELECT FROM {TABLE} WHERE {_OF_THE_CLIENT.format(id="id")} AND deleted_at IS NULL)
"""  # noqa: S608  names of columns
_SELECT_VERSION: Final = statement(_VERSION, "SELECT")
_AUDITED_SELECT_VERSION: Final = audited(_VERSION, "SELECT", durable=False)


class DocumentVersions:
    """The versions of documents."""

    def __init__(self, database: Database, *, limits: Limits, audit_reads: bool) -> None:
        self._database = database
        self._limits = limits
        self._audit_reads = audit_reads

    async def add(self, client_id: str, document_id: int, new: NewDocument, *, actor: str) -> Added:
        """Let a document become what is new; an upload that is repeated gives the version that it has made.

        Raises NotFound; Problem: 413 for what is beyond what the client may store, 422 for a repetition that is none.
        """
        which = {"of_client": client_id, "of_id": document_id}
        values = new_values(new) | which
        earlier = {**which, "new_idempotency_digest": values["new_idempotency_digest"]}

        def replace(connection: Connection) -> Document:
            counted = connection.execute(_COUNT_BYTES, self._limits.values(client_id) | values)
            if not connection.execute(_LOCK, which):
                raise NotFound("The client has no such document.")
            if connection.execute(_SELECT_EARLIER, earlier):
                raise AddedBefore
            if not counted:
                self._limits.refuse(connection, client_id, new.file_size, documents=0)
            connection.execute(_KEEP, which)
            sql = _REPLACE_LATER if new.summary_later else _REPLACE
            rows = connection.execute(sql, values | audit(actor, Action.DOCUMENT_ADD_VERSION))
            return document_of(rows[0])

        def select_earlier(connection: Connection) -> Document:
            return document_of(connection.execute(_SELECT_EARLIER, earlier)[0])

        with failures_as_problems():
            try:
                return Added(await self._database.write(replace, tenant=client_id), repeated=False)
            except AddedBefore:
                found = await self._database.write(select_earlier, tenant=client_id)
        check_same(found, new)
        return Added(found, repeated=True)

    async def list(self, client_id: str, document_id: int) -> list[Document]:
        """Return a document's newest versions, the newest first; none where it is not there or is deleted."""
        values = {"of_client": client_id, "of_id": document_id, "most": _MOST_SHOWN}

        def select_versions(connection: Connection) -> list[Document]:
            return [document_of(row) for row in connection.execute(_SELECT_VERSIONS, values)]

        with failures_as_problems():
            return await self._database.read(select_versions, tenant=client_id)

    async def get(self, client_id: str, document_id: int, version: int, *, actor: str) -> Document | None:
        """Return what a document is or was in one version, None where it is not there, is deleted, or has had no such version."""
        sql = _AUDITED_SELECT_VERSION if self._audit_reads else _SELECT_VERSION
        values = {
            "of_client": client_id,
            "of_id": document_id,
            "of_version": version,
            **audit(actor, Action.DOCUMENT_READ),
        }

        def select_version(connection: Connection) -> Document | None:
            rows = connection.execute(sql, values)
            return document_of(rows[0]) if rows else None

        with failures_as_problems():
            return await self._database.read(select_version, tenant=client_id)
