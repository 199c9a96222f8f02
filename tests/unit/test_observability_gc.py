"""The garbage collector leaves a serving process in peace."""

import gc
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


def test_garbage_is_still_found() -> None:
    """Less often is not never."""
    calm_garbage_collector()
    loop: list[object] = []
    loop.append(loop)
    del loop

    assert gc.isenabled()
    assert gc.collect() >= 1
