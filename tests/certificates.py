"""Certificates for a test: signed by an authority that the test made, never committed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from local_stack.certificates import KeyPair


def issue(
    authority: trustme.CA,
    folder: Path,
    *names: str,
    ended: bool = False,
    key_type: trustme.KeyType = trustme.KeyType.ECDSA,
) -> KeyPair:
    """Return a certificate for these names, in a folder of its own; one that has `ended` was good until yesterday."""
    now = datetime.now(UTC).replace(tzinfo=None)
    not_before, not_after = now - timedelta(days=10), now + timedelta(days=-1 if ended else 10)
    issued = authority.issue_cert(*names, not_before=not_before, not_after=not_after, key_type=key_type)
    pair = KeyPair.within(folder)
    folder.mkdir(parents=True)
    pair.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    pair.key.write_bytes(issued.private_key_pem.bytes())
    return pair


def authority_file(authority: trustme.CA, file: Path) -> Path:
    """Return a file with what clients of the authority have to trust."""
    authority.cert_pem.write_to_path(file)
    return file
