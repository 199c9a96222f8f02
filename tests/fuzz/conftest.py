"""Two systems for all tests of bad input: one that lets everybody in, and one that asks who is there."""

from collections.abc import Iterator

import pytest

from observability.service import AuthMode
from tests.fuzz.target import Target, running_target
from tests.integration.conftest import PostgreSQL, postgresql

__all__ = ["postgresql"]


@pytest.fixture(scope="session", params=[AuthMode.OPEN, AuthMode.REQUIRED])
def target(
    request: pytest.FixtureRequest, postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """Both services as they are run, with a document of another client in them."""
    with running_target(postgresql, tmp_path_factory.mktemp("target"), request.param) as target:
        yield target
