"""Bearer tokens as an issuer makes them, and as nobody should."""

import base64
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER: Final = "https://issuer.example"
AUDIENCE: Final = "robin"

# One key of each kind for all tests: to make one takes longer than a test.
RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC: Final = ec.generate_private_key(ec.SECP256R1())
ED: Final = ed25519.Ed25519PrivateKey.generate()
STRANGER: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_PEM: Final = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwks() -> str:
    """Return the issuer's public keys, as it would serve them."""
    keys = [
        RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True) | {"kid": "rsa", "use": "sig", "alg": "RS256"},
        ECAlgorithm.to_jwk(EC.public_key(), as_dict=True) | {"kid": "ec", "use": "sig"},
        OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True) | {"kid": "ed", "use": "sig"},
    ]
    return json.dumps({"keys": keys})


def token(
    subject: str | None,
    key: Any = RSA,
    algorithm: str = "RS256",
    headers: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """Return a signed token; a claim of None is left out."""
    now = int(time.time())
    values = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600, **claims}
    kid = {"RS256": "rsa", "ES256": "ec", "EdDSA": "ed"}.get(algorithm)
    named = {"kid": kid, **(headers or {})}
    return jwt.encode(_without_none(values), key, algorithm, _without_none(named))


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def forged(header: Mapping[str, Any], claims: Mapping[str, Any], secret: bytes | None) -> str:
    """Return a token that no library would make: with HMAC by any secret, or with no signature."""
    signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
    signature = b"" if secret is None else hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{_base64(signature)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_of(subject: str) -> dict[str, Any]:
    """Return what a valid token claims."""
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": int(time.time()) + 600}
