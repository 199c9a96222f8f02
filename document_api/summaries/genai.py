"""What is told of a call to a model, by the GenAI semantic conventions; of question and answer nothing, unless it is allowed."""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from document_api.summaries import MessageContent
from observability import Step, Telemetry
from observability.signals import GEN_AI_FINISH_REASONS, GEN_AI_STATUSES

_PROVIDER: Final = "openai"  # the API's dialect, whoever serves it
_OTHER: Final = "other"
# What an ID or a model's name looks like: whoever serves the model could answer any text there.
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][\w.:/+-]{0,99}", re.ASCII)
# Of a question or an answer, where they are captured: its JSON, line breaks escaped, is to fit into an attribute whole.
_LONGEST_CAPTURED: Final = 8_000
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def error_type_of(status: int) -> str:
    """Return the `error.type` of an answer with a status: there are few of them."""
    value = str(status)
    return value if value in GEN_AI_STATUSES else error_attributes.ErrorTypeValues.OTHER.value


class ChatTelemetry:
    """Records the calls to one model, each as a span with its duration and tokens."""

    def __init__(self, telemetry: Telemetry, *, model: str, base_url: str, content: MessageContent) -> None:
        self.model = model
        self._telemetry = telemetry
        self._captures = content is MessageContent.SPAN_ONLY
        address = urlsplit(base_url)
        self._labels = {
            gen_ai_attributes.GEN_AI_OPERATION_NAME: "chat",
            gen_ai_attributes.GEN_AI_PROVIDER_NAME: _PROVIDER,
            gen_ai_attributes.GEN_AI_REQUEST_MODEL: model,
        }
        self._server: dict[str, AttributeValue] = {
            server_attributes.SERVER_ADDRESS: address.hostname or "",
            server_attributes.SERVER_PORT: address.port or _DEFAULT_PORTS[address.scheme],
        }

    @contextmanager
    def call(self, instruction: str, text: str, max_output_tokens: int) -> Iterator[Step]:
        """Run a call as a GenAI client span, all its attempts together, and record its duration however it ends."""
        attributes: dict[str, AttributeValue] = {
            **self._labels,
            **self._server,
            gen_ai_attributes.GEN_AI_REQUEST_MAX_TOKENS: max_output_tokens,
            gen_ai_attributes.GEN_AI_REQUEST_TEMPERATURE: 0.0,
        }
        outcome: dict[str, str] = {}
        with self._telemetry.step(f"chat {self.model}", attributes, kind=SpanKind.CLIENT) as step:
            if self._captures:
                step.set(gen_ai_attributes.GEN_AI_SYSTEM_INSTRUCTIONS, _json([_part(instruction)]))
                step.set(
                    gen_ai_attributes.GEN_AI_INPUT_MESSAGES,
                    _json([{"role": "user", "parts": [_part(text)]}]),
                )
            try:
                yield step
            except asyncio.CancelledError:
                # No failure of the model's: another part of the document has failed, or the client has gone away.
                outcome[error_attributes.ERROR_TYPE] = "cancelled"
                step.set(error_attributes.ERROR_TYPE, "cancelled")
                raise
            except Exception as error:
                outcome[error_attributes.ERROR_TYPE] = getattr(
                    error, "error_type", error_attributes.ErrorTypeValues.OTHER.value
                )
                raise
            finally:
                self._telemetry.metrics.gen_ai_operation_duration(step.elapsed(), **self._labels, **outcome)

    def answered(
        self, step: Step, response_id: object, model: object, choices: Sequence[tuple[str, str | None]]
    ) -> None:
        """Record what answered, and how each of its choices, text and finish reason, came to its end."""
        step.set(gen_ai_attributes.GEN_AI_RESPONSE_ID, _identifier(response_id))
        step.set(gen_ai_attributes.GEN_AI_RESPONSE_MODEL, _identifier(model))
        reasons = [_finish_reason(reason) for _, reason in choices if reason]
        step.set(gen_ai_attributes.GEN_AI_RESPONSE_FINISH_REASONS, reasons)
        if self._captures:
            messages = [
                {"role": "assistant", "parts": [_part(text)], "finish_reason": _finish_reason(reason or "")}
                for text, reason in choices
            ]
            step.set(gen_ai_attributes.GEN_AI_OUTPUT_MESSAGES, _json(messages))

    def used(self, step: Step, input_tokens: int, output_tokens: int) -> None:
        """Record the tokens that an answer took."""
        step.set(gen_ai_attributes.GEN_AI_USAGE_INPUT_TOKENS, input_tokens)
        step.set(gen_ai_attributes.GEN_AI_USAGE_OUTPUT_TOKENS, output_tokens)
        for token_type, count in {"input": input_tokens, "output": output_tokens}.items():
            labels = {**self._labels, gen_ai_attributes.GEN_AI_TOKEN_TYPE: token_type}
            self._telemetry.metrics.gen_ai_token_usage(count, **labels)


def _json(value: object) -> str:
    """Return a value as the conventions want it in an attribute."""
    return json.dumps(value, ensure_ascii=False)


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "content": text[:_LONGEST_CAPTURED]}


def _identifier(value: object) -> str | None:
    if value is None:
        return None
    return value if isinstance(value, str) and _IDENTIFIER.fullmatch(value) else _OTHER


def _finish_reason(reason: str) -> str:
    return reason if reason in GEN_AI_FINISH_REASONS else _OTHER
