"""Documents: uploading them and finding them again."""

from document_api.documents.endpoints import router

__all__ = ["router"]
