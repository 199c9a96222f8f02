"""Uploads by several clients at once: every one must be found again in traces, logs and metrics."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from observability_checks.api import Document, sample_text
from observability_checks.context import Context, Group
from observability_checks.contract.expected import UPLOAD_COUNTERS, Facts, tally, upload_lines, upload_spans
from observability_checks.report import Progressing

_METADATA = ("id", "client_id", "filename", "file_size", "file_type", "upload_timestamp")


def run(context: Context) -> None:
    """Upload, then look for each upload."""
    group = Group(context, "upload")
    meter = context.meter()
    documents = upload_all(context)
    stored = [document for document in documents if _answered(group, document)]
    deadline = context.deadline()
    with context.reporter.progress("looking for each upload", len(stored)) as progress:
        for document in stored:
            facts = facts_of(context, document)
            group.telemetry(facts, upload_spans(facts), upload_lines(facts), deadline)
            progress.step()
    group.counters(meter, tally(UPLOAD_COUNTERS, len(stored)), deadline)
    group.exemplar(meter, [document.exchange for document in stored], deadline)


def upload_all(context: Context) -> list[Document]:
    """Every client uploads its files one after another, all clients at once."""
    options = context.options
    with (
        context.reporter.progress("uploading", options.clients * options.files) as progress,
        ThreadPoolExecutor(options.clients) as pool,
    ):
        batches = pool.map(lambda client: _upload_batch(context, client, progress), range(options.clients))
        return [document for batch in batches for document in batch]


def _upload_batch(context: Context, client: int, progress: Progressing) -> list[Document]:
    documents = []
    for file in range(context.options.files):
        # The very first upload sends no ID: nginx has to make one.
        correlation_id = "" if client == file == 0 else None
        name, text = f"report-{client}-{file}.txt", sample_text(client, file)
        documents.append(
            context.api.upload(context.client_id(client), name, text, correlation_id=correlation_id)
        )
        progress.step()
    return documents


def facts_of(context: Context, document: Document) -> Facts:
    """What must be found again of an upload."""
    return Facts(
        authenticated=bool(context.api.credentials.clients),
        correlation_id=document.exchange.correlation_id,
        client_id=document.client_id,
        document_id=document.document_id,
        file_size=len(document.content),
        filename=document.filename,
    )


def _answered(group: Group, document: Document) -> bool:
    if not group.answer(document.exchange, 200):
        return False
    group.add(
        f"body of {document.exchange.correlation_id}",
        _body_problems(document),
        f"document {document.document_id} of {document.client_id}",
    )
    return True


def _body_problems(document: Document) -> Sequence[str]:
    """Hold the answer against what was sent."""
    body = document.exchange.body
    if not isinstance(body, dict) or not isinstance(body.get("metadata"), dict):
        return [f"expected a JSON object with metadata, found {body!r}"]
    answer = {"message": "Document uploaded successfully", "client_id": document.client_id}
    metadata = {
        "id": document.document_id,
        "client_id": document.client_id,
        "filename": document.filename,
        "file_size": len(document.content),
        "file_type": "text/plain",
    }
    return [
        *_differences("", answer, body),
        *_differences("metadata.", metadata, body["metadata"]),
        *(f"metadata has no {key}" for key in _METADATA if key not in body["metadata"]),
    ]


def _differences(prefix: str, expected: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    return [
        f"{prefix}{key} is {found.get(key)!r}, expected {value!r}"
        for key, value in expected.items()
        if found.get(key) != value
    ]
