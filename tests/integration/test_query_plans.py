"""How PostgreSQL runs the data store's statements on a filled table: by an index, however many documents there are."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx
import pytest

from benchmarks.documents import fill
from tests.integration.conftest import MIGRATED, PostgreSQL, data_store_on
from tests.records import DOCUMENT
from tests.telemetry_spy import spied_telemetry

# PostgreSQL prefers to read a smaller table as a whole, and is right.
COUNT: Final = 20_000
TABLES: Final = {"document_metadata", "document_texts", "document_versions", "clients"}
# Every plan with what it touched, also of what PostgreSQL itself asks, such as a foreign key's check.
EXPLAINED: Final = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_format": "json",
    "auto_explain.log_nested_statements": "on",
}
PLAN: Final = re.compile(r"  plan:\n((?:\t.*\n)+)")
DOCUMENT_OF_17: Final = "/clients/client-17/documents/17"


@dataclass(frozen=True)
class Filled:
    """A data store with many documents, and what PostgreSQL tells of its statements."""

    client: httpx.Client
    postgresql: PostgreSQL
    database: str

    def plans(self, method: str, path: str, *, status: int, body: Any = None) -> list[Mapping[str, Any]]:
        """Send a request and return the plans of all its statements."""
        before = len(self.postgresql.log.read_text())
        answer = self.client.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        logged = self.postgresql.log.read_text()[before:]
        return [json.loads(plan) for plan in PLAN.findall(logged)]


@pytest.fixture(scope="module")
def filled(postgresql: PostgreSQL) -> Iterator[Filled]:
    """A data store on a database with many documents of a thousand clients."""
    database = postgresql.create_database(template=MIGRATED)
    fill(postgresql.owner_url(database), COUNT)
    for name, value in EXPLAINED.items():
        postgresql.execute(f"ALTER DATABASE {database} SET {name} = '{value}'")
    with spied_telemetry() as telemetry, data_store_on(postgresql.url(database), telemetry) as client:
        for path in (DOCUMENT_OF_17, "/health"):  # on its first use a connection asks for PostgreSQL's types
            assert client.get(path).status_code == 200
        yield Filled(client, postgresql, database)


def scans(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each table that a plan reads, with how; a plan is a tree."""
    if plan.get("Relation Name") in TABLES and plan["Node Type"] != "ModifyTable":
        yield plan["Relation Name"], plan["Node Type"]
    for child in plan.get("Plans", ()):
        yield from scans(child)


def read(plans: list[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return how the plans read our tables."""
    return {scan for plan in plans for scan in scans(plan["Plan"])}


def test_a_document_is_found_by_the_index(filled: Filled) -> None:
    """One statement, and one look at the table."""
    (plan,) = filled.plans("GET", DOCUMENT_OF_17, status=200)
    assert list(scans(plan["Plan"])) == [("document_metadata", "Index Scan")]


def test_a_version_is_found_by_the_index(filled: Filled) -> None:
    """Whether it is the newest one or would be one before."""
    for version, status in ((1, 200), (2, 404)):
        read_so = read(filled.plans("GET", f"{DOCUMENT_OF_17}/versions/{version}", status=status))
        assert read_so == {("document_metadata", "Index Scan"), ("document_versions", "Index Scan")}


def test_a_document_whose_reading_is_audited_is_found_by_the_index(filled: Filled) -> None:
    """The line in the audit log looks at nothing else."""
    with (
        spied_telemetry() as telemetry,
        data_store_on(filled.postgresql.url(filled.database), telemetry, audit_reads=True) as client,
    ):
        auditing = replace(filled, client=client)
        auditing.plans("GET", DOCUMENT_OF_17, status=200)
        assert read(auditing.plans("GET", DOCUMENT_OF_17, status=200)) == {
            ("document_metadata", "Index Scan")
        }


def test_policies_hold_while_plans_are_looked_at(filled: Filled) -> None:
    """PostgreSQL makes one question for the whole statement of them, as it names its tenant too."""
    (plan,) = filled.plans("GET", DOCUMENT_OF_17, status=200)
    asked = "(current_setting('robin.client_id'::text, true) = 'client-17'::text)"
    assert plan["Plan"]["One-Time Filter"] == asked


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/clients/client-18/documents/17", id="another client's"),
        pytest.param("/clients/nobody/documents/17", id="of a client that is not there"),
        pytest.param(f"/clients/client-17/documents/{2**62}", id="that is not there"),
    ],
)
def test_a_document_that_is_not_the_clients_costs_no_more(filled: Filled, path: str) -> None:
    """A 404 looks through no table either."""
    assert read(filled.plans("GET", path, status=404)) == {("document_metadata", "Index Scan")}


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("", "ix_document_metadata_listing"),
        ("?order=oldest&uploaded_from=2020-01-01T00:00:00Z", "ix_document_metadata_listing"),
        ("?order=name", "ix_document_metadata_by_name"),
        ("?order=name&tag=a:b&name=7", "ix_document_metadata_by_name"),
    ],
)
def test_a_page_is_read_from_an_index_in_its_order(filled: Filled, query: str, index: str) -> None:
    """The first one and those after it: nothing is sorted, and nothing is read that comes before."""
    join = "&" if query else "?"
    first = filled.client.get(f"/clients/client-17/documents{query}{join}limit=5").json()
    for cursor in filter(None, ("", first["next"])):
        after = f"&cursor={cursor}" if cursor else ""
        path = f"/clients/client-17/documents{query}{join}limit=5{after}"
        (plan,) = filled.plans("GET", path, status=200)
        assert "Sort" not in str(plan)
        assert index in str(plan)
        if cursor:
            assert "ROW(" in str(plan["Plan"]["Plans"][0].get("Index Cond", plan["Plan"]["Plans"][0]))


def test_words_are_searched_in_the_index(filled: Filled) -> None:
    """With their tenant: what others have is not looked at."""
    plans = filled.plans("GET", "/clients/client-17/search?q=fox+document", status=200)
    assert "ix_document_texts_words" in str(plans)
    assert ("document_texts", "Seq Scan") not in read(plans)


@pytest.mark.parametrize("client", ["client-17", "new-client"])
def test_a_document_is_stored_without_a_look_through_a_table(filled: Filled, client: str) -> None:
    """The client is found by its index, by the check of the foreign key as well, whether it was there or not."""
    plans = filled.plans("POST", f"/clients/{client}/documents", status=201, body=DOCUMENT)
    # The other two: whether the client has stored the same bytes before.
    assert read(plans) == {
        (table, "Index Scan") for table in ("clients", "document_metadata", "document_versions")
    }
    # The statement, the check of the foreign key, and the wait for the disk.
    assert {plan["Plan"]["Node Type"] for plan in plans} == {"CTE Scan", "LockRows", "Result"}


def test_the_health_check_reads_no_document(filled: Filled) -> None:
    """It asks the catalogue, which is as small with many documents as with none."""
    plans = filled.plans("GET", "/health", status=200)
    assert len(plans) == 1
    assert read(plans) == set()


def test_a_statement_without_an_index_would_be_seen(filled: Filled) -> None:
    """The plans of this file are read right: by summary a table is looked through."""
    explained = filled.postgresql.execute(
        "EXPLAIN (FORMAT JSON) SELECT * FROM document_metadata WHERE summary = 'document-17.txt'",
        database=filled.database,
    )
    assert read(explained[0][0]) == {("document_metadata", "Seq Scan")}
