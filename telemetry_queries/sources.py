"""Who sends traces, metrics or logs, and as what."""

from enum import StrEnum
from typing import Final


class Source(StrEnum):
    """Who sends traces, metrics or logs: `service.name`."""

    DOCUMENT_API = "document-api"
    DATA_STORE = "data-store"
    NGINX = "nginx"
    POSTGRESQL = "postgresql"
    HOST = "host"


SERVICES: Final = (Source.DOCUMENT_API, Source.DATA_STORE)
