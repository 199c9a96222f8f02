"""The statements of the records, before any database."""

import pytest

from data_store.records.repository import INSERT, SELECT
from observability.database import Statement


@pytest.mark.parametrize(
    ("statement", "operation"), [(INSERT, "INSERT"), (SELECT, "SELECT")], ids=["insert", "select"]
)
def test_a_statement_is_compiled_before_the_first_request_and_holds_no_value(
    statement: Statement, operation: str
) -> None:
    """Compiling costs more than running; a value in the text would be in every span."""
    assert statement.labels == {"operation": operation, "table": "document_metadata"}
    assert "%(of_client)s" in statement.sql
    assert "'" not in statement.sql
