"""Both services do what their OpenAPI documents say, to the last status and header: schemathesis asks."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from observability.service import AuthMode
from tests.fuzz.inputs import INPUTS, LONG
from tests.fuzz.target import Target
from tests.integration.tenancy import SERVICE_TOKEN

_CHECKOUT: Final = Path(__file__).parents[2]
_PROGRAM: Final = Path(sys.executable).with_name("schemathesis")
_EXAMPLES: Final = max(5, INPUTS // 100) if LONG else 5
_SECONDS: Final = 1800


@pytest.mark.parametrize("service", ["document_api", "data_store"])
def test_every_answer_is_as_documented(
    target: Target, service: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Statuses, media types, schemas, headers, and who is let in; valid requests are taken, others refused."""
    if target.auth_mode is AuthMode.OPEN and service == "data_store" and not LONG:
        pytest.skip("the data store is the same in both modes, but for its token: in the long form only")
    url, credential = {
        "document_api": (target.api.url, f"X-API-Key: {target.system.keys['writer']}"),
        "data_store": (target.store.url, f"Authorization: Bearer {SERVICE_TOKEN}"),
    }[service]
    options = {
        "--checks": "all",
        # What is deleted can be restored, and is there again then; tests/integration/document_life holds what is not.
        "--exclude-checks": "use_after_free",
        "--header": credential,
        # Of several credentials none is taken, which OpenAPI cannot say.
        "--generation-with-security-parameters": "false",
        "--generation-database": "none",
        "--max-examples": str(_EXAMPLES),
        "--request-timeout": "10",
        "--seed": "1",
    }

    done = subprocess.run(
        [
            _PROGRAM,
            "run",
            f"{url}/openapi.json",
            "--no-color",
            *(part for option in options.items() for part in option),
        ],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(_CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert target.complaints() == []
    (generated,) = re.findall(r"(\d+) generated", done.stdout)
    with capsys.disabled():
        print(f"\nschemathesis, {service}, {target.auth_mode}: {generated} requests")  # noqa: T201
