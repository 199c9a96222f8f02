"""A model behind an OpenAI-compatible chat API: asked within a deadline, few questions at once, again where it says so."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

import httpx
from opentelemetry.semconv.attributes import http_attributes
from pydantic import BaseModel, Field, SecretStr

from document_api.retries import RetryBudget, pause_seconds
from document_api.summaries.genai import ChatTelemetry, error_type_of
from document_api.turns import LineFullError, NoTurnError, Turns
from observability import Step, current_client

logger = logging.getLogger(__name__)

# Asked again after these only: the model did nothing for them, so nobody pays twice.
_REPEATED: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_MOST_RESENDS: Final = 2
# With less time left the answer would most likely be cut off, and paid for.
_LEAST_SECONDS: Final = 0.5
# Of an answer to a question that allows some hundred tokens; whoever sends more would fill the memory.
_LARGEST_ANSWER: Final = 1024 * 1024


class LlmFailure(StrEnum):
    """Why the model's summary could not be had: closed list for the label `reason`."""

    TIMEOUT = "llm_timeout"
    UNREACHABLE = "llm_unreachable"
    REFUSED = "llm_error_status"
    RATE_LIMITED = "llm_rate_limited"
    INVALID_ANSWER = "llm_invalid_answer"
    DECLINED = "llm_declined"
    BUSY = "llm_busy"
    CIRCUIT_OPEN = "llm_circuit_open"


class ModelError(Exception):
    """The model did not answer the question; `error_type` says why in the words of the GenAI conventions."""

    def __init__(
        self,
        failure: LlmFailure,
        error_type: str,
        *,
        repeatable: bool = False,
        retry_after_seconds: float = 0.0,
    ) -> None:
        super().__init__(failure)
        self.failure = failure
        self.error_type = error_type
        self.repeatable = repeatable
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Question:
    """What the model is told to do, and the text to do it with."""

    instruction: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote; not `complete` where it was stopped at the most tokens."""

    text: str
    complete: bool


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class _Completion(BaseModel):
    """The part of a chat completion that is used here."""

    id: Any = None
    model: Any = None
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def client_of(base_url: str, key: SecretStr | None, *, timeout_seconds: float) -> httpx.AsyncClient:
    """Return a client of an OpenAI-compatible API; it is to be used as an async context manager."""
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=timeout_seconds)


class Chat:
    """Asks a model, so many questions at once as each of the `turns` allows; clients have turns."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        telemetry: ChatTelemetry,
        *,
        max_output_tokens: int,
        turns: Sequence[Turns],
    ) -> None:
        self._client = client
        self._telemetry = telemetry
        self._max_output_tokens = max_output_tokens
        self._turns = turns
        self._budget = RetryBudget()

    async def ask(self, question: Question, ends: float) -> Answer:
        """Return the model's answer, which comes before the event loop's clock says `ends`; raises ModelError."""
        async with self._turn(ends):
            with self._telemetry.call(question.instruction, question.text, self._max_output_tokens) as step:
                return await self._attempts(question, step, ends)

    @asynccontextmanager
    async def _turn(self, ends: float) -> AsyncIterator[None]:
        """Wait for a turn that leaves time for an answer, and have it until the block ends."""
        clock = asyncio.get_running_loop().time
        async with AsyncExitStack() as stack:
            try:
                for turns in self._turns:
                    wait_seconds = ends - clock() - _LEAST_SECONDS
                    await stack.enter_async_context(
                        turns.turn(current_client() or "", wait_seconds=wait_seconds)
                    )
            except (LineFullError, NoTurnError) as error:
                raise ModelError(LlmFailure.BUSY, "busy") from error
            yield

    async def _attempts(self, question: Question, step: Step, ends: float) -> Answer:
        """Ask until there is an answer, or it is not to be asked again; all of it is one call to the model."""
        self._budget.earn()
        resend = 0
        while True:
            try:
                answer = await self._attempt(question, step, ends)
            except ModelError as error:
                resend += 1
                pause = self._pause(error, resend, ends)
                if pause is None:
                    raise
            else:
                if resend:
                    logger.warning("The model answered at attempt %s", resend + 1)
                return answer
            step.set(http_attributes.HTTP_REQUEST_RESEND_COUNT, resend)
            await asyncio.sleep(pause)

    def _pause(self, error: ModelError, resend: int, ends: float) -> float | None:
        """Return how long to wait before the model is asked again, None where it is not."""
        if not error.repeatable or resend > _MOST_RESENDS:
            return None
        pause = error.retry_after_seconds + pause_seconds(resend)
        if asyncio.get_running_loop().time() + pause + _LEAST_SECONDS > ends or not self._budget.spend():
            return None
        return pause

    async def _attempt(self, question: Question, step: Step, ends: float) -> Answer:
        with _failures():
            async with (
                asyncio.timeout_at(ends),
                self._client.stream("POST", "chat/completions", json=self._request(question)) as response,
            ):
                step.set(http_attributes.HTTP_RESPONSE_STATUS_CODE, response.status_code)
                _raise_for_status(response)
                completion = _Completion.model_validate_json(await _body_of(response))
        self._report(step, completion)
        return _answer_of(completion)

    def _request(self, question: Question) -> dict[str, object]:
        return {
            "model": self._telemetry.model,
            "messages": [
                {"role": "system", "content": question.instruction},
                {"role": "user", "content": question.text},
            ],
            "max_tokens": self._max_output_tokens,
            "temperature": 0,
        }

    def _report(self, step: Step, completion: _Completion) -> None:
        """Record what came, usable or not: it was paid for."""
        choices = [(each.message.content or "", each.finish_reason) for each in completion.choices]
        self._telemetry.answered(step, completion.id, completion.model, choices)
        if completion.usage is not None:
            self._telemetry.used(step, completion.usage.prompt_tokens, completion.usage.completion_tokens)


@contextmanager
def _failures() -> Iterator[None]:
    """Say in one error what goes wrong with a call."""
    try:
        yield
    except (TimeoutError, httpx.TimeoutException) as error:
        raise ModelError(LlmFailure.TIMEOUT, "timeout") from error
    except httpx.HTTPError as error:
        raise ModelError(LlmFailure.UNREACHABLE, "connection_error") from error
    except ValueError as error:
        raise _invalid() from error


def _invalid() -> ModelError:
    return ModelError(LlmFailure.INVALID_ANSWER, "invalid_answer")


def _raise_for_status(response: httpx.Response) -> None:
    if response.is_success:
        return
    status = response.status_code
    limited = status == HTTPStatus.TOO_MANY_REQUESTS
    raise ModelError(
        LlmFailure.RATE_LIMITED if limited else LlmFailure.REFUSED,
        error_type_of(status),
        repeatable=status in _REPEATED,
        retry_after_seconds=_seconds_of(response.headers.get("Retry-After", "")),
    )


def _seconds_of(retry_after: str) -> float:
    """Return how long a Retry-After asks to wait: it is a number of seconds, or a date."""
    if retry_after.replace(".", "", 1).isdecimal():
        return float(retry_after)
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    # A date without a zone is in GMT, as all dates of HTTP.
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


async def _body_of(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _LARGEST_ANSWER:
            raise _invalid()
    return bytes(body)


def _answer_of(completion: _Completion) -> Answer:
    choice = completion.choices[0]
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise ModelError(LlmFailure.DECLINED, "declined")
    text = (choice.message.content or "").strip()
    if not text or "\x00" in text:  # PostgreSQL stores no NUL
        raise _invalid()
    return Answer(text, complete=choice.finish_reason != "length")
