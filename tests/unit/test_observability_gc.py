"""The garbage collector leaves a serving process in peace."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from observability.memory import calm_garbage_collector


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_was_loaded_at_the_start_is_not_looked_at_again() -> None:
    """The modules and routes of a service are some hundred thousand objects."""
    calm_garbage_collector()

    assert gc.get_freeze_count() > 1000


class _Loop:
    """Garbage that counting references does not find."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_is_still_found() -> None:
    """Less often is not never."""
    calm_garbage_collector()
    first = weakref.ref(_Loop())

    for _ in range(gc.get_threshold()[0] + 1):
        _Loop()

    assert first() is None
