"""`python -m document_api`: checks the configuration and serves until SIGTERM."""

from collections.abc import Sequence
from pathlib import Path

from document_api.documents.shelf import StoreRefusedError
from document_api.documents.storage import storage_of
from document_api.http import tls_context
from document_api.settings import DocumentApiSettings
from observability.service import fail, load_settings, serve


def main() -> None:
    """Run the service; a bad configuration ends it with one line."""
    settings = load_settings(DocumentApiSettings)
    try:
        storage_of(settings).prepare()
    except StoreRefusedError as error:
        fail(f"STORAGE_URL: the store of {settings.storage_url} cannot be used: {error.strerror}")
    except OSError as error:
        fail(f"UPLOAD_DIR: cannot write to {settings.upload_dir}: {error.strerror}")
    try:
        tls_context(
            settings.data_store_ca_file, settings.data_store_certificate_file, settings.data_store_key_file
        )
    except OSError as error:
        fail(
            f"DATA_STORE_CA_FILE, DATA_STORE_CERTIFICATE_FILE or DATA_STORE_KEY_FILE cannot be used: {error}"
        )
    if settings.jwt_key_file is not None:
        _check_key_file(settings.jwt_key_file, settings.algorithms)
    serve("document_api.app:create_app", settings)


def _check_key_file(path: Path, algorithms: Sequence[str]) -> None:
    from document_api.identity.keys import BadKeys, KeyFile  # noqa: PLC0415  not where there are no tokens

    try:
        KeyFile(path, algorithms)
    except (OSError, BadKeys) as error:
        fail(f"JWT_KEY_FILE: {path} cannot be used: {error}")


if __name__ == "__main__":
    main()
