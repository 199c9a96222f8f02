"""The last thing that a start shows: where everything is and what to try, whichever way it runs."""

import shlex
from collections.abc import Iterable
from pathlib import Path


def curl_example(url: str, ca_file: Path | None = None) -> str:
    """Return one command to try; it is told whom to trust where it cannot know."""
    trust = f"--cacert {shlex.quote(str(ca_file))} " if ca_file else ""
    return f"curl {trust}-X PUT -F file=@README.md {url}/clients/test-client-123/upload-document"


def closing_table(url: str, places: Iterable[tuple[str, str]], ca_file: Path | None = None) -> str:
    """Return the addresses, and what to do next; `url` is that of the whole system."""
    rows = [
        ("the page, the API", url),
        ("API documentation", f"{url}/docs"),
        *places,
        ("try", curl_example(url, ca_file)),
        ("check", "python test_observability.py --all"),
        ("stop", "./setup-and-run.sh --down"),
    ]
    return "\n" + "\n".join(f"  {what:<18} {where}" for what, where in rows)
