"""The data store over HTTP."""

from http import HTTPStatus
from typing import Any, Final

import httpx
from opentelemetry.semconv.attributes import http_attributes, server_attributes, url_attributes
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from document_api.documents.schemas import Document, NewDocument
from document_api.http import never_sent
from observability import NotFound, Problem, Telemetry, Unavailable, outgoing_headers
from observability.signals import HealthStatus

_NO_ANSWER: Final = "The data store did not answer in time: look whether it was done before you try again."
_NOT_A_DOCUMENT: Final = "The data store answered something that is not a document."


class OutcomeUnknown(Problem):
    """The request was sent and no usable answer came: the data store may have done it."""

    status = 504


class StoreClient:
    """Records and finds metadata in the data store.

    Raises NotFound for a document that is not there, Unavailable when the data store cannot be reached or
    says so, Problem (502) when it answers what this client cannot use, OutcomeUnknown (504) when it does not answer.
    """

    def __init__(self, client: httpx.AsyncClient, telemetry: Telemetry) -> None:
        self._client = client
        self._telemetry = telemetry

    async def create(self, client_id: str, document: NewDocument) -> Document:
        """Record the metadata of a document; raises OutcomeUnknown when it may have been recorded or not."""
        response = await self._send(
            "POST", f"/clients/{client_id}/documents", document.model_dump(mode="json")
        )
        try:
            return Document.model_validate_json(response.content)
        except ValueError as error:
            raise OutcomeUnknown(_NOT_A_DOCUMENT, status=502) from error

    async def find(self, client_id: str, document_id: int) -> Document:
        """Return a document of this client."""
        response = await self._send("GET", f"/clients/{client_id}/documents/{document_id}")
        try:
            return Document.model_validate_json(response.content)
        except ValueError as error:
            raise Problem(_NOT_A_DOCUMENT, status=502) from error

    async def check(self) -> HealthStatus:
        """Ask the data store for its health; raises httpx.HTTPError when it does not answer."""
        response = await self._client.get("/health", headers=outgoing_headers())
        return HealthStatus(response.json()["status"])

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """Send a request inside a CLIENT span, which carries the trace and the correlation ID on."""
        base = self._client.base_url
        attributes: dict[str, AttributeValue] = {
            http_attributes.HTTP_REQUEST_METHOD: method,
            url_attributes.URL_FULL: str(
                base.copy_with(username=None, password=None, path=base.path.rstrip("/") + path)
            ),
            server_attributes.SERVER_ADDRESS: base.host,
            server_attributes.SERVER_PORT: base.port or (443 if base.scheme == "https" else 80),
        }
        with self._telemetry.step(method, attributes, kind=SpanKind.CLIENT) as step:
            try:
                response = await self._client.request(method, path, json=body, headers=outgoing_headers())
            except httpx.TransportError as error:
                if never_sent(error):
                    raise Unavailable("The data store cannot be reached; try again.") from error
                raise OutcomeUnknown(_NO_ANSWER) from error
            step.set(http_attributes.HTTP_RESPONSE_STATUS_CODE, response.status_code)
            _raise_for_problem(response)
            return response


def _raise_for_problem(response: httpx.Response) -> None:
    """Turn an answer that is no success into the problem that the client is told."""
    if response.is_success:
        return
    if response.status_code == HTTPStatus.NOT_FOUND:
        raise NotFound("The client has no such document.")
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        raise Unavailable("The data store is not available; try again.")
    if response.status_code == HTTPStatus.GATEWAY_TIMEOUT:
        raise OutcomeUnknown(_NO_ANSWER)
    # After a 5xx nobody knows how far the request came.
    kind = OutcomeUnknown if response.is_server_error else Problem
    raise kind(f"The data store answered {response.status_code}.", status=502)
