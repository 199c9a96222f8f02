"""The public service: takes documents, keeps their bytes, summarises them and answers for them."""

from typing import Final

SERVICE_NAME: Final = "document-api"
VERSION: Final = "1.0.0"
