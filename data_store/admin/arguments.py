"""The arguments of the command line: what is wrong with them is one line, before anything is done."""

import argparse
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from access.roles import Role
from data_store.credentials.keys import prefix_of
from data_store.credentials.schemas import MAX_SUBJECT_CHARS
from observability.context import is_client_id
from observability.fields import INT64_MAX

DEFAULT: Final = "default"
STANDARD_INPUT: Final = "-"
KINDS: Final = ("clients", "users", "keys")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MAX_TEXT_CHARS: Final = 255
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_EXAMPLES: Final = """\
examples:
  create-client acme --max-documents 10000
  create-user acme --email ada@example.org --name "Ada Lovelace" --role writer
  create-user --email ops@example.org --name Operations --role operator
  issue-key ada@example.org --expires-in 90d
  revoke-key 1a2b3c4d5e6f
  list keys --client acme

exit codes: 0 done, 1 not done, 2 wrong arguments or settings. MIGRATION_DATABASE_URL, else DATABASE_URL, says where the
database is; API_KEY_PEPPER must be that of the data store."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with 2."""
        self.exit(2, f"error: {message} ({self.prog} --help shows how)\n")


def client_id(text: str) -> str:
    """Return a client's id."""
    if not is_client_id(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no client's id: letters, digits and ._- only, 128 at most, a letter or digit first, no API key"
        )
    return text


def email(text: str) -> str:
    """Return a mail address, in lower case: it names one person however it is written."""
    if not _EMAIL.fullmatch(text) or not text.isprintable() or len(text) > _MAX_TEXT_CHARS:
        raise argparse.ArgumentTypeError(f"{text!r} is no mail address")
    return text.lower()


def printable(text: str) -> str:
    """Return a text that can be shown in one line."""
    if not text.strip() or not text.isprintable() or len(text) > min(_MAX_TEXT_CHARS, MAX_SUBJECT_CHARS):
        raise argparse.ArgumentTypeError(
            f"must have 1 to {_MAX_TEXT_CHARS} characters that can be shown in one line"
        )
    return text


def limit(text: str) -> int | None:
    """Return a number, None for the service's own limit."""
    if text == DEFAULT:
        return None
    if not text.isascii() or not text.isdecimal() or int(text) > INT64_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor {DEFAULT!r}")
    return int(text)


def expiry_in(text: str) -> datetime:
    """Return when a time from now is over."""
    found = re.fullmatch(r"([1-9]\d{0,8})([smhdw])", text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: a number and s, m, h, d or w, such as 90d")
    try:
        return datetime.now(UTC) + timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r} is too long") from None


def expiry_at(text: str) -> datetime:
    """Return a moment to come; of UTC where it does not say."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no moment: use the form 2027-01-31 or 2027-01-31T12:00:00Z"
        ) from None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    if moment <= datetime.now(UTC):
        raise argparse.ArgumentTypeError(f"{text!r} is in the past")
    return moment


def key_prefix(text: str) -> str:
    """Return the prefix of a key, read from standard input for `-`; what is not one is never echoed, for it may be a secret."""
    prefix = prefix_of(sys.stdin.readline().strip() if text == STANDARD_INPUT else text)
    if prefix is None:
        raise argparse.ArgumentTypeError(
            "not a key: give its prefix (12 hexadecimal digits), or - and the whole key on standard input"
        )
    return prefix


def parser() -> Parser:
    """Return the parser of the whole command line."""
    whole = Parser(
        prog="python -m data_store.admin",
        description="Administers clients, users and API keys. COMMAND --help says more of a command.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.add_argument("--json", action="store_true", help="answer as JSON, for programs")
        return added

    _add_client_commands(command)
    _add_user_commands(command)
    _add_key_commands(command)
    lister = command("list", "show clients, users or keys")
    lister.add_argument("kind", choices=KINDS, metavar="clients|users|keys")
    lister.add_argument("--client", type=client_id, help="only of this client")
    return whole


def check(options: argparse.Namespace, whole: Parser) -> None:
    """Leave with 2 where arguments do not go together."""
    if options.command == "create-user" and (options.client is None) != (options.role == Role.OPERATOR):
        whole.error(
            f"an {Role.OPERATOR.value} is of no client: leave CLIENT out"
            if options.client
            else f"CLIENT is needed: only an {Role.OPERATOR.value} is of none"
        )
    if options.command == "set-limits" and not {"max_documents", "max_bytes"} & vars(options).keys():
        whole.error("set-limits needs --max-documents, --max-bytes or both")
    if options.command == "issue-key" and options.quiet and options.json:
        whole.error("--quiet and --json are two answers: choose one")


_Command = Callable[[str, str], argparse.ArgumentParser]


def _add_client_commands(command: _Command) -> None:
    creator = command("create-client", "create a client (a tenant)")
    creator.add_argument("client", metavar="CLIENT", type=client_id)
    _add_limits(creator)
    setter = command("set-limits", "set how much a client may store")
    setter.add_argument("client", metavar="CLIENT", type=client_id)
    _add_limits(setter)
    for name, text in (
        ("disable-client", "let nobody of a client in any more; its documents stay"),
        ("enable-client", "let a disabled client's users in again"),
    ):
        command(name, text).add_argument("client", metavar="CLIENT", type=client_id)


def _add_limits(command: argparse.ArgumentParser) -> None:
    for name, what in (("--max-documents", "documents"), ("--max-bytes", "bytes of all its documents")):
        command.add_argument(
            name,
            type=limit,
            default=argparse.SUPPRESS,
            metavar="N",
            help=f"most {what}; {DEFAULT!r}: the data store's own limit",
        )


def _add_user_commands(command: _Command) -> None:
    creator = command("create-user", "create a user of a client, or an operator, who is of none")
    creator.add_argument("client", metavar="CLIENT", nargs="?", type=client_id)
    creator.add_argument("--email", required=True, type=email)
    creator.add_argument("--name", required=True, type=printable)
    creator.add_argument("--role", required=True, choices=[role.value for role in Role])
    creator.add_argument(
        "--subject", type=printable, help="who the user is in bearer tokens (their claim `sub`)"
    )
    for name, text in (
        ("disable-user", "let a user in no more, with none of the user's keys or tokens"),
        ("enable-user", "let a disabled user in again"),
    ):
        _add_user(command(name, text))


def _add_key_commands(command: _Command) -> None:
    issuer = command("issue-key", "issue an API key, which is shown this once and stored nowhere")
    _add_user(issuer)
    expiry = issuer.add_mutually_exclusive_group()
    expiry.add_argument(
        "--expires-in", dest="expires_at", type=expiry_in, metavar="TIME", help="such as 90d, 12h or 30m"
    )
    expiry.add_argument(
        "--expires-at",
        type=expiry_at,
        metavar="MOMENT",
        help="such as 2027-01-31 or 2027-01-31T12:00:00Z; without either it does not expire",
    )
    issuer.add_argument("--quiet", action="store_true", help="print the key alone, on one line")
    revoker = command("revoke-key", "let a key in no more; returns when no instance accepts it any longer")
    revoker.add_argument(
        "prefix",
        metavar="PREFIX",
        type=key_prefix,
        help=f"12 hexadecimal digits; {STANDARD_INPUT}: the whole key is read from standard input, where no other user"
        " of the machine and no shell's history sees it",
    )


def _add_user(command: argparse.ArgumentParser) -> None:
    command.add_argument("user", metavar="USER", type=printable, help="mail address or number")
    command.add_argument(
        "--client", type=client_id, help="of which the user is, where several have that address"
    )
