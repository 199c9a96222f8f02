"""What several dashboards share: their uids, variables and the limits of alerts that they show."""

from typing import Final

import data_store
import document_api
from monitoring.generate.board import Variable
from monitoring.generate.panels import above
from monitoring.generate.promql import OF_USERS, series
from observability.signals import DOCUMENTS_UPLOADED, HTTP_REQUESTS

DOCUMENT_API: Final = document_api.SERVICE_NAME
DATA_STORE: Final = data_store.SERVICE_NAME
NGINX: Final = "nginx"
POSTGRESQL: Final = "postgresql"

OVERVIEW: Final = "robin-overview"
DOCUMENTS: Final = "robin-documents"
DATABASE: Final = "robin-database"
PIPELINE: Final = "robin-pipeline"
RUNTIME: Final = "robin-runtime"
LOGS: Final = "robin-logs"

SERVICE: Final = Variable(
    name="service",
    label="Service",
    description="nginx and PostgreSQL have health, log lines and alerts, but no requests that are counted",
    values=(DOCUMENT_API, DATA_STORE, NGINX, POSTGRESQL),
)
# Of the processes that measure themselves.
OWN_SERVICE: Final = Variable(
    name="service",
    label="Service",
    description="Whose own measurements are shown",
    values=(DOCUMENT_API, DATA_STORE),
)
ROUTE: Final = Variable(
    name="route",
    label="Route",
    description="The template of a route, never a raw path",
    query=f"label_values({series(HTTP_REQUESTS, OF_USERS)}, path)",
)
TENANT: Final = Variable(
    name="tenant",
    label="Tenant",
    description="Tenants beyond the bounded list are counted as other; in logs any may be typed",
    query=f"label_values({series(DOCUMENTS_UPLOADED)}, client)",
)
CORRELATION_ID: Final = Variable(
    name="correlation_id", label="X-Correlation-ID", description="Of the one request that is shown"
)

OF_SERVICE: Final = 'service_name=~"$service"'
OF_ROUTE: Final = 'path=~"$route"'

ERROR_RATE: Final = above(0.05, 0.1)
LATENCY: Final = above(1, 2)
DATABASE_LATENCY: Final = above(1)
DATABASE_ERRORS: Final = above(0.05)
SLOW_STATEMENTS: Final = above(0.05)
POOL: Final = above(0.9)
MEMORY: Final = above(0.8)
QUEUE: Final = above(0.5, 0.9)
# Alerts that fire on any at all.
ANY: Final = above(1)
