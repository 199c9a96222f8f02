"""Alembic's entry: runs the migrations in one transaction on the connection that `migrate` has locked."""

from alembic import context

from data_store.records.models import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
