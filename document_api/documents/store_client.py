"""The data store over HTTP."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal

from opentelemetry.semconv.attributes import http_attributes, server_attributes, url_attributes
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue
from pydantic import BaseModel

from access.roles import Role
from access.service_token import ACTOR_HEADER
from document_api.documents.schemas import Document, NewDocument, Recorded
from document_api.http import Answer, HttpClient, NoAnswer
from observability import NotFound, Problem, Telemetry, Unavailable, current_actor, outgoing_headers
from observability.signals import KNOWN_STORAGE_KEYS_ROUTE, HealthStatus

_NO_ANSWER: Final = "The data store did not answer in time: look whether it was done before you try again."
_NOT_A_DOCUMENT: Final = "The data store answered something that is not a document."
_NOT_A_USER: Final = "The data store answered something that is not a user."
_OVER_A_LIMIT: Final = {409: "documents", 413: "bytes"}
_LONGEST_TOLD: Final = 10**12
_MAX_AGE: Final = re.compile(r"max-age=([0-9]+(?:\.[0-9]+)?)")


class OutcomeUnknown(Problem):
    """The request was sent and no usable answer came: the data store may have done it."""

    status = 504


class User(BaseModel):
    """The user whom a credential belongs to."""

    user_id: int
    client_id: str | None
    role: Role


@dataclass(frozen=True, slots=True)
class Known:
    """What the data store knows of a credential, None where it accepts it no more, and how long that may be believed."""

    user: User | None
    fresh_seconds: float


class _KeyReused(BaseModel):
    refused: Literal["idempotency_key_reused"]
    detail: str


class _StorageKeys(BaseModel):
    keys: list[str]


class _Limit(BaseModel):
    """What a client may store, stores, and wanted to store: bytes or documents."""

    detail: str
    limit: int
    used: int
    requested: int


class OverALimit(Problem):
    """The client may store no more: `limit` says of what."""

    def __init__(self, told: _Limit, status: int) -> None:
        super().__init__(told.detail, status=status, **told.model_dump(exclude={"detail"}))
        self.limit = _OVER_A_LIMIT[status]


class StoreClient:
    """Records and finds metadata in the data store.

    Raises NotFound for a document that is not there, OverALimit for a client that may store no more, Unavailable when the data store cannot be reached or
    says so, Problem (502) when it answers what this client cannot use, OutcomeUnknown (504) when it does not answer.
    """

    def __init__(self, client: HttpClient, telemetry: Telemetry, token: str | None = None) -> None:
        self._client = client
        self._telemetry = telemetry
        self._authorization = {"Authorization": f"Bearer {token}"} if token is not None else {}

    async def create(self, client_id: str, document: NewDocument) -> Recorded:
        """Record the metadata of a document, or return the one that the same upload has made before.

        Raises OutcomeUnknown when it may have been recorded or not, Problem (422) for another document under its digest.
        """
        answer = await self._send(
            "POST", f"/clients/{client_id}/documents", document.model_dump_json().encode()
        )
        try:
            return Recorded.model_validate_json(answer.body)
        except ValueError as error:
            raise OutcomeUnknown(_NOT_A_DOCUMENT, status=502) from error

    async def find(self, client_id: str, document_id: int) -> Document:
        """Return a document of this client."""
        path = f"/clients/{client_id}/documents/"
        # A number as long as a card's may be one, and is told nowhere.
        told = document_id if document_id < _LONGEST_TOLD else "{doc_id}"
        answer = await self._send("GET", f"{path}{document_id}", told=f"{path}{told}")
        try:
            return Document.model_validate_json(answer.body)
        except ValueError as error:
            raise Problem(_NOT_A_DOCUMENT, status=502) from error

    async def known_storage_keys(self, keys: Sequence[str]) -> frozenset[str]:
        """Return those of these names of bytes that a document of any client has."""
        answer = await self._send("POST", KNOWN_STORAGE_KEYS_ROUTE, json.dumps({"keys": keys}).encode())
        try:
            return frozenset(_StorageKeys.model_validate_json(answer.body).keys)
        except ValueError as error:
            raise Problem(
                "The data store answered something that is no list of names.", status=502
            ) from error

    async def principal_by_key(self, prefix: str, digest: str) -> Known:
        """Return whose an API key is."""
        return await self._principal("/principals/by-key", {"prefix": prefix, "digest": digest})

    async def principal_by_subject(self, subject: str) -> Known:
        """Return who the subject of a bearer token is."""
        return await self._principal("/principals/by-subject", {"subject": subject})

    async def _principal(self, path: str, body: Mapping[str, str]) -> Known:
        try:
            answer = await self._send("POST", path, json.dumps(body).encode(), expected=HTTPStatus.NOT_FOUND)
        except OutcomeUnknown as error:  # asking does nothing
            raise Unavailable("The data store cannot say who sends this; try again.") from error
        fresh = _MAX_AGE.search(answer.headers.get("Cache-Control", ""))
        fresh_seconds = float(fresh[1]) if fresh else 0.0
        if answer.status == HTTPStatus.NOT_FOUND:
            return Known(None, fresh_seconds)
        try:
            return Known(User.model_validate_json(answer.body), fresh_seconds)
        except ValueError as error:
            raise Problem(_NOT_A_USER, status=502) from error

    async def check(self) -> HealthStatus:
        """Ask the data store for its health; raises NoAnswer when it does not answer."""
        answer = await self._client.send("GET", "/health", outgoing_headers())
        return HealthStatus(json.loads(answer.body)["status"])

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        expected: int | None = None,
        told: str | None = None,
    ) -> Answer:
        """Send a request inside a CLIENT span, which carries the trace and the correlation ID on.

        `told` is recorded in the path's place. Raises Problem for an answer that is no success, unless it has the
        status that is expected.
        """
        attributes: dict[str, AttributeValue] = {
            http_attributes.HTTP_REQUEST_METHOD: method,
            url_attributes.URL_FULL: self._client.url(told or path),
            server_attributes.SERVER_ADDRESS: self._client.host,
            server_attributes.SERVER_PORT: self._client.port,
        }
        with self._telemetry.step(method, attributes, kind=SpanKind.CLIENT) as step:
            headers = {**outgoing_headers(), **self._authorization}
            if actor := current_actor():
                headers[ACTOR_HEADER] = actor
            if body is not None:
                headers["Content-Type"] = "application/json"
            try:
                answer = await self._client.send(method, path, headers, body)
            except NoAnswer as error:
                if error.never_sent:
                    raise Unavailable("The data store cannot be reached; try again.") from error
                raise OutcomeUnknown(_NO_ANSWER) from error
            step.set(http_attributes.HTTP_RESPONSE_STATUS_CODE, answer.status)
            if answer.status != expected:
                _raise_for_problem(answer)
            return answer


def _raise_for_problem(answer: Answer) -> None:
    """Turn an answer that is no success into the problem that the client is told."""
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if status == HTTPStatus.NOT_FOUND:
        raise NotFound("The client has no such document.")
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise _key_reused(answer)
    if status in _OVER_A_LIMIT:
        raise _over_a_limit(answer)
    if status == HTTPStatus.UNAUTHORIZED:
        raise Unavailable(
            "The data store does not accept this service: SERVICE_TOKEN must be the same in both."
        )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise Unavailable("The data store is not available; try again.")
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        raise OutcomeUnknown(_NO_ANSWER)
    # After a 5xx nobody knows how far the request came.
    kind = OutcomeUnknown if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Problem
    raise kind(f"The data store answered {status}.", status=502)


def _key_reused(answer: Answer) -> Problem:
    """Return the problem of a key that was used before; any other record that is refused is not the client's doing."""
    try:
        return Problem(_KeyReused.model_validate_json(answer.body).detail, status=answer.status)
    except ValueError:
        return Problem(f"The data store answered {answer.status}.", status=502)


def _over_a_limit(answer: Answer) -> Problem:
    """Return the problem of a client that may not store more, with the numbers that the data store says."""
    try:
        told = _Limit.model_validate_json(answer.body)
    except ValueError:
        return Problem(f"The data store answered {answer.status}.", status=502)
    return OverALimit(told, answer.status)
