"""The short form of the fault matrix, which is `./run-tests.sh --faults`: three kills under load."""

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.conftest import RunningStack, running_stack
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.run import run

SHORT = ("kill -9 of one document_api", "kill -9 of data_store", "kill -9 of the collector")


@pytest.fixture(scope="module")
def broken_stack() -> Iterator[RunningStack]:
    """A stack of its own: what its telemetry says is nobody else's story."""
    with running_stack({}) as stack:
        yield stack


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name in SHORT], ids=lambda f: f.name)
def test_what_was_acknowledged_survives(broken_stack: RunningStack, http: httpx.Client, fault: Fault) -> None:
    """Nothing is lost, torn or there twice, and all is well again without a hand."""
    outcome = run(fault, broken_stack, http, after=8, calm=0)
    assert outcome.broken == []
    assert outcome.documents.acknowledged > 20
