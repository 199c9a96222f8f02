"""The last thing that a start shows: where everything is and what to try, whichever way it runs."""

from collections.abc import Iterable


def curl_example(url: str) -> str:
    """Return one command to try."""
    return f"curl -X PUT -F file=@README.md {url}/clients/test-client-123/upload-document"


def closing_table(url: str, places: Iterable[tuple[str, str]]) -> str:
    """Return the addresses, and what to do next; `url` is that of the whole system."""
    rows = [
        ("the system", url),
        ("API documentation", f"{url}/docs"),
        *places,
        ("try", curl_example(url)),
        ("check", "python test_observability.py --all"),
        ("stop", "./setup-and-run.sh --down"),
    ]
    return "\n" + "\n".join(f"  {what:<18} {where}" for what, where in rows)
