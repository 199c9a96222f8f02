"""How the records' values look on the wire."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import TypeAdapter

from observability.fields import Moment, rfc3339


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


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-01T00:00:00-08:00", datetime(2026, 1, 1, 8, tzinfo=UTC)),
        ("0056-09-19T04:53:04.2+16:26", datetime(56, 9, 18, 12, 27, 4, 200_000, UTC)),
        ("0001-01-01T00:00:00+00:01", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59-00:01", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_time_is_taken_with_any_offset(text: str, moment: datetime) -> None:
    """PostgreSQL knows none of 16 hours, and Python no year before 1 or after 9999."""
    read = TypeAdapter(Moment).validate_python(text)
    assert (read, read.utcoffset()) == (moment, timedelta(0))
