"""Retrieval: a document comes back as it was uploaded, and every GET is found again in traces, logs and metrics."""

from collections.abc import Sequence
from dataclasses import replace

from observability_checks.api import Document, Exchange
from observability_checks.checks.upload import facts_of, upload_all
from observability_checks.context import Context, Group
from observability_checks.contract.expected import (
    RETRIEVAL_COUNTERS,
    UPLOAD_COUNTERS,
    retrieval_lines,
    retrieval_spans,
    tally,
)


def run(context: Context) -> None:
    """Upload documents, ask for each, then look for each request."""
    group = Group(context, "retrieval")
    meter = context.meter()
    documents = upload_all(context)
    stored = [document for document in documents if document.document_id]
    group.add(
        "documents to retrieve",
        [f"upload answered {each.exchange.status}" for each in documents if not each.document_id],
        f"{len(stored)} uploaded",
    )
    found = {document.document_id: _retrieve(group, document) for document in stored}
    deadline = context.deadline()
    with context.reporter.progress("looking for each retrieval", len(stored)) as progress:
        for document in stored:
            facts = replace(
                facts_of(context, document),
                correlation_id=found[document.document_id].correlation_id,
                file_size=0,
                filename="",
            )
            group.telemetry(facts, retrieval_spans(facts), retrieval_lines(facts), deadline)
            progress.step()
    sent = tally(UPLOAD_COUNTERS, len(stored)) + tally(RETRIEVAL_COUNTERS, len(stored))
    group.counters(meter, sent, deadline)
    group.exemplar(meter, list(found.values()), deadline)


def _retrieve(group: Group, document: Document) -> Exchange:
    exchange = group.context.api.document(document.client_id, document.document_id)
    if group.answer(exchange, 200):
        group.add(
            f"body of {exchange.correlation_id}",
            _body_problems(document, exchange),
            f"the metadata of document {document.document_id}, as uploaded, with its summary",
        )
    return exchange


def _body_problems(document: Document, exchange: Exchange) -> Sequence[str]:
    """The metadata must be that of the upload's answer, with a summary; where bytes are kept is not shown."""
    uploaded, found = document.exchange.body["metadata"], exchange.body
    if not isinstance(found, dict):
        return [f"expected a JSON object, found {found!r}"]
    return [
        *(
            f"{key} is {found.get(key)!r}, uploaded was {value!r}"
            for key, value in uploaded.items()
            if found.get(key) != value
        ),
        *([] if found.get("summary") else ["no summary of a plain text"]),
        *(["storage_key is shown"] if "storage_key" in found else []),
    ]
