"""Lists of documents, page by page, and the search in their names and texts."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from data_store.database import Database
from data_store.failures import failures_as_problems
from data_store.records.cursors import ByName, ByRank, ByTime, Cursor, cursor_of, position
from data_store.records.schemas import Document, DocumentPage, Found, FoundPage, Listing, Order, Search
from data_store.records.statements import ALL, COLUMNS, TABLE, document_of, statement
from observability.database import Connection, Row, Statement

# Around each word of an excerpt that was asked for, as migrations/versions/0004 has them.
_START, _END = "\x02", "\x03"
_FILTERED: Final = f"""
    SELECT {ALL} FROM {TABLE}
    WHERE client_id = :of_client AND (deleted_at IS NOT NULL) = :deleted
        AND (CAST(:file_type AS text) IS NULL OR file_type = :file_type)
        AND (CAST(:name AS text) IS NULL OR position(lower(:name COLLATE pg_c_utf8) IN lower(filename COLLATE pg_c_utf8)) > 0)
        AND (CAST(:uploaded_from AS timestamptz) IS NULL OR upload_timestamp >= :uploaded_from)
        AND (CAST(:uploaded_before AS timestamptz) IS NULL OR upload_timestamp < :uploaded_before)
        AND (CAST(:tags AS jsonb) IS NULL OR tags @> CAST(:tags AS jsonb))
"""  # noqa: S608  names of columns
# By what they are ordered, of which type that is, and in which direction.
_ORDERS: Final[Mapping[Order, tuple[str, str, str]]] = {
    Order.NEWEST: ("upload_timestamp", "timestamptz", "DESC"),
    Order.OLDEST: ("upload_timestamp", "timestamptz", "ASC"),
    Order.NAME: ("filename", "text", "ASC"),
}


def _listed(order: Order) -> Statement:
    """Return the statement of a page; as the driver sends values as literals, PostgreSQL plans for those that are there."""
    key, kind, direction = _ORDERS[order]
    after = "<" if direction == "DESC" else ">"
    return statement(
        f"{_FILTERED} AND (CAST(:after_id AS bigint) IS NULL OR ({key}, id) {after} (CAST(:after_key AS {kind}), :after_id))"
        f" ORDER BY {key} {direction}, id {direction} LIMIT :most",
        "SELECT",
    )


_LISTED: Final = {order: _listed(order) for order in Order}
_SEARCHED: Final = statement(
    f"""
    SELECT {", ".join(f"{TABLE}.{name}" for name in COLUMNS)}, found.rank, found.excerpt
    FROM search_documents(:asked, :most, CAST(:after_key AS real), CAST(:after_id AS bigint)) AS found
    JOIN {TABLE} ON {TABLE}.client_id = :of_client AND {TABLE}.id = found.id
    ORDER BY found.rank DESC, found.id DESC
    """,  # noqa: S608  names of columns
    "SELECT",
    table="document_texts",
)


class DocumentListing:
    """What documents a client has."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, client_id: str, listing: Listing) -> DocumentPage:
        """Return a page of a client's documents; raises Problem (422) for a cursor that is none of this order."""
        kind = ByName if listing.order is Order.NAME else ByTime
        filters = listing.model_dump(exclude={"order", "cursor", "limit", "tag"})
        tags = {"tags": json.dumps(listing.tags) if listing.tags else None}
        rows = await self._rows(
            _LISTED[listing.order],
            client_id,
            listing.limit,
            {**filters, **tags, **_after(kind, listing.order, listing.cursor)},
        )
        documents = [document_of(row) for row in rows[: listing.limit]]
        more = len(rows) > listing.limit
        return DocumentPage(
            documents=documents, next=cursor_of(_at(documents[-1], listing.order)) if more else None
        )

    async def search(self, client_id: str, search: Search) -> FoundPage:
        """Return a page of the documents that have all words asked for, the best first; raises Problem (422) as `list`."""
        values = {"asked": search.q, **_after(ByRank, "rank", search.cursor)}
        rows = await self._rows(_SEARCHED, client_id, search.limit, values)
        found = [_found(row) for row in rows[: search.limit]]
        more = len(rows) > search.limit
        return FoundPage(
            found=found,
            next=cursor_of(ByRank(order="rank", key=found[-1].rank, id=found[-1].document.id))
            if more
            else None,
        )

    async def _rows(
        self, sql: Statement, client_id: str, limit: int, values: Mapping[str, Any]
    ) -> Sequence[Row]:
        """Return the rows of a page, and one more where another follows."""

        def select_rows(connection: Connection) -> Sequence[Row]:
            return connection.execute(sql, {**values, "of_client": client_id, "most": limit + 1})

        with failures_as_problems():
            return await self._database.read(select_rows, tenant=client_id)


def _after(kind: type[Cursor], order: str, cursor: str | None) -> dict[str, Any]:
    """Return the values of where a page begins."""
    at = position(kind, order, cursor) if cursor is not None else None
    return {"after_key": at.key if at else None, "after_id": at.id if at else None}


def _at(document: Document, order: Order) -> Cursor:
    if order is Order.NAME:
        return ByName(order=order, key=document.filename, id=document.id)
    return ByTime(order=order, key=document.upload_timestamp, id=document.id)


def _found(row: Row) -> Found:
    """Return a row of the search, its marks as places in the excerpt."""
    rank, marked = row[len(COLUMNS) :]
    excerpt, highlights = "", []
    for piece in marked.split(_START):
        word, end, rest = piece.partition(_END)
        if end:
            highlights.append((len(excerpt), len(excerpt) + len(word)))
        excerpt += word + rest
    return Found(document=document_of(row), rank=rank, excerpt=excerpt, highlights=highlights)
