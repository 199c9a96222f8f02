"""Deadlines shrink down the chain: whoever waits hears from the one he waits for, and not from his own watch."""

import re
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from data_store.settings import DataStoreSettings
from document_api.settings import DocumentApiSettings
from document_api.turns import LONGEST_WAIT_SECONDS
from local_stack.nginx import LoadBalancer

COMPOSE: Final = Path(__file__).parents[2] / "docker-compose.yml"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> DataStoreSettings:
    """The data store's defaults."""
    monkeypatch.delenv("STATEMENT_TIMEOUT_SECONDS", raising=False)
    return DataStoreSettings(database_url=SecretStr("postgresql://robin@localhost/robin"))


@pytest.fixture
def api() -> DocumentApiSettings:
    """The document API's defaults."""
    return DocumentApiSettings()


def seconds(told: str) -> int:
    """Return a time as nginx is told it."""
    found = re.fullmatch(r"(\d+)s", told)
    assert found, told
    return int(found[1])


def test_a_lock_is_given_up_before_its_statement(store: DataStoreSettings) -> None:
    """And the statement before the answer is due."""
    assert store.lock_timeout_seconds < store.statement_timeout_seconds < store.longest_answer_seconds


def test_the_data_store_answers_before_an_attempt_is_given_up(
    store: DataStoreSettings, api: DocumentApiSettings
) -> None:
    """Whatever the database does, with a wait for a connection before it; and a call has time for a second attempt."""
    assert store.longest_answer_seconds < api.data_store_timeout_seconds < api.data_store_deadline_seconds


def test_an_upload_has_time_for_all_that_it_waits_for(api: DocumentApiSettings) -> None:
    """Two turns, the model, and the call to the data store, each as long as it may take; a text is read in what they leave."""
    waits = 2 * LONGEST_WAIT_SECONDS + api.llm_timeout_seconds + api.data_store_deadline_seconds
    assert waits <= api.request_deadline_seconds


def test_nginx_waits_longer_than_a_document_api_takes(api: DocumentApiSettings) -> None:
    """Finding out who sends it is before the upload's own time; in both ways to run it."""
    longest = api.data_store_deadline_seconds + api.request_deadline_seconds
    composed = re.search(r"NGINX_PROXY_READ_TIMEOUT: (\S+)", COMPOSE.read_text())
    assert composed
    assert longest < seconds(composed[1])
    assert longest < seconds(LoadBalancer.proxy_read_timeout)
