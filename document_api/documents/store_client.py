"""The data store over HTTP."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import urlencode

from opentelemetry.semconv.attributes import http_attributes, server_attributes, url_attributes
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue
from pydantic import BaseModel

from access.roles import Role
from access.service_token import ACTOR_HEADER
from document_api.circuit import Circuit, CircuitOpenError, State
from document_api.documents.schemas import NewDocument, Recorded
from document_api.http import Answer, HttpClient, Lack, NoAnswer
from document_api.retries import RetryBudget, pause_seconds
from observability import NotFound, Problem, Telemetry, Unavailable, current_actor, outgoing_headers
from observability.signals import (
    DATA_STORE_CIRCUIT,
    FORGOTTEN_STORAGE_KEYS_ROUTE,
    KNOWN_STORAGE_KEYS_ROUTE,
    REMOVED_STORAGE_KEYS_ROUTE,
    HealthStatus,
)

logger = logging.getLogger(__name__)

_NO_ANSWER: Final = "The data store did not answer in time: look whether it was done before you try again."
_NOT_AVAILABLE: Final = "The data store is not available; try again."
_NOT_A_DOCUMENT: Final = "The data store answered something that is not a document."
_NOT_A_USER: Final = "The data store answered something that is not a user."
_OVER_A_LIMIT: Final = {409: "documents", 413: "bytes"}
_LONGEST_TOLD: Final = 10**12
# What is repeatable is sent again after these.
_REPEATED: Final = frozenset({Lack.REFUSED, Lack.LOST, Lack.UNAVAILABLE})
# With less time left an attempt would most likely be cut off, and nobody would know how far it came.
_LEAST_SECONDS: Final = 0.5
_STATES: Final = tuple(State)
# What a load balancer says when the data store behind it did not answer.
_OF_A_GATEWAY: Final = {502: Lack.LOST, 504: Lack.LATE}
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


@dataclass(frozen=True, slots=True)
class Created:
    """A document that is recorded, and whether an earlier upload that is the same had made it."""

    document: Recorded
    repeated: bool


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


@dataclass(frozen=True, slots=True)
class _Request:
    """What is sent, once or several times; `told` is recorded in the path's place."""

    method: str
    path: str
    told: str
    body: bytes | None
    expected: Container[int]
    repeatable: bool


class StoreClient:
    """Records and finds metadata in the data store.

    Each call ends by its deadline. It is made again where that is safe, and not made where the data store has failed too often.

    Raises NotFound for a document that is not there, OverALimit for a client that may store no more, Unavailable when the data store cannot be reached or
    says so, Problem (502) when it answers what this client cannot use, OutcomeUnknown (504) when it does not answer.
    """

    def __init__(
        self,
        client: HttpClient,
        telemetry: Telemetry,
        token: str | None = None,
        *,
        deadline_seconds: float,
    ) -> None:
        self._client = client
        self._telemetry = telemetry
        self._deadline_seconds = deadline_seconds
        self._circuit = Circuit(_failed, _tell_change)
        self._budget = RetryBudget()
        telemetry.metrics.observe(DATA_STORE_CIRCUIT, self._states)
        self._authorization = {"Authorization": f"Bearer {token}"} if token is not None else {}

    async def create(
        self, client_id: str, document: NewDocument, *, version_of: int | None = None
    ) -> Created:
        """Record the metadata of a document, or of a new version of one; what the same upload has made before is returned.

        Raises OutcomeUnknown when it may have been recorded or not, Problem (422) for another document under its digest,
        NotFound where there is no document of which this could be a version.
        """
        path, told = told_path(client_id, version_of)
        what = "" if version_of is None else "/versions"
        answer = await self.send(
            "POST",
            f"{path}{what}",
            document.model_dump_json(exclude_defaults=True).encode(),
            told=f"{told}{what}",
            repeatable=True,  # the digest makes it one document
        )
        try:
            recorded = Recorded.model_validate_json(answer.body)
        except ValueError as error:
            raise OutcomeUnknown(_NOT_A_DOCUMENT, status=502) from error
        return Created(recorded, repeated=answer.status == HTTPStatus.OK)

    async def find(self, client_id: str, document_id: int) -> Recorded:
        """Return a document of this client."""
        path, told = told_path(client_id, document_id)
        answer = await self.send("GET", path, told=told)
        try:
            return Recorded.model_validate_json(answer.body)
        except ValueError as error:
            raise Problem(_NOT_A_DOCUMENT, status=502) from error

    async def known_storage_keys(self, keys: Sequence[str]) -> frozenset[str]:
        """Return those of these names of bytes that a document of any client has."""
        return frozenset(await self._storage_keys(KNOWN_STORAGE_KEYS_ROUTE, keys))

    async def removed_storage_keys(self) -> list[str]:
        """Let what was deleted long enough ago be purged, and return the names of bytes that no document has any more."""
        return await self._storage_keys(REMOVED_STORAGE_KEYS_ROUTE, None)

    async def forget_storage_keys(self, keys: Sequence[str]) -> None:
        """Note that these bytes are removed."""
        body = json.dumps({"keys": keys}).encode()
        await self.send("POST", FORGOTTEN_STORAGE_KEYS_ROUTE, body, repeatable=True)

    async def _storage_keys(self, path: str, asked: Sequence[str] | None) -> list[str]:
        body = json.dumps({"keys": asked}).encode() if asked is not None else None
        answer = await self.send("POST", path, body, repeatable=True)
        try:
            return _StorageKeys.model_validate_json(answer.body).keys
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
            answer = await self.send(
                "POST",
                path,
                json.dumps(body).encode(),
                expected={HTTPStatus.NOT_FOUND},
                repeatable=True,  # asking does nothing
            )
        except OutcomeUnknown as error:
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
        """Ask the data store for its health, whatever the circuit; raises NoAnswer when it does not answer."""
        answer = await self._client.send("GET", "/health", outgoing_headers())
        health = HealthStatus(json.loads(answer.body)["status"])
        if health is not HealthStatus.UNHEALTHY:
            self._circuit.probe_soon()
        return health

    def refuse_if_open(self) -> None:
        """Raise Unavailable where a call would not be made: whoever asks first need not do the rest in vain."""
        try:
            self._circuit.check()
        except CircuitOpenError as error:
            raise self._refusal(error) from error

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        expected: Container[int] = frozenset(),
        parameters: Mapping[str, Any] | None = None,
        told: str | None = None,
        repeatable: bool = False,
    ) -> Answer:
        """Send a request, unless the circuit is open, and again where that is safe; what is `repeatable` may be done twice.

        `told` is recorded in the path's place, and query parameters never are. Raises Problem for an answer that is no success, unless it has the
        status that is expected.
        """
        query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
        request = _Request(
            method, f"{path}{query}", told or path, body, expected, repeatable or method == "GET"
        )
        try:
            with self._circuit.passing():
                return await self._attempts(request)
        except CircuitOpenError as error:
            raise self._refusal(error) from error

    async def _attempts(self, request: _Request) -> Answer:
        """Send a request until it is answered, or is not to be sent again.

        Once it may have been done, no later failure says that it was not.
        """
        self._budget.earn()
        ends = time.monotonic() + self._deadline_seconds
        resend = 0
        unknown: OutcomeUnknown | None = None
        while True:
            try:
                answer = await self._attempt(request, resend, ends - time.monotonic())
            except Problem as problem:
                resend += 1
                if isinstance(problem, OutcomeUnknown) and request.method != "GET":
                    unknown = unknown or problem
                pause = self._pause(request, problem, resend, ends)
                if pause is None:
                    raise unknown or problem  # noqa: B904  one of both is what is handled here
            else:
                if resend:
                    logger.warning("The data store answered at attempt %s", resend + 1)
                return answer
            await asyncio.sleep(pause)

    def _pause(self, request: _Request, problem: Problem, resend: int, ends: float) -> float | None:
        """Return how long to wait before the request is sent again, None where it is not."""
        lack = _lack(problem)
        if lack not in _REPEATED or not (request.repeatable or lack is Lack.REFUSED):
            return None
        pause = pause_seconds(resend)
        if time.monotonic() + pause + _LEAST_SECONDS > ends or not self._circuit.is_closed:
            return None
        # Whoever takes no connection is not flooded by those who try.
        if lack is not Lack.REFUSED and not self._budget.spend():
            self._telemetry.metrics.data_store_refusals(1, reason="budget_spent")
            return None
        self._telemetry.metrics.data_store_retries(1, reason=lack)
        return pause

    async def _attempt(self, request: _Request, resend: int, seconds: float) -> Answer:
        """Send a request inside a CLIENT span, which carries the trace and the correlation ID on."""
        attributes: dict[str, AttributeValue] = {
            http_attributes.HTTP_REQUEST_METHOD: request.method,
            url_attributes.URL_FULL: self._client.url(request.told),
            server_attributes.SERVER_ADDRESS: self._client.host,
            server_attributes.SERVER_PORT: self._client.port,
        }
        if resend:
            attributes[http_attributes.HTTP_REQUEST_RESEND_COUNT] = resend
        with self._telemetry.step(request.method, attributes, kind=SpanKind.CLIENT) as step:
            try:
                answer = await self._client.send(
                    request.method, request.path, self._headers(request), request.body, within_seconds=seconds
                )
            except NoAnswer as error:
                if error.never_sent:
                    raise Unavailable("The data store cannot be reached; try again.") from error
                raise OutcomeUnknown(_NO_ANSWER) from error
            step.set(http_attributes.HTTP_RESPONSE_STATUS_CODE, answer.status)
            if answer.status not in request.expected:
                _raise_for_problem(answer)
            return answer

    def _headers(self, request: _Request) -> dict[str, str]:
        headers = {**outgoing_headers(), **self._authorization}
        if actor := current_actor():
            headers[ACTOR_HEADER] = actor
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _refusal(self, error: CircuitOpenError) -> Unavailable:
        self._telemetry.metrics.data_store_refusals(1, reason="circuit_open")
        return Unavailable(_NOT_AVAILABLE, retry_after_seconds=error.retry_after_seconds)

    def _states(self) -> Iterable[tuple[float, dict[str, str]]]:
        """Return the circuit's state as a gauge: 1 for the one that it has."""
        now = self._circuit.state
        return [(float(state is now), {"state": state.value}) for state in _STATES]


def told_path(client_id: str, document_id: int | None) -> tuple[str, str]:
    """Return the path of a document, or of all, and what is recorded of it."""
    documents = f"/clients/{client_id}/documents"
    if document_id is None:
        return documents, documents
    # A number as long as a card's may be one, and is told nowhere.
    told = document_id if document_id < _LONGEST_TOLD else "{doc_id}"
    return f"{documents}/{document_id}", f"{documents}/{told}"


def _lack(problem: Exception) -> Lack | None:
    """Return why the data store did not answer, None where it did."""
    cause = problem.__cause__
    return cause.lack if isinstance(cause, NoAnswer) else None


def _failed(error: Exception) -> bool:
    """Tell the circuit whether a call failed: whatever the data store answers by itself, it works."""
    return _lack(error) is not None


def _tell_change(state: State) -> None:
    if state is State.OPEN:
        logger.warning("The data store fails again and again: it is asked once a second until it answers")
    else:
        logger.warning("The data store answers again")


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
        raise Unavailable(_NOT_AVAILABLE) from NoAnswer("answered 503", Lack.UNAVAILABLE)
    if status in _OF_A_GATEWAY:
        raise OutcomeUnknown(_NO_ANSWER) from NoAnswer(f"answered {status}", _OF_A_GATEWAY[status])
    raise _unusable(status)


def _unusable(status: int) -> Problem:
    if status == HTTPStatus.INSUFFICIENT_STORAGE:
        return Problem("The data store has no room left; nothing was stored.", status=507)
    # After any other 5xx nobody knows how far the request came.
    kind = OutcomeUnknown if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Problem
    return kind(f"The data store answered {status}.", status=502)


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
