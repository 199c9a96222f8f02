"""How the data store reaches PostgreSQL."""

from typing import Any, Final

from sqlalchemy import Engine, create_engine

from data_store.settings import DataStoreSettings

APPLICATION_NAME: Final = "data-store"
# A health check must find a connection even while requests hold all of theirs.
HEALTH_CONNECTIONS: Final = 1
# A server that vanished without a word is noticed in seconds, not in the hours of TCP's own defaults.
_LIVENESS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def make_engine(settings: DataStoreSettings) -> Engine:
    """Return the engine of the running service; nothing connects yet.

    Without pool_pre_ping: a round trip more on every request would buy little, since the first statement that meets
    a dead connection answers 503 and makes the pool replace every connection as old as that one.
    """
    return create_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        max_overflow=HEALTH_CONNECTIONS,
        pool_timeout=settings.database_pool_timeout_seconds,
        hide_parameters=True,  # values of documents stay out of exceptions, hence out of logs
        connect_args={
            **_LIVENESS,
            "application_name": APPLICATION_NAME,
            "options": f"-c statement_timeout={round(settings.statement_timeout_seconds * 1000)}",
        },
    )
