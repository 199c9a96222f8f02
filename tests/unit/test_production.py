"""ENVIRONMENT=production starts with nothing that is only good for a demonstration; one line says which variable."""

from collections.abc import Mapping
from typing import Final

import pytest

from data_store.settings import DataStoreSettings
from document_api.settings import DocumentApiSettings
from observability.service import ServiceSettings, is_this_host, load_settings

SAFE: Final[Mapping[str, str]] = {
    "ENVIRONMENT": "production",
    "AUTH_MODE": "required",
    "SERVICE_TOKEN": "0123456789abcdef",
    "API_KEY_PEPPER": "fedcba9876543210",
    "DATABASE_URL": "postgresql://robin_service:a-long-password@127.0.0.1/robin",
    "PUBLIC_TLS": "true",
}
SERVICES: Final = (DocumentApiSettings, DataStoreSettings)


@pytest.fixture(autouse=True)
def _production(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with settings that are good for production, and nothing else that this machine may configure."""
    for settings in SERVICES:
        for name in settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    for name in ("", "_TRACES", "_METRICS", "_LOGS"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP{name}_ENDPOINT", raising=False)
    for name, value in SAFE.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("settings", SERVICES)
def test_what_is_safe_starts(settings: type[ServiceSettings]) -> None:
    """Else each test below could see another reason; and telemetry says that it is production."""
    assert load_settings(settings).deployment_environment == "production"


@pytest.mark.parametrize(
    ("settings", "variable", "value"),
    [
        *((settings, "AUTH_MODE", value) for settings in SERVICES for value in ("open", "")),
        *(
            (settings, "SERVICE_TOKEN", value)
            for settings in SERVICES
            for value in (
                "",
                "robin-demo-only",
                "short",
                "0123456789abcdef,robin-demo-only",
                "0123456789abcdef,",
            )
        ),
        (DocumentApiSettings, "PUBLIC_TLS", "false"),
        (DocumentApiSettings, "PUBLIC_TLS", ""),
        (DataStoreSettings, "API_KEY_PEPPER", ""),
        (DataStoreSettings, "API_KEY_PEPPER", "robin-demo-only"),
        (DataStoreSettings, "API_KEY_PEPPER", "short"),
        (DataStoreSettings, "DATABASE_URL", "postgresql://robin:robin-demo-only@127.0.0.1/robin"),
        (DataStoreSettings, "MIGRATION_DATABASE_URL", "postgresql://robin:robin-demo-only@127.0.0.1/robin"),
        (DataStoreSettings, "DATABASE_URL", "postgresql://robin@127.0.0.1/robin?password=robin-demo%2Donly"),
        (DocumentApiSettings, "JWT_JWKS_URL", "http://issuer.example/jwks"),
        (DocumentApiSettings, "AWS_ENDPOINT_URL", "http://store.example"),
        *(
            (settings, f"OTEL_EXPORTER_OTLP{signal}_ENDPOINT", "http://collector.example:4317")
            for settings in SERVICES
            for signal in ("", "_TRACES", "_METRICS", "_LOGS")
        ),
        *(
            (DocumentApiSettings, "OTEL_EXPORTER_OTLP_ENDPOINT", value)
            for value in (
                "collector:4317",
                "//collector:4317",
                "grpc://collector:4317",
                "http://[bad",
                "HTTP://elsewhere",
            )
        ),
    ],
)
def test_what_is_only_good_for_a_demonstration_is_refused_in_one_line(
    settings: type[ServiceSettings],
    variable: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It names the variable, and says nothing of a secret's value."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as left:
        load_settings(settings)

    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{variable}: ")
    assert "demo-only" not in line


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:4317", "http://localhost:4317", "http://[::1]:4317", "https://collector.example:4317"],
)
def test_telemetry_may_stay_on_this_host_or_be_encrypted(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What never leaves the machine, nobody reads on the way."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    load_settings(DocumentApiSettings)


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")),
        *((host, False) for host in ("10.0.0.1", "localhost.example", "0.0.0.0", "")),
    ],
)
def test_this_host_is_its_loopback(host: str, is_here: bool) -> None:  # noqa: FBT001  a table's column
    """Names that only look like it are elsewhere."""
    assert is_this_host(host) == is_here


@pytest.mark.parametrize("settings", SERVICES)
def test_outside_of_production_a_demonstration_starts(
    settings: type[ServiceSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With secrets that everybody knows, without TLS, with telemetry in plain text."""
    monkeypatch.setenv("ENVIRONMENT", "development")
    for name, value in {
        "AUTH_MODE": "open",
        "SERVICE_TOKEN": "robin-demo-only",
        "PUBLIC_TLS": "false",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("API_KEY_PEPPER")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4317")
    assert load_settings(settings).environment == "development"


@pytest.mark.parametrize("settings", SERVICES)
def test_asking_who_sends_requests_needs_a_token_between_the_services(
    settings: type[ServiceSettings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In development as well: without it whoever reaches the data store is let in."""
    monkeypatch.setenv("ENVIRONMENT", "development")
    monkeypatch.delenv("SERVICE_TOKEN")
    with pytest.raises(SystemExit):
        load_settings(settings)
    assert capsys.readouterr().err.startswith("SERVICE_TOKEN: ")


@pytest.mark.parametrize(
    "variables",
    [
        {"JWT_ISSUER": "https://issuer.example"},
        {"JWT_ISSUER": "https://issuer.example", "JWT_AUDIENCE": "robin"},
        {
            "JWT_ISSUER": "x",
            "JWT_AUDIENCE": "y",
            "JWT_KEY_FILE": "k",
            "JWT_JWKS_URL": "https://issuer.example/jwks",
        },
        {"JWT_ALGORITHMS": "HS256"},
        {"JWT_ALGORITHMS": "RS256,none"},
        {"DATA_STORE_URL": "http://user:password@127.0.0.1:8001"},
        {"TLS_CERTIFICATE_FILE": "certificate.pem"},
        {"TLS_CLIENT_CA_FILE": "ca.pem"},
    ],
    ids=str,
)
def test_settings_that_do_not_fit_together_are_refused(
    variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An issuer without keys, a shared secret as a signature, a certificate without its key."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load_settings(DocumentApiSettings)
    (line,) = capsys.readouterr().err.splitlines()
    assert any(name in line for name in ("JWT_", "DATA_STORE_URL", "TLS_"))
