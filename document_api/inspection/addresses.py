"""Where the back ends are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import HttpUrl

from document_api.settings import DocumentApiSettings


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the back ends are asked, and where people's browsers find them, if they do."""

    jaeger: str
    prometheus: str
    logs: str
    public: Mapping[str, str]

    @classmethod
    def of(cls, settings: DocumentApiSettings) -> Self | None:
        """Return the addresses out of the settings; None where not all three are set."""
        jaeger, prometheus, logs = (
            _address(url) for url in (settings.jaeger_url, settings.prometheus_url, settings.logs_url)
        )
        if not (jaeger and prometheus and logs):
            return None
        public = {
            "jaeger": settings.jaeger_public_url,
            "prometheus": settings.prometheus_public_url,
            "logs": settings.logs_public_url,
            "grafana": settings.grafana_url,
        }
        return cls(jaeger, prometheus, logs, {name: _address(url) for name, url in public.items() if url})

    def followed(self, links: Mapping[str, str]) -> dict[str, str]:
        """Return the links that people's browsers can follow, as they do."""
        inside = {"jaeger": self.jaeger, "prometheus": self.prometheus, "logs": self.logs}
        return {
            title: self.public[name] + link.removeprefix(url)
            for title, link in links.items()
            for name, url in inside.items()
            if link.startswith(f"{url}/") and name in self.public
        }


def _address(url: HttpUrl | None) -> str:
    return str(url or "").rstrip("/")
