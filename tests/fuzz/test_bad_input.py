"""Requests that are wrong in every way, by the thousand: none a 5xx, a leak, a file left over, or a hang."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from observability.service import AuthMode
from tests.fuzz.attempts import ATTEMPTS, Attempt
from tests.fuzz.doors import Door
from tests.fuzz.inputs import INPUTS, LONG
from tests.fuzz.records import record_requests
from tests.fuzz.target import SECRET, Before, Target, assert_unharmed, load_balancer

# Of a long input that fails the beginning is told.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


def send(
    target: Target,
    door: Door,
    attempts: st.SearchStrategy[Attempt],
    share: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Send this share of all inputs through a door, and look at the system afterwards."""
    before = Before.of(target)

    @settings(
        max_examples=round(INPUTS * share),
        deadline=None,
        derandomize=not LONG,  # the same ones in each short run
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(attempts)
    def each(attempt: Attempt) -> None:
        door.attempt(attempt)

    each()
    with capsys.disabled():
        print(f"\n{door}")  # noqa: T201  what the long form is run for
    assert_unharmed(target, door, before)


def test_the_document_api_survives_it(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    """With and without asking who is there."""
    secret = SECRET if target.auth_mode is AuthMode.REQUIRED else None
    door = Door(f"document_api, {target.auth_mode}", target.api.port, target.key_line, secret)
    send(target, door, ATTEMPTS, 0.3, capsys)


def test_it_survives_it_behind_nginx(
    target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nginx lets pass, and how it refuses the rest."""
    if target.auth_mode is not AuthMode.REQUIRED:
        pytest.skip("nginx is the same in both modes")
    with load_balancer(target, tmp_path) as port:
        door = Door("nginx", port, target.key_line, SECRET, behind_nginx=True)
        send(target, door, ATTEMPTS, 0.25, capsys)


def test_the_data_store_survives_it(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    """Were another service to send it."""
    if target.auth_mode is not AuthMode.REQUIRED:
        pytest.skip("the data store is the same in both modes, but for its token")
    send(target, Door("data_store", target.store.port, target.token_line), record_requests(), 0.15, capsys)
