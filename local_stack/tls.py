"""TLS of the local stack: who shows which certificate, and what everybody else has to know for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlencode

from local_stack.certificates import Authority, KeyPair, own_certificate
from local_stack.errors import UsageError
from local_stack.health import Trust
from local_stack.nginx import EdgeTls
from local_stack.settings import Settings
from local_stack.state import State

# A browser that has seen a try must not insist on HTTPS at localhost for long.
HSTS_SECONDS_OF_A_TRY: Final = 300
HSTS_SECONDS: Final = 365 * 24 * 60 * 60


def check(settings: Settings) -> None:
    """Refuse what must not be served to anybody, before anything is touched."""
    if settings.environment == "production" and not (settings.tls or settings.public_tls):
        raise UsageError(
            "TLS: must be true with ENVIRONMENT=production: ./setup-and-run.sh --tls, with your certificate in TLS_DIR; "
            "or PUBLIC_TLS=true where something in front of nginx ends it"
        )
    if settings.tls and settings.tls_dir:
        own_certificate(settings.tls_dir)


@dataclass(frozen=True)
class Tls:
    """The certificates in use: nginx's may be the user's own, all others are the local authority's."""

    authority: Authority
    edge: KeyPair
    own: bool

    @classmethod
    def prepare(cls, settings: Settings, state: State) -> Self | None:
        """Take or make the certificates where TLS is on."""
        if not settings.tls:
            return None
        own = own_certificate(settings.tls_dir) if settings.tls_dir else None
        authority = Authority(state.root / "tls")
        authority.ensure()
        return cls(authority, own or authority.pair("nginx"), own is not None)

    @property
    def name(self) -> str:
        """The host name that nginx's certificate holds."""
        return self.edge.name

    @property
    def trust_in_nginx(self) -> Trust:
        """What makes nginx's certificate good: its authority, or where that is unknown the certificate itself."""
        return Trust(self.name, str(self.edge.certificate if self.own else self.authority.certificate))

    def trust(self, name: str) -> Trust:
        """Return what makes the certificate good that the authority gave to a name."""
        return Trust(self.authority.pair(name).name, str(self.authority.certificate))

    @property
    def ca_file(self) -> Path | None:
        """What clients have to be told to trust; None where they may know the authority."""
        return None if self.own else self.authority.certificate

    def nginx(self, port: int) -> EdgeTls:
        """Return what the load balancer needs to know."""
        return EdgeTls(
            listen=str(port),
            port=port,
            certificate=self.edge.certificate,
            key=self.edge.key,
            hsts_seconds=HSTS_SECONDS if self.own else HSTS_SECONDS_OF_A_TRY,
        )

    def collector_environment(self) -> Mapping[str, str]:
        """Return what otel-collector-tls.yaml reads."""
        pair = self.authority.pair("otel-collector")
        return {
            "COLLECTOR_TLS_CERTIFICATE": str(pair.certificate),
            "COLLECTOR_TLS_KEY": str(pair.key),
            "COLLECTOR_TLS_CLIENT_CA": str(self.authority.certificate),
        }

    def otlp_environment(self, service: str, port: int) -> Mapping[str, str]:
        """Return the standard variables by which a service sends to the collector, and shows who it is."""
        pair = self.authority.pair(service)
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(self.authority.certificate),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(pair.certificate),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(pair.key),
        }

    @property
    def database_query(self) -> str:
        """Return what is added to a database URL, so that libpq checks whom it talks to before it says anything."""
        return "?" + urlencode(
            {
                "sslmode": "verify-full",
                "sslnegotiation": "direct",  # nginx ends it and knows nothing of PostgreSQL's own way to begin
                "sslrootcert": str(self.authority.certificate),
            }
        )
