"""`python -m benchmarks.summaries`: summarises own texts offline and by a model, and says how near each comes to a person's."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.errors import BenchmarkError
from benchmarks.machine import describe
from benchmarks.summaries import model
from benchmarks.summaries.evaluation import Result, evaluate, report
from document_api.settings import DocumentApiSettings
from document_api.summaries import MessageContent, OfflineSummary
from document_api.summaries.chat import Chat, client_of
from document_api.summaries.extractive import offline_summarizer
from document_api.summaries.genai import ChatTelemetry
from document_api.summaries.llm import LlmSummarizer
from document_api.turns import Turns
from local_stack.settings import Settings
from observability.telemetry import Identity, configure

TABLE_WIDTH = 160


def main(arguments: Sequence[str]) -> int:
    """Evaluate; 1 when that cannot be done."""
    options = _parser().parse_args(arguments)
    home = Settings.from_environment().state_dir / "benchmarks"
    home.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            url = options.url or stack.enter_context(model.running_model(home / "model.log"))
            results = asyncio.run(_evaluated(url, options.model, options.seconds))
    except BenchmarkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    _publish(results, options.model, home)
    return 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.summaries", description=__doc__)
    made.add_argument("--url", help="API of the model, up to and with /v1 (a small one on this machine)")
    made.add_argument("--model", default=model.NAME, help=f"its name there ({model.NAME})")
    made.add_argument("--seconds", type=float, default=120.0, help="time for each summary (120)")
    return made


async def _evaluated(url: str, name: str, seconds: float) -> list[Result]:
    settings = DocumentApiSettings()
    offline = {kind.value: offline_summarizer(kind, settings.summary_max_chars) for kind in OfflineSummary}
    os.environ["OTEL_SDK_DISABLED"] = "true"  # nobody listens
    telemetry = configure(Identity("benchmarks", "1", "summaries", "benchmark"), log_level="ERROR", workers=1)
    async with client_of(url, settings.llm_api_key, timeout_seconds=seconds) as client:
        chat_telemetry = ChatTelemetry(telemetry, model=name, base_url=url, content=MessageContent.NO_CONTENT)
        chat = Chat(
            client, chat_telemetry, max_output_tokens=settings.llm_max_output_tokens, turns=[Turns(1)]
        )
        by_model = LlmSummarizer(
            chat,
            max_chars=settings.summary_max_chars,
            max_input_tokens=settings.llm_max_input_tokens,
            max_calls=settings.llm_max_calls,
            deadline_seconds=seconds,
            fallback=offline[OfflineSummary.BEGINNING],
        )
        return await evaluate({**offline, "model": by_model})


def _publish(results: Sequence[Result], name: str, home: Path) -> None:
    made = report(results, name)
    file = home / f"summaries-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    made.write(file, describe())
    console = Console(width=TABLE_WIDTH)
    made.show(console)
    console.print(f"all figures, and the summaries themselves: {file}", highlight=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
