"""Bad configuration stops the start with exit code 2 and one line that names the variable."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from document_api.settings import DocumentApiSettings
from observability.service import ServiceSettings, load_settings

ROOT = Path(__file__).parents[2]
BAD = {
    "PORT": "eighty",
    "WORKERS": "0",
    "LOG_LEVEL": "LOUD",
    "SLOW_REQUEST_SECONDS": "-1",
    "HEALTH_DEADLINE_SECONDS": "0",
    "SHUTDOWN_SECONDS": "-1",
    "DATA_STORE_URL": "data-store:8001",
    "DATA_STORE_TIMEOUT_SECONDS": "0",
    "DATA_STORE_CONNECTIONS": "0",
    "MAX_UPLOAD_BYTES": "50MB",
    "SYNC_UPLOADS": "perhaps",
    "TEXT_SECONDS": "0",
    "TEXT_MEMORY_BYTES": "1000",
    "TEXT_PROCESSES": "0",
    "STORAGE_URL": "s3://bucket/..",
    "AWS_ENDPOINT_URL": "not a url",
    "CLAMD_ADDRESS": "clamd",
    "CLAMD_TIMEOUT_SECONDS": "0",
    "SUMMARY_MAX_CHARS": "49",
    "SUMMARY_INPUT_BYTES": "1",
    "OFFLINE_SUMMARY": "long",
    "LLM_BASE_URL": "not a url",
    "LLM_TIMEOUT_SECONDS": "soon",
}

# Where no server listens.
NOBODYS_STORE = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "a key",
    "AWS_SECRET_ACCESS_KEY": "a secret",
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run without what this machine's environment may configure."""
    for name in DocumentApiSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(("variable", "value"), BAD.items(), ids=list(BAD))
def test_a_bad_value_is_named_in_one_line(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who started it knows what to change."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as left:
        load_settings(DocumentApiSettings)

    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{variable}: ")


@pytest.mark.parametrize(
    ("variable", "value", "missing"),
    [
        ("LLM_BASE_URL", "http://127.0.0.1:1/v1", "LLM_MODEL"),
        ("AWS_ACCESS_KEY_ID", "a key", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "a secret", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_one_variable_without_the_other_is_refused(
    variable: str,
    value: str,
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those that belong together are checked together."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit):
        load_settings(DocumentApiSettings)

    assert missing in capsys.readouterr().err


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Compose makes of ${LLM_BASE_URL:-} must not stop the start."""
    for name in ("LLM_BASE_URL", "PORT", "DEPLOYMENT_ENVIRONMENT"):
        monkeypatch.setenv(name, "")
    settings = load_settings(DocumentApiSettings)
    assert (settings.llm_base_url, settings.port, settings.deployment_environment) == (
        None,
        8000,
        "development",
    )


def test_without_any_variable_the_defaults_hold() -> None:
    """Nothing is needed to start the document API."""
    settings = load_settings(DocumentApiSettings)

    assert (settings.port, settings.max_upload_bytes) == (8000, 52_428_800)
    assert str(settings.data_store_url) == "http://127.0.0.1:8001/"


def test_keys_of_others_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither printed nor logged."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "who")
    for name in ("LLM_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "swordfish")

    assert "swordfish" not in repr(load_settings(DocumentApiSettings))


def test_workers_of_one_service_differ_in_their_instance_id() -> None:
    """Else their counters would overwrite one another."""
    alone, shared = ServiceSettings(port=8000), ServiceSettings(port=8000, workers=2)

    assert alone.instance_id.endswith(":8000")
    assert shared.instance_id.endswith(f":8000:{os.getpid()}")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
        ({"UPLOAD_DIR": "/dev/null/uploads"}, "UPLOAD_DIR"),
        ({"STORAGE_URL": "s3://bucket", **NOBODYS_STORE}, "STORAGE_URL"),
    ],
)
def test_the_service_itself_ends_with_two_and_one_line(
    variables: dict[str, str], named: str, tmp_path: Path
) -> None:
    """As started: `python -m document_api`."""
    done = subprocess.run(
        [sys.executable, "-m", "document_api"],
        cwd=ROOT,
        env={**os.environ, "UPLOAD_DIR": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{named}: ")
    assert done.stdout == ""
