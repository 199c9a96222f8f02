"""Fixtures of all tests."""

from collections.abc import Iterator

import pytest

from tests.telemetry_spy import TelemetrySpy, spied_telemetry


@pytest.fixture
def telemetry() -> Iterator[TelemetrySpy]:
    """Telemetry in memory."""
    with spied_telemetry() as spy:
        yield spy
