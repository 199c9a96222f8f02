"""Starts the data store: `python -m data_store` migrates and serves, `python -m data_store migrate` only migrates."""

import argparse
import logging
import sys

from data_store import SERVICE_NAME
from data_store.migrations import MigrationError, Place, power_of_service
from data_store.migrations.apart import migrate_apart
from data_store.settings import DataStoreSettings
from observability.logs import configure_logging
from observability.service import AuthMode, Environment, fail, load_settings, serve

logger = logging.getLogger("data_store")  # not __main__: what others say is withheld


def main() -> int:
    """Migrate the database, then serve unless told to stop there."""
    parser = argparse.ArgumentParser(prog="python -m data_store", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["serve", "migrate"], default="serve")
    command = parser.parse_args().command
    settings = load_settings(DataStoreSettings)
    configure_logging(SERVICE_NAME, settings.log_level)
    try:
        owner = Place(
            settings.owner_url,
            settings.database_wait_seconds,
            "DATABASE_URL" if settings.migration_database_url is None else "MIGRATION_DATABASE_URL",
        )
        migrate_apart(owner, service_role=settings.service_role)
        if command == "serve":
            _check_role(settings)
    except MigrationError as error:
        logger.critical("The data store cannot start: %s", error)
        sys.stderr.write(f"{error}\n")
        return 1
    if command == "serve":
        serve("data_store.app:create_app", settings)
    return 0


def _check_role(settings: DataStoreSettings) -> None:
    """Refuse, or in a demonstration warn of, a role that PostgreSQL does not hold to the policies of tenants."""
    power = power_of_service(Place(settings.database_url.get_secret_value(), settings.database_wait_seconds))
    if power is None:
        return
    problem = (
        f"its role {power}, and row-level security does not hold for it: make a role that owns nothing,"
        " and set MIGRATION_DATABASE_URL to the owner's"
    )
    if settings.auth_mode is AuthMode.REQUIRED or settings.environment is Environment.PRODUCTION:
        fail(f"DATABASE_URL: {problem}")
    logger.warning("DATABASE_URL: %s", problem)


if __name__ == "__main__":
    sys.exit(main())
