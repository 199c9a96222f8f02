"""The commands: each takes its arguments and the registry, and returns what is to be said when it is committed."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from data_store.admin.output import Row, table, when
from data_store.admin.registry import Registry
from data_store.credentials.keys import ApiKey, stored_hash

_COLUMNS_OF_LIMITS: Final = {"max_documents": "max_documents", "max_bytes": "max_stored_bytes"}


@dataclass(frozen=True)
class Answer:
    """What a command says: to people, and to programs."""

    text: str
    data: object
    # What instances of document_api may still believe for a while: the command waits until none does.
    withdrawn: bool = False


@dataclass(frozen=True)
class Context:
    """What commands need beside their arguments."""

    registry: Registry
    pepper: str
    cache_seconds: float


def create_client(options: argparse.Namespace, context: Context) -> Answer:
    """Create a client."""
    context.registry.create_client(options.client, _limits(options))
    return Answer(f"client {options.client} created", {"client": options.client})


def set_limits(options: argparse.Namespace, context: Context) -> Answer:
    """Set a client's limits."""
    limits = context.registry.set_limits(options.client, _limits(options))
    documents, size = (
        "the data store's own limit" if limit is None else str(limit)
        for limit in (limits["max_documents"], limits["max_stored_bytes"])
    )
    return Answer(
        f"client {options.client} may store: documents: {documents}, bytes: {size}",
        {
            "client": options.client,
            "max_documents": limits["max_documents"],
            "max_bytes": limits["max_stored_bytes"],
        },
    )


def disable_client(options: argparse.Namespace, context: Context) -> Answer:
    """Let nobody of a client in any more."""
    changed = context.registry.switch_client(options.client, on=False)
    return _withdrawn(
        f"client {options.client}", "disabled", context, {"client": options.client}, changed=changed
    )


def enable_client(options: argparse.Namespace, context: Context) -> Answer:
    """Let a client's users in again."""
    changed = context.registry.switch_client(options.client, on=True)
    return _enabled(f"client {options.client}", {"client": options.client}, changed=changed)


def create_user(options: argparse.Namespace, context: Context) -> Answer:
    """Create a user."""
    new = {name: getattr(options, name) for name in ("email", "name", "role", "subject")}
    number = context.registry.create_user({"client_id": options.client, **new})
    of = f"in {options.client}" if options.client else "of no client"
    return Answer(
        f"user {number} created: {options.email}, {options.role} {of}",
        {"user": number, "client": options.client, **new},
    )


def disable_user(options: argparse.Namespace, context: Context) -> Answer:
    """Let a user in no more."""
    user = context.registry.find_user(options.user, options.client)
    changed = context.registry.switch_user(user, on=False)
    return _withdrawn(_called(user), "disabled", context, {"user": user["id"]}, changed=changed)


def enable_user(options: argparse.Namespace, context: Context) -> Answer:
    """Let a user in again."""
    user = context.registry.find_user(options.user, options.client)
    changed = context.registry.switch_user(user, on=True)
    return _enabled(_called(user), {"user": user["id"]}, changed=changed)


def issue_key(options: argparse.Namespace, context: Context) -> Answer:
    """Issue a key, and show it."""
    user = context.registry.find_user(options.user, options.client)
    key = ApiKey.new()
    context.registry.add_key(user, key.prefix, stored_hash(key.digest, context.pepper), options.expires_at)
    expiry = f"until {when(options.expires_at)}" if options.expires_at else "until it is revoked"
    of = f"{user['role']} in {user['client_id']}" if user["client_id"] else user["role"]
    told = (
        f"key {key.prefix} of {user['email']} ({of}), valid {expiry}; it is shown this once:\n\n    {key}\n\n"
        f"send it in the header X-API-Key; revoke-key {key.prefix} ends it"
    )
    return Answer(
        str(key) if options.quiet else told,
        {"key": str(key), "prefix": key.prefix, "user": user["id"], "expires": options.expires_at},
    )


def revoke_key(options: argparse.Namespace, context: Context) -> Answer:
    """Let a key in no more."""
    changed = context.registry.revoke_key(options.prefix)
    return _withdrawn(
        f"key {options.prefix}", "revoked", context, {"prefix": options.prefix}, changed=changed
    )


def show(options: argparse.Namespace, context: Context) -> Answer:
    """List clients, users or keys."""
    rows: list[Row] = getattr(context.registry, options.kind)(options.client)
    return Answer(table(rows), rows)


COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace, Context], Answer]]] = {
    "create-client": create_client,
    "set-limits": set_limits,
    "disable-client": disable_client,
    "enable-client": enable_client,
    "create-user": create_user,
    "disable-user": disable_user,
    "enable-user": enable_user,
    "issue-key": issue_key,
    "revoke-key": revoke_key,
    "list": show,
}


def _limits(options: argparse.Namespace) -> dict[str, int | None]:
    given = vars(options)
    return {column: given[name] for name, column in _COLUMNS_OF_LIMITS.items() if name in given}


def _called(user: Row) -> str:
    return f"user {user['id']} ({user['email']})"


def _withdrawn(what: str, how: str, context: Context, data: Mapping[str, object], *, changed: bool) -> Answer:
    waited = f"no instance lets it in any more (waited {context.cache_seconds:g} s)"
    return Answer(
        f"{what} {'is' if changed else 'was'} {how}{'' if changed else ' already'}; {waited}",
        {**data, "changed": changed},
        withdrawn=True,
    )


def _enabled(what: str, data: Mapping[str, object], *, changed: bool) -> Answer:
    return Answer(
        f"{what} is enabled" if changed else f"{what} was enabled already", {**data, "changed": changed}
    )
