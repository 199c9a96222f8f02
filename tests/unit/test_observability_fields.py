"""How the records' values look on the wire."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from observability.fields import rfc3339


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2025, 8, 20, 8, 10, 48, 108442, UTC), "2025-08-20T08:10:48.108442Z"),
        (datetime(2025, 8, 20, 8, 10, 48, 0, UTC), "2025-08-20T08:10:48.000000Z"),
        (datetime(2025, 8, 20, 10, 10, 48, 1, timezone(timedelta(hours=2))), "2025-08-20T08:10:48.000001Z"),
    ],
    ids=["microseconds", "whole second", "another time zone"],
)
def test_a_time_is_written_in_utc_with_microseconds(moment: datetime, text: str) -> None:
    """All times have the same length, and sort as text."""
    assert rfc3339(moment) == text
