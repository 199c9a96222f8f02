"""The keys that the checks show where robin asks who they are."""

from pathlib import Path

import httpx
import pytest

from observability_checks.api import Api
from observability_checks.cli import main
from observability_checks.credentials import Credentials
from observability_checks.preflight import CouldNotRunError, _must_be_let_in

LINES = "acme robin_a\nglobex robin_g\n- robin_o\n"


def written(folder: Path, text: str) -> Path:
    """Return a file with this text."""
    file = folder / "credentials"
    file.write_text(text)
    return file


def test_a_request_shows_the_key_of_the_client_it_is_about(tmp_path: Path) -> None:
    """The operator's where it is about none; nothing for a client that there is no key of."""
    credentials = Credentials.read(written(tmp_path, LINES))
    assert credentials.clients == ("acme", "globex")
    assert credentials.headers("/clients/globex/documents/1") == {"X-API-Key": "robin_g"}
    assert credentials.headers("/health") == {"X-API-Key": "robin_o"}
    assert credentials.headers("/clients/other/documents/1") == {}
    assert "robin_" not in repr(credentials)


def test_where_nobody_is_asked_nothing_is_shown() -> None:
    """AUTH_MODE=open."""
    assert Credentials().headers("/clients/acme/documents/1") == {}
    assert Credentials().clients == ()


@pytest.mark.parametrize(
    "text", ["", "acme\n", "acme robin_a\n- robin_o\n", "acme robin_a\nglobex robin_g\n"]
)
def test_a_file_of_no_use_exits_2_with_a_line_that_says_why(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two clients are needed, one's own and another, and an operator."""
    assert main(["--credentials", str(written(tmp_path, text))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cannot use ")


def test_more_clients_than_keys_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is sent."""
    assert main(["--clients", "3", "--credentials", str(written(tmp_path, LINES))]) == 2
    assert "keys of 2 clients, --clients wants 3" in capsys.readouterr().err


def api(status: int, body: object) -> Api:
    """Return an API whose health is answered like this."""
    client = httpx.Client(transport=httpx.MockTransport(lambda _request: httpx.Response(status, json=body)))
    return Api(client, "http://robin")


def test_a_robin_that_asks_who_we_are_names_the_option() -> None:
    """Its health says nothing of its parts to strangers."""
    with pytest.raises(CouldNotRunError, match="give --credentials FILE"):
        _must_be_let_in(api(200, {"status": "healthy"}))
    with pytest.raises(CouldNotRunError, match="issue another one"):
        _must_be_let_in(api(401, {"status": 401}))
    _must_be_let_in(api(200, {"status": "healthy", "components": {}}))
