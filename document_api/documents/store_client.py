"""The data store over HTTP."""

import json
from http import HTTPStatus
from typing import Final

from opentelemetry.semconv.attributes import http_attributes, server_attributes, url_attributes
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from document_api.documents.schemas import Document, NewDocument
from document_api.http import Answer, HttpClient, NoAnswer
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

    def __init__(self, client: HttpClient, telemetry: Telemetry) -> None:
        self._client = client
        self._telemetry = telemetry

    async def create(self, client_id: str, document: NewDocument) -> Document:
        """Record the metadata of a document; raises OutcomeUnknown when it may have been recorded or not."""
        answer = await self._send(
            "POST", f"/clients/{client_id}/documents", document.model_dump_json().encode()
        )
        try:
            return Document.model_validate_json(answer.body)
        except ValueError as error:
            raise OutcomeUnknown(_NOT_A_DOCUMENT, status=502) from error

    async def find(self, client_id: str, document_id: int) -> Document:
        """Return a document of this client."""
        answer = await self._send("GET", f"/clients/{client_id}/documents/{document_id}")
        try:
            return Document.model_validate_json(answer.body)
        except ValueError as error:
            raise Problem(_NOT_A_DOCUMENT, status=502) from error

    async def check(self) -> HealthStatus:
        """Ask the data store for its health; raises NoAnswer when it does not answer."""
        answer = await self._client.send("GET", "/health", outgoing_headers())
        return HealthStatus(json.loads(answer.body)["status"])

    async def _send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Send a request inside a CLIENT span, which carries the trace and the correlation ID on."""
        attributes: dict[str, AttributeValue] = {
            http_attributes.HTTP_REQUEST_METHOD: method,
            url_attributes.URL_FULL: self._client.url(path),
            server_attributes.SERVER_ADDRESS: self._client.host,
            server_attributes.SERVER_PORT: self._client.port,
        }
        with self._telemetry.step(method, attributes, kind=SpanKind.CLIENT) as step:
            headers = outgoing_headers()
            if body is not None:
                headers["Content-Type"] = "application/json"
            try:
                answer = await self._client.send(method, path, headers, body)
            except NoAnswer as error:
                if error.never_sent:
                    raise Unavailable("The data store cannot be reached; try again.") from error
                raise OutcomeUnknown(_NO_ANSWER) from error
            step.set(http_attributes.HTTP_RESPONSE_STATUS_CODE, answer.status)
            _raise_for_problem(answer.status)
            return answer


def _raise_for_problem(status: int) -> None:
    """Turn an answer that is no success into the problem that the client is told."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if status == HTTPStatus.NOT_FOUND:
        raise NotFound("The client has no such document.")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise Unavailable("The data store is not available; try again.")
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        raise OutcomeUnknown(_NO_ANSWER)
    # After a 5xx nobody knows how far the request came.
    kind = OutcomeUnknown if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Problem
    raise kind(f"The data store answered {status}.", status=502)
