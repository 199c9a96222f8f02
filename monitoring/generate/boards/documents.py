"""Documents and tenants: who stores what, who summarises it, and is there room for more."""

from typing import Final

from monitoring.generate.board import Board, Row
from monitoring.generate.boards.common import DOCUMENT_API, DOCUMENTS, LATENCY, LOGS, OVERVIEW, TENANT
from monitoring.generate.panels import Target, below, heatmap, lines, log_lines, ranking, stat
from monitoring.generate.promql import (
    RATE,
    aggregate,
    increase,
    mean,
    quantile,
    rate,
    series,
    share,
    zero_unless,
)
from observability.signals import (
    CONTENTS_REMOVED,
    DOCUMENT_CHANGES,
    DOCUMENT_SIZE,
    DOCUMENT_STORAGE,
    DOCUMENTS_DOWNLOADED,
    DOCUMENTS_UPLOADED,
    GEN_AI_OPERATION_DURATION,
    GEN_AI_TOKEN_USAGE,
    HTTP_ERRORS,
    HTTP_REQUEST_DURATION,
    HTTP_REQUESTS,
    LAST_BACKUP,
    LATER_SUMMARIES,
    LATER_SUMMARY_DELAY,
    STORAGE_LEFTOVERS,
    SUMMARIES,
    TENANT_LIMIT_EXCEEDED,
    TENANT_REQUESTS,
    TEXT_EXTRACTED,
    TEXT_EXTRACTION_DURATION,
    VIRUS_SCAN_DURATION,
)

_OF_TENANT: Final = 'client=~"$tenant"'
_UPLOADS: Final = (f'service_name="{DOCUMENT_API}"', 'method="PUT"', 'path=~".*/(upload-documents?|content)"')
_UPLOADED: Final = f'{{service_name="{DOCUMENT_API}"}} |= "Document uploaded" | client_id=~"$tenant"'
_NO_UPLOADS: Final = "no uploads"
_NO_EXTRACTION: Final = "no such files"
_NO_MODEL: Final = "No model is configured"
_ROOM: Final = below(0.2, 0.05)
# A file without a text has a reason, too, but no summary.
_FALLBACKS: Final = ('source="extractive"', 'reason!="none"')


def _storage_share() -> str:
    free, whole = (
        aggregate("min", series(DOCUMENT_STORAGE, 'state="free"')),
        aggregate("min", f"sum without (state) ({series(DOCUMENT_STORAGE)})"),
    )
    return f"{free} / {whole}"


_NOW: Final = (
    stat(
        "Documents stored",
        "In the time shown",
        Target(expr=increase(DOCUMENTS_UPLOADED, _OF_TENANT), legend="documents"),
        over_time=False,
        defaults={"decimals": 0},
        width=4,
        no_value=_NO_UPLOADS,
    ),
    stat(
        "Bytes stored",
        "In the time shown, of all tenants",
        Target(expr=increase(DOCUMENT_SIZE, part="_sum"), legend="bytes"),
        over_time=False,
        unit="bytes",
        width=4,
        no_value=_NO_UPLOADS,
    ),
    stat(
        "Uploads not stored",
        "Share of the uploads that were answered 4xx or 5xx in the time shown, of all tenants",
        Target(
            expr=share(
                zero_unless(increase(HTTP_REQUESTS, *_UPLOADS, 'status=~"[45].."')),
                increase(HTTP_REQUESTS, *_UPLOADS),
            ),
            legend="not stored",
        ),
        over_time=False,
        unit="percentunit",
        width=4,
        links=(OVERVIEW,),
        no_value=_NO_UPLOADS,
    ),
    stat(
        "Time of an upload",
        "95th percentile, from the first byte to the answer",
        Target(expr=quantile(0.95, HTTP_REQUEST_DURATION, *_UPLOADS), legend="95%"),
        unit="s",
        width=4,
        steps=LATENCY,
        alerts=("HighLatency",),
        links=(OVERVIEW,),
        no_value=_NO_UPLOADS,
    ),
    stat(
        "Summaries by the fallback",
        "Share of the summaries that the offline summary made in the model's place, in the time shown",
        Target(
            expr=share(zero_unless(increase(SUMMARIES, *_FALLBACKS)), increase(SUMMARIES)),
            legend="fallbacks",
        ),
        over_time=False,
        unit="percentunit",
        width=4,
        no_value="no summaries",
    ),
    stat(
        "Room left",
        "Share of the file system of the uploads that is free",
        Target(expr=_storage_share(), legend="free"),
        unit="percentunit",
        width=4,
        steps=_ROOM,
        alerts=("UploadsDiskFilling",),
    ),
    lines(
        "Leftovers",
        "What killed processes had left in the storage: unfinished uploads and bytes without a record are removed",
        Target(expr=increase(STORAGE_LEFTOVERS, by=("outcome",), window=RATE), legend="{{outcome}}"),
        width=12,
        no_value="no leftovers",
    ),
    lines(
        "Changes",
        "Documents that were downloaded, changed, deleted, restored or purged, and stored bytes that went because no document had them",
        Target(expr=increase(DOCUMENTS_DOWNLOADED, window=RATE), legend="downloaded"),
        Target(expr=increase(DOCUMENT_CHANGES, by=("change",), window=RATE), legend="{{change}}"),
        Target(expr=increase(CONTENTS_REMOVED, window=RATE), legend="bytes removed"),
        width=12,
        no_value="no changes",
    ),
)

_TENANTS: Final = (
    lines(
        "Uploads by tenant",
        "Documents stored in a second; tenants beyond the bounded list are other; a point is one upload",
        Target(expr=rate(DOCUMENTS_UPLOADED, _OF_TENANT, by=("client",)), legend="{{client}}"),
        unit="ops",
        width=12,
        links=(LOGS,),
        no_value=_NO_UPLOADS,
    ),
    ranking(
        "Top tenants by documents",
        "Documents stored in the time shown; tenants beyond the bounded list are other",
        Target(
            expr=f"topk(10, {increase(DOCUMENTS_UPLOADED, _OF_TENANT, by=('client',))})",
            legend="{{client}}",
        ),
        width=6,
        no_value=_NO_UPLOADS,
    ),
    ranking(
        "Top tenants by bytes",
        "Bytes stored in the time shown, out of the log lines: every tenant by its own name",
        Target(
            expr=f"topk(10, sum by (client_id) (sum_over_time({_UPLOADED}"
            " | unwrap context_data_file_size [$__range])))",
            legend="{{client_id}}",
            source="loki",
        ),
        unit="bytes",
        width=6,
        no_value=_NO_UPLOADS,
    ),
    lines(
        "Requests by tenant",
        "Answered in a second, by class of the status; tenants beyond the bounded list are other",
        Target(
            expr=rate(TENANT_REQUESTS, _OF_TENANT, by=("client", "status")), legend="{{client}} {{status}}"
        ),
        unit="reqps",
        width=12,
        links=(OVERVIEW,),
        no_value="no requests",
    ),
    lines(
        "Refused over a limit",
        "Requests in a second that a tenant sent beyond what it may: requests, uploads at once, documents or bytes stored",
        Target(
            expr=rate(TENANT_LIMIT_EXCEEDED, _OF_TENANT, by=("client", "limit")),
            legend="{{client}}: {{limit}}",
        ),
        unit="reqps",
        width=12,
        links=(LOGS,),
        no_value="nobody is over a limit",
    ),
    log_lines(
        "What they stored",
        "A line for each document: open one for its size, type, time and correlation ID",
        _UPLOADED,
        links=(LOGS,),
        no_value=_NO_UPLOADS,
    ),
)

_DOCUMENTS: Final = (
    lines(
        "Uploads by type",
        "Documents stored in a second",
        Target(expr=rate(DOCUMENTS_UPLOADED, _OF_TENANT, by=("file_type",)), legend="{{file_type}}"),
        unit="ops",
        no_value=_NO_UPLOADS,
    ),
    lines(
        "Uploads by answer",
        "Answered in a second, by status",
        Target(expr=rate(HTTP_REQUESTS, *_UPLOADS, by=("status",)), legend="{{status}}"),
        unit="reqps",
        links=(OVERVIEW,),
        no_value=_NO_UPLOADS,
    ),
    lines(
        "Why uploads were not stored",
        "4xx and 5xx in a second, by kind",
        Target(
            expr=rate(HTTP_ERRORS, *_UPLOADS, by=("status", "error_type")),
            legend="{{status}} {{error_type}}",
        ),
        unit="reqps",
        alerts=("HighErrorRate",),
        links=(LOGS,),
        no_value="all were stored",
    ),
    lines(
        "Size of documents",
        "Median and 95th percentile, of all tenants; a point is one document",
        Target(expr=quantile(0.5, DOCUMENT_SIZE), legend="median"),
        Target(expr=quantile(0.95, DOCUMENT_SIZE), legend="95%"),
        unit="bytes",
        no_value=_NO_UPLOADS,
    ),
    lines(
        "Size by type",
        "Mean of the documents stored, of all tenants",
        Target(expr=mean(DOCUMENT_SIZE, by=("file_type",)), legend="{{file_type}}"),
        unit="bytes",
        no_value=_NO_UPLOADS,
    ),
    heatmap(
        "Spread of the sizes",
        "How many documents were how large",
        Target(
            expr=increase(DOCUMENT_SIZE, by=("le",), part="_bucket", window=RATE),
            legend="{{le}}",
        ),
        unit="bytes",
        no_value=_NO_UPLOADS,
    ),
)

_TEXT: Final = (
    lines(
        "Time to read text",
        "95th percentile, of the files that are read in a process of its own",
        Target(expr=quantile(0.95, TEXT_EXTRACTION_DURATION, by=("file_type",)), legend="{{file_type}}"),
        unit="s",
        no_value=_NO_EXTRACTION,
    ),
    lines(
        "Files that could not be read",
        "In a second, by why not; they are kept, without a summary",
        Target(
            expr=rate(
                TEXT_EXTRACTION_DURATION, f'outcome!="{TEXT_EXTRACTED}"', by=("outcome",), part="_count"
            ),
            legend="{{outcome}}",
        ),
        unit="ops",
        no_value=_NO_EXTRACTION,
    ),
    lines(
        "Virus scans",
        "In a second, by what the scanner said",
        Target(expr=rate(VIRUS_SCAN_DURATION, by=("result",), part="_count"), legend="{{result}}"),
        unit="ops",
        no_value="No scanner is configured",
    ),
)

_SUMMARIES: Final = (
    lines(
        "Summaries by source and reason",
        "In a second; a reason other than none says why the offline summary took the model's place",
        Target(expr=rate(SUMMARIES, by=("source", "reason")), legend="{{source}}, reason {{reason}}"),
        unit="ops",
        no_value="no summaries",
    ),
    lines(
        "Later summaries",
        "Summaries that their uploads did not wait for, each time that it was their turn: one that is postponed comes again",
        Target(expr=increase(LATER_SUMMARIES, by=("outcome",), window=RATE), legend="{{outcome}}"),
        width=12,
        no_value="no later summaries",
    ),
    lines(
        "Wait for a later summary",
        "From the upload until the summary is written",
        Target(expr=quantile(0.5, LATER_SUMMARY_DELAY), legend="50th percentile"),
        Target(expr=quantile(0.95, LATER_SUMMARY_DELAY), legend="95th percentile"),
        unit="s",
        width=12,
        no_value="no later summaries",
    ),
    lines(
        "Time of the model",
        "95th percentile of the calls to the model",
        Target(
            expr=quantile(0.95, GEN_AI_OPERATION_DURATION, by=("gen_ai_request_model",)),
            legend="{{gen_ai_request_model}}",
        ),
        unit="s",
        no_value=_NO_MODEL,
    ),
    lines(
        "Tokens of the model",
        "Used in a second, by model and by what they are: what was read, and what was written",
        Target(
            expr=rate(GEN_AI_TOKEN_USAGE, by=("gen_ai_request_model", "gen_ai_token_type"), part="_sum"),
            legend="{{gen_ai_request_model}} {{gen_ai_token_type}}",
        ),
        no_value=_NO_MODEL,
    ),
)

_STORAGE: Final = (
    lines(
        "Space for documents",
        "Of the file system that keeps the uploads: all instances write into the same one",
        Target(expr=aggregate("max", series(DOCUMENT_STORAGE), "state"), legend="{{state}}"),
        unit="bytes",
        stacked=True,
        alerts=("UploadsDiskFilling",),
    ),
    lines(
        "Room left",
        "Share of that file system that is free; the lines are the alert's",
        Target(expr=_storage_share(), legend="free"),
        unit="percentunit",
        defaults={"max": 1},
        steps=_ROOM,
        alerts=("UploadsDiskFilling",),
    ),
    lines(
        "Age of the last backup",
        "Since the moment that the newest whole one is of; its alert is off until rules/expectations.yml expects backups",
        Target(expr=f"time() - {aggregate('max', f'{series(LAST_BACKUP)} > 0')}", legend="age"),
        unit="s",
        alerts=("BackupTooOld",),
        no_value="no backup yet",
    ),
)

BOARD: Final = Board(
    uid=DOCUMENTS,
    title="robin: documents and tenants",
    description="What tenants store, how it is summarised, and how much room is left",
    variables=(TENANT,),
    rows=(
        Row("Now", _NOW),
        Row("Tenants", _TENANTS),
        Row("Documents", _DOCUMENTS),
        Row("Text", _TEXT),
        Row("Summaries", _SUMMARIES),
        Row("Storage", _STORAGE),
    ),
)
