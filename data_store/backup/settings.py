"""Settings of a backup, read once from the environment."""

from pydantic import Field

from data_store.settings import DataStoreSettings


class BackupSettings(DataStoreSettings):
    """Those of the data store, and where documents' bytes are."""

    storage_url: str | None = Field(
        None, description="As document_api has it: the documents' bytes are there, and not in the backup"
    )
