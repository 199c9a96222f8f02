"""Summaries of a handful of texts, and how near they come to what a person wrote of each."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any, Final

from rouge_score.rouge_scorer import RougeScorer

from benchmarks.report import Report, Table
from benchmarks.summaries import TEXTS
from document_api.summaries import Summarizer

# Words, pairs of words, and the longest row of words in common, each as F1.
MEASURES: Final = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class Result:
    """A summary of a text, and what it is worth."""

    text: str
    summarizer: str
    summary: str
    reason: str | None
    seconds: float
    scores: Mapping[str, float]


async def evaluate(summarizers: Mapping[str, Summarizer]) -> list[Result]:
    """Let each summarizer write on each text, one after another."""
    scorer = RougeScorer(MEASURES, use_stemmer=True)
    results = []
    for file in sorted(TEXTS.glob("*.md")):
        reference = file.with_suffix(".reference.txt").read_text()
        for name, summarizer in summarizers.items():
            begun = time.perf_counter()
            summary = await summarizer.summarize(file.read_text())
            seconds = time.perf_counter() - begun
            scores = scorer.score(reference, summary.text or "")
            results.append(
                Result(
                    *(file.stem, name, summary.text or "", summary.reason, seconds),
                    scores={measure: scores[measure].fmeasure for measure in MEASURES},
                )
            )
    return results


def report(results: Sequence[Result], model: str) -> Report:
    """Return what the results come to."""
    written = [result for result in results if not result.reason]
    names = list(dict.fromkeys(result.summarizer for result in written))
    return Report(
        goal="summaries",
        noise=None,
        tables=[
            Table(
                title="Summaries against a person's: ROUGE F1, means of the texts that have one",
                head=("summarizer", "texts", *MEASURES, "seconds", "characters"),
                rows=[_row(name, [each for each in written if each.summarizer == name]) for name in names],
            )
        ],
        statements=[
            f"model: {model}",
            *(f"{each.text}: the model wrote none ({each.reason})" for each in results if each.reason),
        ],
        charts=[],
        data=_data(results, model),
    )


def _row(name: str, results: Sequence[Result]) -> tuple[str, ...]:
    return (
        name,
        str(len(results)),
        *(f"{mean(result.scores[measure] for result in results):.3f}" for measure in MEASURES),
        f"{mean(result.seconds for result in results):.3f}",
        f"{mean(len(result.summary) for result in results):.0f}",
    )


def _data(results: Sequence[Result], model: str) -> Mapping[str, Any]:
    return {"model": model, "results": [asdict(result) for result in results]}
