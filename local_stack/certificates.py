"""Certificates for a try of TLS: a certificate authority of this machine, and what it signs, for both ways to run.

`python -m local_stack.certificates FOLDER` makes what is missing there.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from local_stack.errors import UsageError

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
# Who has a certificate, and the names it holds: those on this machine, and those of the containers.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "nginx": LOOPBACK,
    "otel-collector": (*LOOPBACK, "otel-collector"),
    "postgres": (*LOOPBACK, "postgres"),
    "document-api": (*LOOPBACK, "document-api"),
    "data-store": (*LOOPBACK, "data-store", "data-store-lb"),
}
LIFETIME: Final = timedelta(days=397)  # browsers take no more
RENEWED_BEFORE: Final = timedelta(days=30)


@dataclass(frozen=True)
class KeyPair:
    """A certificate with its chain, and its key, as files."""

    certificate: Path
    key: Path

    @classmethod
    def within(cls, folder: Path) -> "KeyPair":
        """Return those of a folder, by the names that certbot gives them."""
        return cls(folder / "fullchain.pem", folder / "privkey.pem")

    def leaf(self) -> x509.Certificate:
        """Return the certificate itself, without its chain."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    @property
    def name(self) -> str:
        """The first host name that it holds, one that fits where it is a wildcard."""
        names = self.leaf().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.DNSName)[0].replace("*", "robin", 1)


@dataclass(frozen=True)
class Authority:
    """The certificate authority in a folder, with everything that it has signed. Its own key is not kept."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """What clients have to trust."""
        return self.folder / "ca.pem"

    def pair(self, name: str) -> KeyPair:
        """Return the certificate of one of NAMES."""
        return KeyPair.within(self.folder / name)

    def ensure(self) -> bool:
        """Make everything anew where something is missing or ends soon: all or nothing. Return whether it did."""
        if self._is_good():
            return False
        fresh = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        _make(fresh)
        shutil.rmtree(self.folder, ignore_errors=True)
        fresh.rename(self.folder)
        return True

    def _is_good(self) -> bool:
        latest = datetime.now(UTC) + RENEWED_BEFORE
        try:
            return self.certificate.exists() and all(
                self.pair(name).key.exists() and self.pair(name).leaf().not_valid_after_utc > latest
                for name in NAMES
            )
        except (FileNotFoundError, ValueError):
            return False


def _make(folder: Path) -> None:
    authority = trustme.CA(organization_name="robin, this machine only")
    folder.mkdir(mode=0o700, parents=True)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, identities in NAMES.items():
        issued = authority.issue_cert(
            *identities, common_name=name, not_after=datetime.now(UTC).replace(tzinfo=None) + LIFETIME
        )
        pair = KeyPair.within(folder / name)
        pair.certificate.parent.mkdir(mode=0o700)
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        with os.fdopen(os.open(pair.key, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as key:
            key.write(issued.private_key_pem.bytes())


def own_certificate(folder: Path) -> KeyPair:
    """Return the certificate that TLS_DIR holds, or say what is wrong with it before anything starts."""
    pair = KeyPair.within(folder.expanduser().absolute())
    try:
        leaf = pair.leaf()
        key = load_pem_private_key(pair.key.read_bytes(), password=None)
        _ = pair.name
    except OSError as error:
        raise UsageError(f"TLS_DIR={folder}: {error.strerror}: {error.filename}") from None
    except (ValueError, TypeError, IndexError, x509.ExtensionNotFound) as error:
        raise UsageError(
            f"TLS_DIR={folder}: needs fullchain.pem, a certificate with a host name, and privkey.pem, a key without a "
            f"password: {error}"
        ) from None
    if leaf.public_key() != key.public_key():
        raise UsageError(
            f"TLS_DIR={folder}: privkey.pem is not the key of the first certificate in fullchain.pem"
        )
    if leaf.not_valid_after_utc < datetime.now(UTC):
        raise UsageError(
            f"TLS_DIR={folder}: the certificate ended on {leaf.not_valid_after_utc:%Y-%m-%d}: renew it"
        )
    return pair


if __name__ == "__main__":
    Authority(Path(sys.argv[1]).absolute()).ensure()
