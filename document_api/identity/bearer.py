"""Bearer tokens as the settings want them; imported where an issuer is configured only, for what it brings along."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from yarl import URL

from document_api.http import http_client
from document_api.identity.keys import KeyFile, KeySet, KeySource, fetcher
from document_api.identity.tokens import TokenVerifier
from document_api.settings import DocumentApiSettings

_FETCH_SECONDS: Final = 5.0


@asynccontextmanager
async def verifier_of(settings: DocumentApiSettings) -> AsyncIterator[TokenVerifier]:
    """Lend what verifies the tokens of JWT_ISSUER; raises BadKeys or OSError for a JWT_KEY_FILE of no use."""
    async with _keys(settings) as keys:
        yield TokenVerifier(
            keys,
            issuer=settings.jwt_issuer or "",
            audience=settings.jwt_audience or "",
            algorithms=settings.algorithms,
            leeway_seconds=settings.jwt_leeway_seconds,
        )


@asynccontextmanager
async def _keys(settings: DocumentApiSettings) -> AsyncIterator[KeySource]:
    if settings.jwt_key_file is not None:
        yield KeyFile(settings.jwt_key_file, settings.algorithms)
        return
    url = URL(str(settings.jwt_jwks_url))
    async with http_client(str(url.origin()), timeout_seconds=_FETCH_SECONDS, connections=1) as client:
        yield KeySet(fetcher(client, url.raw_path_qs), settings.algorithms)
