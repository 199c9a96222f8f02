"""The composition root: everything the data store consists of is put together here, and only here."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI

from access.routes import GATE, describe_security
from access.service_token import SECURITY_SCHEMES, ServiceGate, tokens_of
from data_store import SERVICE_NAME, VERSION, health
from data_store.body_limit import MAX_BODY_BYTES, DeclaredBodyLimit
from data_store.credentials.endpoints import principals_router
from data_store.credentials.repository import PrincipalRepository
from data_store.database import Database, make_engine, make_threads
from data_store.records.endpoints import (
    lifecycle_router,
    listing_router,
    records_router,
    storage_keys_router,
    summaries_router,
    versions_router,
)
from data_store.records.lifecycle import DocumentLifecycle
from data_store.records.limits import Limits
from data_store.records.listing import DocumentListing
from data_store.records.repository import DocumentRepository
from data_store.records.summaries import SummaryQueue
from data_store.records.versions import DocumentVersions
from data_store.settings import DataStoreSettings
from observability import (
    Admission,
    Identity,
    ObservabilityMiddleware,
    Telemetry,
    configure,
    install_problem_handlers,
    watched_event_loop,
)
from observability.database import DatabaseTelemetry
from observability.openapi import describe_answers
from observability.service import load_settings


def create_app(settings: DataStoreSettings | None = None, telemetry: Telemetry | None = None) -> FastAPI:
    """Put the service together; settings come from the environment unless given."""
    settings = settings or load_settings(DataStoreSettings)
    telemetry = telemetry or _telemetry(settings)
    requests, probes = (
        _database(settings, telemetry, connections=connections)
        for connections in (settings.database_pool_size, health.CONNECTIONS)
    )
    requests.telemetry.observe_pool()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        """Telemetry is up first and goes down last, so that it tells how everything else went down."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(run_sync, telemetry.shutdown)
            stack.enter_context(requests)
            stack.enter_context(probes)
            await stack.enter_async_context(watched_event_loop(telemetry))
            yield {GATE: ServiceGate(tokens_of(settings.service_token))}

    app = FastAPI(
        title="robin data store",
        version=VERSION,
        lifespan=lifespan,
        redirect_slashes=False,  # to where the client's header Host says, and without a body
        # FastAPI's own OpenTelemetry would make every span and metric a second time.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    install_problem_handlers(app)
    describe_security(app, SECURITY_SCHEMES, asked_for=settings.service_token is not None)
    describe_answers(app)
    probing = health.health_router(
        health.DatabaseProbe(requests, probes),
        telemetry,
        service=SERVICE_NAME,
        version=VERSION,
        deadline_seconds=settings.health_deadline_seconds,
    )
    principals = principals_router(
        PrincipalRepository(requests, pepper=settings.api_key_pepper.get_secret_value()),
        cache_seconds=settings.credential_cache_seconds,
    )
    # Not include_router: going through routers inside the application's own costs each request 20 us.
    for router in (*_records(requests, settings), principals, probing):
        app.routes.extend(router.routes)
    app.add_middleware(DeclaredBodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(
        ObservabilityMiddleware,
        telemetry=telemetry,
        slow_request_seconds=settings.slow_request_seconds,
        trust_baggage=True,  # only the document API calls this service
    )
    app.add_middleware(Admission, telemetry=telemetry, in_hand=settings.requests_in_hand)
    return app


def _records(database: Database, settings: DataStoreSettings) -> Iterator[APIRouter]:
    limits = Limits.of(settings)
    documents = DocumentRepository(database, limits=limits, audit_reads=settings.audits_reads)
    lifecycle = DocumentLifecycle(database, kept_seconds=settings.restore_seconds)
    yield records_router(documents)
    yield versions_router(DocumentVersions(database, limits=limits, audit_reads=settings.audits_reads))
    yield listing_router(DocumentListing(database))
    yield lifecycle_router(lifecycle)
    yield storage_keys_router(documents, lifecycle)
    yield summaries_router(SummaryQueue(database))


def _database(settings: DataStoreSettings, telemetry: Telemetry, *, connections: int) -> Database:
    return Database(
        DatabaseTelemetry(
            make_engine(settings, connections=connections),
            telemetry,
            slow_statement_seconds=settings.slow_statement_seconds,
        ),
        make_threads(settings, connections=connections),
        longest_seconds=settings.longest_answer_seconds,
    )


def _telemetry(settings: DataStoreSettings) -> Telemetry:
    identity = Identity(SERVICE_NAME, VERSION, settings.instance_id, settings.deployment_environment)
    return configure(
        identity,
        log_level=settings.log_level,
        workers=settings.workers,
        kept=settings.kept_traces,
        log_records_per_second=settings.log_records_per_second or None,
    )
