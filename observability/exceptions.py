"""What telemetry is told of an exception: its type and where it happened; its text only where that holds no input.

Texts quote values: PostgreSQL's the row that it did not like, pydantic's the input, KeyError's the key. So a type's text is
told once somebody has read what it says; everything else is withheld, and its type and its frames have to do.
"""

import errno
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from opentelemetry.semconv.attributes import exception_attributes

WITHHELD: Final = "withheld: it may quote what was sent"
_BEGINNING: Final = "Traceback (most recent call last):\n"
_CAUSED: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"


def _of_the_system(error: Any) -> str:
    """Return the number's name and its text; the error's own names files and addresses, too."""
    if error.errno not in errno.errorcode:
        return WITHHELD
    return f"{errno.errorcode[error.errno]}: {os.strerror(error.errno)}"


def _of_tls(error: Any) -> str:
    """Return OpenSSL's reason, and why a certificate was not believed: that names the host that was asked for, no more."""
    reasons = (getattr(error, name, None) for name in ("reason", "verify_message"))
    return ": ".join(reason for reason in reasons if isinstance(reason, str)) or WITHHELD


def _of_a_statement(error: Any) -> str:
    """Return PostgreSQL's code, and which part of the schema it is about; message and detail hold values."""
    if error.pgcode is None:
        return WITHHELD
    of_schema = {name: getattr(error.diag, f"{name}_name") for name in ("table", "column", "constraint")}
    return " ".join(
        (f"SQLSTATE {error.pgcode}", *(f"{name} {value}" for name, value in of_schema.items() if value))
    )


def _of_a_connection(error: Any) -> str:
    """Return what libpq says of server and role, or PostgreSQL of itself: time-outs, shutdown, no room."""
    if error.pgcode is None:
        return str(error).strip().partition("\n")[0]
    return f"SQLSTATE {error.pgcode}: {error.diag.message_primary}"


# By name, for no service has all of these; the nearest one in the order of inheritance counts.
_TOLD: Final[Mapping[str, Callable[[Any], str]]] = {
    "observability.problems.Problem": str,  # says to the client what was wrong, and quotes nothing but numbers and IDs
    "document_api.http.NoAnswer": str,
    "data_store.migrations.MigrationError": str,
    "sqlalchemy.exc.TimeoutError": str,  # of the pool: how many connections there are, and how long somebody waited
    "psycopg2.OperationalError": _of_a_connection,
    "psycopg2.Error": _of_a_statement,
    "socket.gaierror": lambda error: error.strerror or WITHHELD,
    "ssl.SSLError": _of_tls,
    "OSError": _of_the_system,
}


def exception_type(error: BaseException) -> str:
    """Return the full name of an exception's type."""
    return _name(type(error))


def exception_message(error: BaseException) -> str:
    """Return an exception's text as far as it may be told."""
    if not error.args:
        return ""
    tell = next((_TOLD[name] for kind in type(error).__mro__ if (name := _name(kind)) in _TOLD), None)
    return tell(error) if tell else WITHHELD


def exception_text(error: BaseException) -> str:
    """Return type and text in one line, as a traceback ends."""
    message = exception_message(error)
    return f"{exception_type(error)}: {message}" if message else exception_type(error)


def exception_stack(error: BaseException) -> str:
    """Return the frames of an exception and of all that led to it, as Python prints them: with lines of code, without values."""
    return "".join(_stack(error))


def attributes_of(error: BaseException) -> dict[str, str]:
    """Return the semantic conventions' attributes of an exception."""
    return {
        exception_attributes.EXCEPTION_TYPE: exception_type(error),
        exception_attributes.EXCEPTION_MESSAGE: exception_message(error),
        exception_attributes.EXCEPTION_STACKTRACE: exception_stack(error),
    }


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _stack(error: BaseException) -> Iterator[str]:
    for link, transition in _chain(error):
        if isinstance(link, BaseExceptionGroup):
            for each in link.exceptions:
                yield from _stack(each)
        yield _BEGINNING
        yield from traceback.format_tb(link.__traceback__)
        yield f"{exception_text(link)}\n{transition}"


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """Return an exception after all that led to it, each with what leads to the next."""
    chain: list[tuple[BaseException, str]] = []
    link: BaseException | None = error
    transition = ""
    while link is not None and all(link is not known for known, _ in chain):
        chain.append((link, transition))
        caused = (
            link.__suppress_context__
        )  # `raise ... from` sets it; without a cause, there is nothing to tell
        transition = _CAUSED if caused else _MEANWHILE
        link = link.__cause__ if caused else link.__context__
    return chain[::-1]
