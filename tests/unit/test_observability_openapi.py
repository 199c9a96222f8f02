"""What the OpenAPI documents of both services say of refusals; tests/fuzz holds the services to it."""

from typing import Any, Final

import pytest
from pydantic import BaseModel, SecretStr

from data_store.app import create_app as create_data_store
from data_store.settings import DataStoreSettings
from document_api.app import create_app as create_document_api
from document_api.documents.schemas import (
    Document,
    DocumentList,
    FoundList,
    TagChange,
    UploadResponse,
    UploadResults,
    Versions,
)
from document_api.settings import DocumentApiSettings
from tests.telemetry_spy import TelemetrySpy

_DATABASE: Final = SecretStr("postgresql://robin:x@127.0.0.1:1/robin")


@pytest.fixture(params=["document_api", "data_store"])
def document(request: pytest.FixtureRequest, telemetry: TelemetrySpy) -> dict[str, Any]:
    """The document of a service as it runs by default."""
    if request.param == "document_api":
        return create_document_api(DocumentApiSettings(), telemetry.telemetry).openapi()
    return create_data_store(DataStoreSettings(database_url=_DATABASE), telemetry.telemetry).openapi()


def answers(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return every documented answer of a service with its status."""
    return [
        answer
        for methods in document["paths"].values()
        for operation in methods.values()
        for answer in operation["responses"].items()
    ]


def test_every_refusal_is_a_problem_with_an_id(document: dict[str, Any]) -> None:
    """Health alone says in its own words that it is not well."""
    for status, answer in answers(document):
        assert answer["headers"]["X-Correlation-ID"]["required"]
        if status >= "400" and "application/json" not in answer["content"]:
            schema = answer["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}
            assert answer["description"]
    assert "correlation_id" in document["components"]["schemas"]["Problem"]["required"]


def test_headers_that_come_with_a_status_are_told(document: dict[str, Any]) -> None:
    """When to come again, and what credential is wanted."""
    for status, answer in answers(document):
        problem = "application/problem+json" in answer.get("content", {})
        assert ("Retry-After" in answer["headers"]) == (problem and status in {"429", "503"})
        assert ("WWW-Authenticate" in answer["headers"]) == (status == "401")


def test_limits_of_integers_are_integers(document: dict[str, Any]) -> None:
    """FastAPI writes them as floats, and the largest of them was another number then."""
    assert ".0," not in str(document)


def test_where_nobody_is_asked_for_a_credential_the_document_asks_for_none(document: dict[str, Any]) -> None:
    """AUTH_MODE=open."""
    assert "securitySchemes" not in document["components"]
    assert not [
        path for methods in document["paths"].values() for path in methods.values() if "security" in path
    ]


@pytest.mark.parametrize(
    "model", [Document, UploadResponse, UploadResults, DocumentList, FoundList, Versions, TagChange]
)
def test_what_clients_send_and_get_has_an_example_that_is_right(model: type[BaseModel]) -> None:
    """It has every field, and is what the model takes and gives."""
    schema = model.model_json_schema()
    examples = schema.get("examples") or [
        {name: field["examples"][0] for name, field in schema["properties"].items()}
    ]
    for example in examples:
        assert model.model_validate(example).model_dump(mode="json") == example


def test_every_answer_with_documents_is_one_of_those_with_an_example(telemetry: TelemetrySpy) -> None:
    """No other model is answered by the routes of clients' documents."""
    openapi = create_document_api(DocumentApiSettings(), telemetry.telemetry).openapi()
    answered = {
        content["schema"]["$ref"].rpartition("/")[2]
        for path, methods in openapi["paths"].items()
        if path.startswith("/clients/")
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        for kind, content in answer.get("content", {}).items()
        if status < "300" and kind == "application/json"
    }
    assert answered == {
        *("Document", "UploadResponse", "UploadResults", "DocumentList", "FoundList", "Versions"),
    }
