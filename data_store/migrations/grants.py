"""What the role of the running service may do: what its statements need, column by column, and no more."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from data_store.records.models import (
    audit_log,
    clients,
    document_metadata,
    document_texts,
    document_versions,
    summary_jobs,
)

_GENERATED: Final = ("id", "upload_timestamp")
_LATER: Final = ("version", "version_digest", "tags", "deleted_at")
# What its first upload has made of a document stays.
_FOR_EVER: Final = ("id", "client_id", "idempotency_digest")
_COUNTERS: Final = ("stored_documents", "stored_bytes")
TABLES: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    clients.name: {
        "SELECT": ("id", *_COUNTERS, "max_documents", "max_stored_bytes"),
        "INSERT": ("id", *_COUNTERS),
        "UPDATE": _COUNTERS,
    },
    document_metadata.name: {
        "SELECT": tuple(column.name for column in document_metadata.columns),
        "INSERT": tuple(
            column.name for column in document_metadata.columns if column.name not in (*_GENERATED, *_LATER)
        ),
        "UPDATE": tuple(column.name for column in document_metadata.columns if column.name not in _FOR_EVER),
    },
    document_versions.name: {
        "SELECT": tuple(column.name for column in document_versions.columns),
        "INSERT": tuple(column.name for column in document_versions.columns),
        # Nothing is changed: whoever locks a row must be let do this.
        "UPDATE": ("storage_key",),
    },
    document_texts.name: {
        "SELECT": ("client_id", "document_id"),
        "INSERT": ("client_id", "document_id", "name", "content"),
        "UPDATE": ("name", "content"),
    },
    summary_jobs.name: {
        "INSERT": ("client_id", "document_id", "version", "content", "traceparent", "correlation_id")
    },
    audit_log.name: {"INSERT": ("client_id", "actor", "action", "document_id", "correlation_id")},
    "alembic_version": {"SELECT": ("version_num",)},  # to see at its start that nothing is to be migrated
}
FUNCTIONS: Final = (
    "principal_by_key(text, bytea)",
    "principal_by_subject(text)",
    "known_storage_keys(text[])",
    "search_documents(text, integer, real, bigint)",
    "purge_document(bigint, text, uuid)",
    "purge_expired(double precision, integer, uuid)",
    "removed_storage_keys(integer)",
    "forget_storage_keys(text[])",
    "seconds_to_next_summary()",
    "claim_summaries(integer, double precision)",
    "write_summary(bigint, integer, text, text, text)",
)

_LACKS: Final = text(
    "SELECT NOT has_schema_privilege(:role, current_schema(), 'USAGE') OR EXISTS ("
    " SELECT FROM unnest(CAST(:tables AS text[]), CAST(:columns AS text[]), CAST(:privileges AS text[]))"
    " AS needed(in_table, in_column, privilege) WHERE NOT has_column_privilege(:role, in_table, in_column, privilege)"
    ") OR EXISTS ("
    " SELECT FROM unnest(CAST(:functions AS text[])) AS function WHERE NOT has_function_privilege(:role, function, 'EXECUTE'))"
)
# PostgreSQL lets everybody make temporary tables, which a session finds before all others: one named as a table of ours
# would be taken for it by whoever has that connection next. Only the database's owner can forbid it.
_PUBLIC_MAY_CREATE: Final = text(
    "SELECT has_database_privilege('public', oid, 'TEMPORARY, CREATE') AND pg_has_role(datdba, 'USAGE')"
    " FROM pg_database WHERE datname = current_database()"
)
_POWERS: Final = text(
    "SELECT rolsuper, rolbypassrls, EXISTS ("
    " SELECT FROM pg_class WHERE relnamespace = CAST(current_schema() AS regnamespace)"
    " AND relname = ANY (:tables) AND pg_has_role(relowner, 'MEMBER')"
    ") FROM pg_roles WHERE rolname = current_user"
)


@dataclass(frozen=True, slots=True)
class _Privilege:
    table: str
    privilege: str
    columns: Sequence[str]


def lacks_grants(connection: Connection, role: str) -> bool:
    """Tell whether a role may not do all that the service does, or everybody may do more."""
    each = [(one.table, column, one.privilege) for one in _privileges() for column in one.columns]
    tables, columns, privileges = (list(names) for names in zip(*each, strict=True))
    values = {"role": role, "tables": tables, "columns": columns, "privileges": privileges}
    lacks = connection.scalar(_LACKS, {**values, "functions": list(FUNCTIONS)})
    return bool(lacks or connection.scalar(_PUBLIC_MAY_CREATE))


def grant(connection: Connection, role: str) -> None:
    """Let a role do what the service does, and nobody make tables beside; to be committed by the caller."""
    quote = connection.dialect.identifier_preparer.quote
    schema = quote(str(connection.scalar(text("SELECT current_schema()"))))
    given = [
        f"{one.privilege} ({', '.join(map(quote, one.columns))}) ON {quote(one.table)}"
        for one in _privileges()
    ]
    given += [f"USAGE ON SCHEMA {schema}", *(f"EXECUTE ON FUNCTION {function}" for function in FUNCTIONS)]
    for one in given:
        connection.execute(text(f"GRANT {one} TO {quote(role)}"))
    if connection.scalar(_PUBLIC_MAY_CREATE):
        database = quote(str(connection.scalar(text("SELECT current_database()"))))
        connection.execute(text(f"REVOKE TEMPORARY, CREATE ON DATABASE {database} FROM PUBLIC"))


def power_over_policies(connection: Connection) -> str | None:
    """Return why row-level security does not hold for the role that is connected; None where it does."""
    superuser, bypasses, owns = connection.execute(_POWERS, {"tables": list(TABLES)}).one()
    if superuser:
        return "is a superuser"
    if bypasses:
        return "has BYPASSRLS"
    return "owns the tables" if owns else None


def _privileges() -> Iterator[_Privilege]:
    for table, privileges in TABLES.items():
        for privilege, columns in privileges.items():
            yield _Privilege(table, privilege, columns)
