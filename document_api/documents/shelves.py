"""Chooses where documents are kept."""

from document_api.documents.storage import FileStorage
from document_api.settings import DocumentApiSettings


class StoreRefusedError(OSError):
    """The object store could not be asked, or said no."""


def storage_of(settings: DocumentApiSettings) -> FileStorage:
    """Return the storage that the settings ask for."""
    if settings.storage_url is None:
        return FileStorage(
            settings.upload_dir, synced=settings.sync_uploads, left_seconds=settings.sweep_after_seconds
        )
    # Imported where there is such a store only: it takes memory and time at the start.
    from document_api.documents.object_store import Bucket  # noqa: PLC0415

    # Not synced: a document is safe when the store has it.
    return FileStorage(
        settings.upload_dir,
        synced=False,
        left_seconds=settings.sweep_after_seconds,
        shelf=Bucket(
            settings.storage_url,
            endpoint=settings.aws_endpoint_url,
            region=settings.aws_region,
            access_key_id=settings.aws_access_key_id,
            secret_access_key=settings.aws_secret_access_key,
        ),
    )
