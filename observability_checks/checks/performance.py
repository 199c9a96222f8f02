"""Load: rate, percentiles and errors against the thresholds, and counters equal to what was sent."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import httpx

from observability.signals import DOCUMENT_ROUTE, UPLOAD_ROUTE, ErrorType
from observability_checks.api import Document, sample_text
from observability_checks.context import Context, Group
from observability_checks.contract.expected import (
    RETRIEVAL_COUNTERS,
    UPLOAD_COUNTERS,
    errors_series,
    requests_series,
    tally,
)
from observability_checks.counters import Series
from observability_checks.figures import Figures
from observability_checks.load import Load, LoadResult
from telemetry_queries.sources import Source

_REQUESTS = 500
_ROUTES = {"PUT": UPLOAD_ROUTE, "GET": DOCUMENT_ROUTE}
_ROWS = {"uploads": ("PUT",), "retrievals": ("GET",), "mixed": ("PUT", "GET")}


def run(context: Context) -> None:
    """Send the load, judge it, and count it in Prometheus."""
    group = Group(context, "performance")
    meter = context.meter()
    # Each client has limits of its own where robin asks who it is.
    clients = context.api.credentials.clients or (context.client_id(0),)
    documents = [context.api.upload(client, "load.txt", sample_text(0, 0)) for client in clients]
    if not all(group.answer(document.exchange, 200) for document in documents):
        return
    result = _send(context, documents)
    for name, methods in _ROWS.items():
        context.results.figures[name] = _as_numbers(result.figures(*methods))
    _judge(group, result.figures(*_ROWS["mixed"]), result)
    group.counters(meter, tally(UPLOAD_COUNTERS, len(documents)) + _sent(result), context.deadline())


def _send(context: Context, documents: Sequence[Document]) -> LoadResult:
    options = context.options
    requests = max(1, round(_REQUESTS * options.load_factor))
    load = Load(
        context.api.url,
        [(document.client_id, document.document_id) for document in documents],
        requests,
        options.concurrency,
        context.targets.trust(),
        context.api.credentials,
    )
    with context.reporter.progress(f"load, {options.concurrency} at once", requests) as progress:
        return load.run(progress.step)


def _judge(group: Group, figures: Figures, result: LoadResult) -> None:
    """Three thresholds, each a check of its own."""
    options = group.context.options
    rate, p95, errors = figures.rate, figures.p95, figures.error_share * 100
    group.add(
        "rate",
        [f"{rate:.0f} requests/s, expected at least {options.min_rate:g}"] if rate < options.min_rate else [],
        f"{rate:.0f} requests/s (at least {options.min_rate:g})",
    )
    group.add(
        "p95",
        [f"{p95:.3f} s, expected at most {options.max_p95_seconds:g} s"]
        if p95 > options.max_p95_seconds
        else [],
        f"{p95 * 1000:.1f} ms (at most {options.max_p95_seconds:g} s)",
    )
    group.add(
        "errors",
        [f"{errors:.1f} %, expected at most {options.max_error_percent:g} %: {_failures(result)}"]
        if errors > options.max_error_percent
        else [],
        f"{errors:.1f} % (at most {options.max_error_percent:g} %)",
    )


def _failures(result: LoadResult) -> str:
    refused = (
        f"{count} x {method} {status}"
        for (method, status), count in result.answers.items()
        if status != httpx.codes.OK
    )
    unanswered = (f"{count} x {reason}" for reason, count in result.failures.most_common(3))
    return ", ".join((*refused, *unanswered))


def _sent(result: LoadResult) -> Counter[Series]:
    """Counters that the successful and the put off must have raised; failed ones are judged by the error rate."""
    uploads, retrievals = result.answers["PUT", 200], result.answers["GET", 200]
    sent = tally(UPLOAD_COUNTERS, uploads) + tally(RETRIEVAL_COUNTERS, retrievals)
    for method, route in _ROUTES.items():
        sent += tally(_put_off_counters(method, route), result.put_off[method])
    return sent


def _put_off_counters(method: str, route: str) -> tuple[Series, Series]:
    refused = httpx.codes.TOO_MANY_REQUESTS
    return (
        requests_series(Source.DOCUMENT_API, method, route, refused),
        errors_series(Source.DOCUMENT_API, method, route, refused, ErrorType.TOO_MANY_REQUESTS),
    )


def _as_numbers(figures: Figures) -> dict[str, float]:
    values = asdict(figures)
    return {
        "requests": values["requests"],
        "errors": values["errors"],
        "seconds": values["seconds"],
        "requests_per_second": figures.rate,
        "error_percent": figures.error_share * 100,
        **{f"p{percent}_seconds": values[f"p{percent}"] for percent in (50, 95, 99)},
    }
