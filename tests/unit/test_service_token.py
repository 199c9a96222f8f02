"""The token between the services: several while it is being changed."""

import pytest
from pydantic import SecretStr

from access.roles import Permission
from access.service_token import ServiceGate, tokens_of
from data_store.settings import DataStoreSettings
from observability import Problem
from observability.service import load_settings


def scope(token: str) -> dict[str, object]:
    """Return a request that shows a token."""
    return {"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]}


@pytest.mark.parametrize("setting", ["new,old", "new, old", " new ,\told\n"])
async def test_each_of_several_tokens_is_let_in(setting: str) -> None:
    """However the list is written."""
    gate = ServiceGate(tokens_of(SecretStr(setting)))
    for token in ("new", "old"):
        await gate.admit(scope(token), Permission.BE_A_SERVICE)
    with pytest.raises(Problem):
        await gate.admit(scope("other"), Permission.BE_A_SERVICE)


def test_blanks_make_no_token(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever shows nothing would be let in by it."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://robin@127.0.0.1/robin")
    monkeypatch.setenv("SERVICE_TOKEN", "new, ")
    with pytest.raises(SystemExit):
        load_settings(DataStoreSettings)
    assert capsys.readouterr().err == "SERVICE_TOKEN: must not be empty\n"
