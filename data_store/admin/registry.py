"""The SQL of the administration, in one transaction: every change is in the audit log, or not made at all."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import psycopg2
from sqlalchemy import ColumnElement, Connection, Select, Table, Update, case, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from data_store.admin.errors import AdminError
from data_store.admin.output import Row
from data_store.records.models import api_keys, audit_log, clients, users

NewUser = Mapping[str, str | None]  # client_id, email, name, role, subject

_ACTIVE: Final = "active"
_CONTRADICTIONS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "pk_clients": lambda new: f"client {new['id']} exists already",
    "fk_users_client_id_clients": lambda new: _no_client(new["client_id"]),
    "uq_users_client_id_email": lambda new: (
        f"user {new['email']} exists already {'in ' + new['client_id'] if new['client_id'] else 'as an operator'}"
    ),
    "uq_users_subject": lambda new: f"another user has the subject {new['subject']} already",
}


class Registry:
    """Clients, users and keys; what it does is told as done by this actor."""

    def __init__(self, connection: Connection, actor: str) -> None:
        self._connection = connection
        self._actor = actor

    def create_client(self, client_id: str, limits: Mapping[str, int | None]) -> None:
        """Add a client, with its limits where it has some of its own."""
        self._insert(clients, {"id": client_id, **limits})
        self._note("client.create", client_id)

    def set_limits(self, client_id: str, limits: Mapping[str, int | None]) -> Row:
        """Set a client's limits, and return all it has."""
        changed = update(clients).where(clients.c.id == client_id).values(**limits)
        returned = (clients.c.max_documents, clients.c.max_stored_bytes)
        rows = self._connection.execute(changed.returning(*returned)).mappings().all()
        if not rows:
            raise AdminError(_no_client(client_id))
        self._note("client.change", client_id)
        return dict(rows[0])

    def switch_client(self, client_id: str, *, on: bool) -> bool:
        """Enable or disable a client; return whether it was not already."""
        if self._connection.scalar(select(clients.c.id).where(clients.c.id == client_id)) is None:
            raise AdminError(_no_client(client_id))
        changed = self._changes(
            update(clients)
            .where(clients.c.id == client_id, _is_disabled(clients.c.disabled_at, is_so=on))
            .values(disabled_at=None if on else func.now())
        )
        if changed:
            self._note("client.enable" if on else "client.disable", client_id)
        return changed

    def create_user(self, new: NewUser) -> int:
        """Add a user, and return the user's number."""
        user_id = int(self._insert(users, new))
        self._note("user.create", new["client_id"], f"user:{user_id}")
        return user_id

    def find_user(self, wanted: str, client_id: str | None) -> Row:
        """Return the user with this number or mail address, of this client where one is named."""
        of = users.c.id == int(wanted) if _is_number(wanted) else users.c.email == wanted.lower()
        found = select(users).where(of)
        if client_id is not None:
            found = found.where(users.c.client_id == client_id)
        rows = self._connection.execute(found.order_by(users.c.id)).mappings().all()
        if not rows:
            raise AdminError(f"there is no user {wanted}" + (f" in {client_id}" if client_id else ""))
        if len(rows) > 1:
            numbers = ", ".join(f"{row['id']} in {row['client_id'] or 'no client'}" for row in rows)
            raise AdminError(
                f"{len(rows)} users have the mail address {wanted}: give a number instead ({numbers})"
            )
        return dict(rows[0])

    def switch_user(self, user: Row, *, on: bool) -> bool:
        """Enable or disable a user; return whether the user was not already."""
        changed = self._changes(
            update(users)
            .where(users.c.id == user["id"], _is_disabled(users.c.disabled_at, is_so=on))
            .values(disabled_at=None if on else func.now())
        )
        if changed:
            self._note("user.enable" if on else "user.disable", user["client_id"], f"user:{user['id']}")
        return changed

    def add_key(self, user: Row, prefix: str, hashed: bytes, expires_at: datetime | None) -> None:
        """Add a key of a user."""
        if user["disabled_at"] is not None:
            raise AdminError(f"user {user['email']} is disabled: enable-user {user['id']} first")
        new = {"user_id": user["id"], "prefix": prefix, "hash": hashed, "expires_at": expires_at}
        self._insert(api_keys, new)
        self._note("key.issue", user["client_id"], f"key:{prefix}")

    def revoke_key(self, prefix: str) -> bool:
        """Revoke a key; return whether it was not already."""
        owner = select(users.c.client_id).join(api_keys).where(api_keys.c.prefix == prefix)
        row = self._connection.execute(owner).one_or_none()
        if row is None:
            raise AdminError(f"there is no key {prefix}: list keys shows those there are")
        changed = self._changes(
            update(api_keys)
            .where(api_keys.c.prefix == prefix, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=func.now())
        )
        if changed:
            self._note("key.revoke", row.client_id, f"key:{prefix}")
        return changed

    def clients(self, client_id: str | None) -> list[Row]:
        """Return all clients, or the one."""
        return self._rows(
            select(
                clients.c.id.label("client"),
                _state((clients.c.disabled_at.is_not(None), "disabled")),
                clients.c.stored_documents.label("documents"),
                clients.c.max_documents,
                clients.c.stored_bytes.label("bytes"),
                clients.c.max_stored_bytes.label("max_bytes"),
                clients.c.created_at.label("created"),
            ).order_by(clients.c.id),
            clients.c.id,
            client_id,
        )

    def users(self, client_id: str | None) -> list[Row]:
        """Return the users of all clients and the operators, or those of one client."""
        return self._rows(
            select(
                users.c.id.label("user"),
                users.c.client_id.label("client"),
                users.c.email,
                users.c.name,
                users.c.role,
                _state(
                    (users.c.disabled_at.is_not(None), "disabled"),
                    (clients.c.disabled_at.is_not(None), "client disabled"),
                ),
                users.c.subject,
                users.c.created_at.label("created"),
            )
            .outerjoin_from(users, clients)
            .order_by(users.c.client_id, users.c.id),
            users.c.client_id,
            client_id,
        )

    def keys(self, client_id: str | None) -> list[Row]:
        """Return the keys of all clients, or those of one."""
        return self._rows(
            select(
                api_keys.c.prefix,
                users.c.client_id.label("client"),
                users.c.email.label("user"),
                users.c.role,
                _state(
                    (api_keys.c.revoked_at.is_not(None), "revoked"),
                    (api_keys.c.expires_at <= func.now(), "expired"),
                    (users.c.disabled_at.is_not(None), "user disabled"),
                    (clients.c.disabled_at.is_not(None), "client disabled"),
                ),
                api_keys.c.created_at.label("created"),
                api_keys.c.expires_at.label("expires"),
                api_keys.c.last_used_at.label("last_used"),
            )
            .select_from(api_keys)
            .join(users)
            .outerjoin(clients, clients.c.id == users.c.client_id)
            .order_by(users.c.client_id, api_keys.c.id),
            users.c.client_id,
            client_id,
        )

    def _rows(self, rows: Select[Any], of: ColumnElement[Any], client_id: str | None) -> list[Row]:
        if client_id is not None:
            if self._connection.scalar(select(clients.c.id).where(clients.c.id == client_id)) is None:
                raise AdminError(_no_client(client_id))
            rows = rows.where(of == client_id)
        return [dict(row) for row in self._connection.execute(rows).mappings()]

    def _insert(self, table: Table, new: Mapping[str, Any]) -> Any:
        """Insert a row and return its id; what it contradicts is said in a line."""
        try:
            return self._connection.scalar(insert(table).returning(table.c.id), new)
        except IntegrityError as error:
            diagnosis = error.orig.diag if isinstance(error.orig, psycopg2.Error) else None
            told = _CONTRADICTIONS.get((diagnosis and diagnosis.constraint_name) or "")
            if told is None:
                raise
            raise AdminError(told(new)) from error

    def _changes(self, statement: Update) -> bool:
        return bool(self._connection.execute(statement).rowcount)

    def _note(self, action: str, client_id: str | None, target: str | None = None) -> None:
        entry = {"actor": self._actor, "action": action, "client_id": client_id, "target": target}
        self._connection.execute(insert(audit_log), entry)


def _no_client(client_id: str) -> str:
    return f"there is no client {client_id}: create-client {client_id} makes it"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _is_disabled(disabled_at: ColumnElement[Any], *, is_so: bool) -> ColumnElement[bool]:
    return disabled_at.is_not(None) if is_so else disabled_at.is_(None)


def _state(*reasons: tuple[ColumnElement[bool], str]) -> ColumnElement[str]:
    """Return the first reason why something is not active."""
    return case(*reasons, else_=_ACTIVE).label("state")
