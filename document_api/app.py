"""The composition root: every concrete part of the document API is chosen and joined here."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from anyio.to_thread import run_sync
from fastapi import FastAPI

from access.routes import describe_security
from access.service_token import tokens_of
from document_api import SERVICE_NAME, VERSION, documents, health
from document_api.documents.bulk import BulkUpload
from document_api.documents.later import LaterSummaries
from document_api.documents.library import Library
from document_api.documents.service import DocumentService
from document_api.documents.storage import storage_of
from document_api.documents.store_client import StoreClient
from document_api.documents.summary_jobs import MAX_CLAIMED, SummaryJobs
from document_api.documents.sweep import Sweeper, swept
from document_api.health import OPEN_WARNING, HealthProbe
from document_api.http import http_client, tls_context
from document_api.identity.credentials import SECURITY_SCHEMES
from document_api.identity.gate import DocumentGate
from document_api.identity.limits import TenantLimits
from document_api.identity.principals import Principals
from document_api.identity.strangers import Strangers
from document_api.inspection.addresses import Addresses
from document_api.labels import BoundedLabel
from document_api.last_backup import last_backup
from document_api.scan import scanner_at
from document_api.settings import DocumentApiSettings
from document_api.summaries import Summarizer
from document_api.summaries.extractive import offline_summarizer
from document_api.summaries.writer import SummaryWriter
from document_api.text.reader import TextReader
from document_api.turns import Turns
from observability import (
    Admission,
    Identity,
    ObservabilityMiddleware,
    Telemetry,
    configure,
    install_problem_handlers,
    watched_event_loop,
)
from observability.openapi import describe_answers
from observability.service import AuthMode, load_settings
from observability.signals import DOCUMENT_STORAGE, LAST_BACKUP

if TYPE_CHECKING:
    from document_api.inspection.reader import TelemetryReader

logger = logging.getLogger(__name__)


class State(TypedDict):
    """What the endpoints find on `request.state`."""

    gate: DocumentGate
    limits: TenantLimits
    documents: DocumentService
    bulk: BulkUpload
    library: Library
    health: HealthProbe
    telemetry_reader: "TelemetryReader | None"


def create_app(settings: DocumentApiSettings | None = None, telemetry: Telemetry | None = None) -> FastAPI:
    """Build the application; without arguments from the environment, as uvicorn calls it."""
    settings = settings or load_settings(DocumentApiSettings)
    telemetry = telemetry or configure(
        Identity(SERVICE_NAME, VERSION, settings.instance_id, settings.deployment_environment),
        log_level=settings.log_level,
        workers=settings.workers,
        kept=settings.kept_traces,
        log_records_per_second=settings.log_records_per_second or None,
    )

    client_label = BoundedLabel(settings.tenant_metrics_limit)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        """Start telemetry first and end it last: what the other parts say while they stop is still heard."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(run_sync, telemetry.shutdown)
            await stack.enter_async_context(watched_event_loop(telemetry))
            store = await stack.enter_async_context(_store(settings, telemetry))
            storage = storage_of(settings)
            await run_sync(storage.prepare)
            telemetry.metrics.observe(DOCUMENT_STORAGE, storage.space)
            telemetry.metrics.observe(LAST_BACKUP, partial(last_backup, settings.upload_dir))
            reader = await stack.enter_async_context(TextReader.open(telemetry, settings))
            scanner = scanner_at(settings.clamd_address, telemetry, seconds=settings.clamd_timeout_seconds)
            at_upload, afterwards = await stack.enter_async_context(_summaries(settings, telemetry))
            limits = TenantLimits(
                client_label,
                telemetry,
                requests_per_second=settings.requests_per_second,
                requests_at_once=settings.at_once,
                concurrent_uploads=settings.concurrent_uploads,
            )
            await stack.enter_async_context(
                swept(Sweeper(storage, store, telemetry), every_seconds=settings.sweep_seconds)
            )
            later = _later(settings, store, afterwards, telemetry)
            await stack.enter_async_context(later.working())
            principals = await stack.enter_async_context(_principals(settings, store))
            documents = DocumentService(
                *(storage, store, at_upload, telemetry, settings),
                reader=reader,
                scanner=scanner,
                limits=limits,
                client_label=client_label,
                summary_wanted=later.wake,
            )
            yield State(
                gate=DocumentGate(principals, limits, telemetry),
                limits=limits,
                documents=documents,
                bulk=BulkUpload(
                    documents,
                    limits,
                    max_bytes=settings.max_upload_bytes,
                    min_bytes_per_second=settings.min_upload_bytes_per_second,
                ),
                library=Library(store, storage, telemetry, limits=limits, client_label=client_label),
                health=HealthProbe(storage, store, scanner, telemetry, settings),
                telemetry_reader=stack.enter_context(_telemetry_reader(settings)),
            )

    app = FastAPI(
        title="robin document API",
        version=VERSION,
        lifespan=lifespan,
        redirect_slashes=False,  # to where the client's header Host says, and without a body
        # FastAPI's own OpenTelemetry would make every span and metric a second time (docs/adr/0002).
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    install_problem_handlers(app)
    describe_security(app, SECURITY_SCHEMES, asked_for=settings.auth_mode is AuthMode.REQUIRED)
    describe_answers(app)
    app.add_middleware(
        ObservabilityMiddleware,
        telemetry=telemetry,
        slow_request_seconds=settings.slow_request_seconds,
        client_label=client_label.of,
    )
    app.add_middleware(Admission, telemetry=telemetry, in_hand=settings.requests_in_hand)
    # Not include_router: going through routers inside the application's own costs each request 20 us.
    app.routes.extend((*documents.router.routes, *health.router.routes))
    if Addresses.of(settings):
        # Imported where telemetry is read only: httpx and what it brings take 9 MiB.
        from document_api.inspection.endpoints import router  # noqa: PLC0415

        app.routes.extend(router.routes)
    return app


@asynccontextmanager
async def _store(settings: DocumentApiSettings, telemetry: Telemetry) -> AsyncIterator[StoreClient]:
    tls = None
    if settings.data_store_url.scheme == "https":
        tls = tls_context(
            settings.data_store_ca_file, settings.data_store_certificate_file, settings.data_store_key_file
        )
    tokens = tokens_of(settings.service_token)
    async with http_client(
        str(settings.data_store_url),
        timeout_seconds=settings.data_store_timeout_seconds,
        connections=settings.data_store_connections,
        tls=tls,
    ) as client:
        yield StoreClient(
            client,
            telemetry,
            tokens[0] if tokens else None,
            deadline_seconds=settings.data_store_deadline_seconds,
        )


@contextmanager
def _telemetry_reader(settings: DocumentApiSettings) -> "Iterator[TelemetryReader | None]":
    """Lend what asks the back ends; None where it is not said where they are."""
    addresses = Addresses.of(settings)
    if addresses is None:
        yield None
        return
    from document_api.inspection.reader import TelemetryReader  # noqa: PLC0415  likewise

    with closing(TelemetryReader(addresses)) as reader:
        yield reader


@asynccontextmanager
async def _principals(settings: DocumentApiSettings, store: StoreClient) -> AsyncIterator[Principals | None]:
    """Lend what finds the user behind a credential; None where nobody is asked for one."""
    strangers = Strangers(settings.wrong_credentials_per_second or None)
    if settings.auth_mode is AuthMode.OPEN:
        logger.warning(OPEN_WARNING)
        yield None
    elif settings.jwt_issuer is None:
        yield Principals(store, strangers, deadline_seconds=settings.data_store_deadline_seconds)
    else:
        # Imported where tokens are accepted only: cryptography takes 10 MiB.
        from document_api.identity.bearer import verifier_of  # noqa: PLC0415

        async with verifier_of(settings) as verifier:
            yield Principals(
                store,
                strangers,
                verifier.subject_of,
                deadline_seconds=settings.data_store_deadline_seconds,
            )


def _later(
    settings: DocumentApiSettings, store: StoreClient, summaries: SummaryWriter, telemetry: Telemetry
) -> LaterSummaries:
    # Long enough for the model and for the data store.
    kept_seconds = settings.llm_async_timeout_seconds + 2 * settings.data_store_deadline_seconds
    return LaterSummaries(
        *(SummaryJobs(store, kept_seconds=kept_seconds), summaries, telemetry),
        at_once=min(MAX_CLAIMED, _later_share(settings)),
        attempts=settings.summary_attempts,
        every_seconds=settings.summary_queue_seconds,
    )


def _later_share(settings: DocumentApiSettings) -> int:
    """Return how many calls to the model may be for summaries that nobody waits for."""
    return max(1, settings.llm_concurrency // 2)


@asynccontextmanager
async def _summaries(
    settings: DocumentApiSettings, telemetry: Telemetry
) -> AsyncIterator[tuple[SummaryWriter, SummaryWriter]]:
    """Lend what writes summaries during the upload and after it: the model has more time then."""
    async with _summarizers(settings, telemetry) as summarizers:
        at_upload, afterwards = (
            SummaryWriter(summarizer, telemetry, input_bytes=settings.summary_input_bytes)
            for summarizer in summarizers
        )
        yield at_upload, afterwards


@asynccontextmanager
async def _summarizers(
    settings: DocumentApiSettings, telemetry: Telemetry
) -> AsyncIterator[tuple[Summarizer, Summarizer]]:
    """Choose who writes the summaries: the model where one is configured, with the offline summarizer behind it."""
    offline = offline_summarizer(settings.offline_summary, settings.summary_max_chars)
    if settings.llm_base_url is None or settings.llm_model is None:
        yield offline, offline
        return
    # Imported where a model is configured only: httpx and what it brings take 9 MiB and a tenth of a second.
    from document_api.summaries.chat import Chat, client_of  # noqa: PLC0415
    from document_api.summaries.genai import ChatTelemetry  # noqa: PLC0415
    from document_api.summaries.llm import LlmSummarizer  # noqa: PLC0415

    base_url = str(settings.llm_base_url)
    deadlines = (settings.llm_timeout_seconds, settings.llm_async_timeout_seconds)
    async with client_of(base_url, settings.llm_api_key, timeout_seconds=max(deadlines)) as client:
        recorded = ChatTelemetry(
            telemetry,
            model=settings.llm_model,
            base_url=base_url,
            content=settings.otel_instrumentation_genai_capture_message_content,
        )
        turns = Turns(settings.llm_concurrency)
        at_upload, afterwards = (
            LlmSummarizer(
                Chat(client, recorded, max_output_tokens=settings.llm_max_output_tokens, turns=allowed),
                max_chars=settings.summary_max_chars,
                max_input_tokens=settings.llm_max_input_tokens,
                max_calls=settings.llm_max_calls,
                deadline_seconds=seconds,
                fallback=offline,
            )
            for seconds, allowed in zip(
                deadlines, ((turns,), (Turns(_later_share(settings), bounded=False), turns)), strict=True
            )
        )
        yield at_upload, afterwards
