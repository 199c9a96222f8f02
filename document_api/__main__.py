"""`python -m document_api`: checks the configuration and serves until SIGTERM."""

from document_api.documents.storage import FileStorage
from document_api.settings import DocumentApiSettings
from observability.service import fail, load_settings, serve


def main() -> None:
    """Run the service; a bad configuration ends it with one line."""
    settings = load_settings(DocumentApiSettings)
    try:
        FileStorage(settings.upload_dir).prepare()
    except OSError as error:
        fail(f"UPLOAD_DIR: cannot write to {settings.upload_dir}: {error.strerror}")
    serve("document_api.app:create_app", settings)


if __name__ == "__main__":
    main()
