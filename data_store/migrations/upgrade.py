"""What Alembic does: imported by a start that finds another schema than its own, and by no other."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from data_store.migrations import MigrationError


def upgrade(connection: Connection) -> None:
    """Run the migrations that the schema lacks."""
    try:
        command.upgrade(config(connection), "head")
    except CommandError as error:
        raise MigrationError(f"The database could not be migrated: {error}") from error


def config(connection: Connection) -> Config:
    """Return Alembic's configuration, which needs no file."""
    found = Config(attributes={"connection": connection})
    found.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    found.set_main_option("path_separator", "os")
    return found
