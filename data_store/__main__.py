"""Starts the data store: `python -m data_store` migrates and serves, `python -m data_store migrate` only migrates."""

import argparse
import logging
import sys

from data_store import SERVICE_NAME
from data_store.migrations import MigrationError
from data_store.migrations.apart import migrate_apart
from data_store.settings import DataStoreSettings
from observability.logs import configure_logging
from observability.service import load_settings, serve

logger = logging.getLogger(__name__)


def main() -> int:
    """Migrate the database, then serve unless told to stop there."""
    parser = argparse.ArgumentParser(prog="python -m data_store", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["serve", "migrate"], default="serve")
    command = parser.parse_args().command
    settings = load_settings(DataStoreSettings)
    configure_logging(SERVICE_NAME, settings.log_level)
    try:
        migrate_apart(settings.database_url.get_secret_value(), wait_seconds=settings.database_wait_seconds)
    except MigrationError as error:
        logger.critical("The data store cannot start: %s", error)
        sys.stderr.write(f"{error}\n")
        return 1
    if command == "serve":
        serve("data_store.app:create_app", settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
