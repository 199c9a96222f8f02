"""The statements of the records, before any database."""

import pytest
from sqlalchemy import Executable

from data_store.records.repository import _INSERT, _SELECT


@pytest.mark.parametrize("statement", [_INSERT, _SELECT], ids=["insert", "select"])
def test_a_statement_is_compiled_once_and_not_for_each_request(statement: Executable) -> None:
    """SQLAlchemy compiles what has no cache key every time, which costs more than running it."""
    assert statement._generate_cache_key() is not None  # type: ignore[attr-defined]
