"""The soak finds what grows."""

from dataclasses import replace

import pytest

from tests.faults.soak import MIB, Held, Soak, growths, table

STEADY = Held(memory_bytes=100 * MIB, files=40, connections=20, threads=12)


def broken(*samples: Held) -> list[str]:
    """Return what is said of one program."""
    return Soak(60, {200: 1}, growths([{"program": sample} for sample in samples])).broken


def test_what_stays_is_flat() -> None:
    """A little up and down is no growth."""
    samples = [replace(STEADY, files=40 + number % 3) for number in range(40)]
    assert broken(*samples) == []


def test_the_first_half_may_grow() -> None:
    """Pools and caches fill up."""
    assert (
        broken(*(replace(STEADY, files=n) for n in range(0, 40, 2)), *[replace(STEADY, files=40)] * 20) == []
    )


@pytest.mark.parametrize(
    ("value", "step"), [("memory_bytes", MIB), ("files", 1), ("connections", 1), ("threads", 1)]
)
def test_what_grows_all_the_time_is_found(value: str, step: int) -> None:
    """A leak of one with every sample."""
    samples = [replace(STEADY, **{value: getattr(STEADY, value) + n * step}) for n in range(60)]
    assert broken(*samples) == [f"program: {value} grows"]


def test_the_table_says_what_grows() -> None:
    """From the middle to the end."""
    samples = [{"program": replace(STEADY, threads=n)} for n in range(40)]
    row = table(Soak(60, {}, growths(samples))).splitlines()[2]
    assert row == "| program | 100 to 100 MiB | 40 to 40 | 20 to 20 | 20 to 39 GROWS |"
