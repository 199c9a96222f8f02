"""Bearer tokens and the keys they are verified with: which are believed, for how long, and what happens when they change."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm
from starlette.datastructures import Headers

from document_api.documents.store_client import Known, User
from document_api.http import Lack, NoAnswer
from document_api.identity import keys as module
from document_api.identity.credentials import ApiKey, BearerToken, Unauthenticated, credential_of
from document_api.identity.keys import BadKeys, KeyFile, KeySet, parse_keys
from document_api.identity.principals import Principals
from document_api.identity.strangers import Strangers
from document_api.identity.tokens import TokenVerifier
from observability import Problem, Unavailable
from tests.tokens import AUDIENCE, EC, ED, ISSUER, RSA, RSA_PEM, jwks, token

ALGORITHMS: Final = ["RS256", "ES256", "EdDSA"]
SubjectOf = Callable[[str], str]


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    """Return the public half of a key, as a file has it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def verifier(source: module.KeySource, leeway: float = 0) -> TokenVerifier:
    """Return what verifies the tests' tokens with these keys."""
    return TokenVerifier(
        source, issuer=ISSUER, audience=AUDIENCE, algorithms=ALGORITHMS, leeway_seconds=leeway
    )


class Issuer:
    """Serves a JWKS, counts how often it is asked, and fails when told to."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked = 0
        self.fails = False

    async def fetch(self) -> str:
        """Answer."""
        self.asked += 1
        if self.fails:
            raise NoAnswer("away", Lack.REFUSED)
        return self.text


# ---- credentials


def test_a_key_becomes_what_finds_it_and_a_digest_and_nothing_more() -> None:
    """What goes on to the data store is of no use to whoever sees it there."""
    secret = "5e" * 32
    shown = credential_of(Headers({"X-API-Key": f"robin_0123456789ab_{secret}"}))
    assert isinstance(shown, ApiKey)
    assert shown.prefix == "0123456789ab"
    assert secret not in shown.digest


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_of_a_token_may_be_written_in_any_case(scheme: str) -> None:
    """RFC 9110, 11.1; and what it holds is not shown by accident."""
    shown = credential_of(Headers({"Authorization": f"{scheme} a.b.c"}))
    assert isinstance(shown, BearerToken)
    assert shown.text == "a.b.c"
    assert "a.b.c" not in repr(shown)


def test_more_than_one_credential_is_a_bad_request() -> None:
    """RFC 6750, 3.1: nobody guesses which one is meant."""
    with pytest.raises(Problem) as refused:
        credential_of(Headers({"X-API-Key": "x", "Authorization": "Bearer y"}))
    assert refused.value.status == 400


# ---- keys


@pytest.mark.parametrize(
    "text",
    [jwks(), public_pem(RSA), public_pem(EC) + public_pem(ED) + public_pem(RSA)],
    ids=["JWKS", "PEM", "several in PEM"],
)
def test_public_keys_are_read(text: str) -> None:
    """As a JWKS, or in PEM, one after the other."""
    assert {key.algorithm_name for key in parse_keys(text, ALGORITHMS)} <= set(ALGORITHMS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no public key"),
        ("{}", "no JWKS"),
        *((text, "no JWKS") for text in ('{"keys": [1]}', '{"keys": null}', "{" * 9000)),
        ('{"keys": []}', "no public key"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "no public key"),
        (RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), "private key"),
        ('{"keys": [{"kty": "RSA", "n": "x", "e": "AQAB", "d": "x"}]}', "private key"),
        ("-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----\n", "no public key in PEM"),
    ],
)
def test_what_is_no_public_key_is_refused(text: str, reason: str) -> None:
    """A shared secret above all, which would let HMAC in, and a private key, which has no business here."""
    with pytest.raises(BadKeys, match=reason):
        parse_keys(text, ALGORITHMS)


async def test_a_key_file_that_changes_is_read_again(tmp_path: Path) -> None:
    """Old tokens are refused and new ones accepted without a restart; a broken file changes nothing."""
    file = tmp_path / "keys.pem"
    file.write_text(public_pem(EC))
    verify = verifier(KeyFile(file, ALGORITHMS))
    with pytest.raises(Unauthenticated):
        await verify.subject_of(token("ada"))

    file.write_bytes(RSA_PEM)
    os.utime(file, (1, 1))
    assert await verify.subject_of(token("ada")) == "ada"

    file.write_text("half a fi")
    os.utime(file, (2, 2))
    assert await verify.subject_of(token("ada")) == "ada"


async def test_a_new_key_of_the_issuer_is_fetched_when_a_token_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the old one is believed no more once the issuer has taken it back."""
    clock = [1000.0]
    monkeypatch.setattr("document_api.identity.keys.time.monotonic", lambda: clock[0])
    issuer = Issuer(jwks())
    verify = verifier(KeySet(issuer.fetch, ALGORITHMS))
    assert await verify.subject_of(token("ada")) == "ada"

    new = ec.generate_private_key(ec.SECP256R1())
    issuer.text = '{"keys": [' + jwk_of(new, "new") + "]}"
    clock[0] += 11
    assert await verify.subject_of(token("ada", new, "ES256", headers={"kid": "new"})) == "ada"
    with pytest.raises(Unauthenticated):
        await verify.subject_of(token("ada"))


def jwk_of(key: ec.EllipticCurvePrivateKey, kid: str) -> str:
    """Return a public key as JSON."""
    text: str = ECAlgorithm.to_jwk(key.public_key())
    return text[:-1] + f', "kid": "{kid}"}}'


async def test_tokens_with_unknown_keys_do_not_make_us_ask_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stranger could make us a tool against the issuer."""
    monkeypatch.setattr("document_api.identity.keys.time.monotonic", lambda: 1000.0)
    issuer = Issuer(jwks())
    verify = verifier(KeySet(issuer.fetch, ALGORITHMS))
    for number in range(20):
        with pytest.raises(Unauthenticated):
            await verify.subject_of(token("ada", headers={"kid": f"unknown-{number}"}))
    assert issuer.asked == 1


async def test_an_issuer_that_is_away_leaves_the_keys_that_were_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where there were none, nobody can say whether a token is valid: 503, not 401."""
    clock = [1000.0]
    monkeypatch.setattr("document_api.identity.keys.time.monotonic", lambda: clock[0])
    issuer = Issuer(jwks())
    keys = verifier(KeySet(issuer.fetch, ALGORITHMS))
    assert await keys.subject_of(token("ada")) == "ada"
    issuer.fails = True
    clock[0] += 1000
    assert await keys.subject_of(token("ada")) == "ada"

    with pytest.raises(Unavailable):
        await verifier(KeySet(issuer.fetch, ALGORITHMS)).subject_of(token("ada"))


async def test_the_leeway_is_for_clocks_that_differ(tmp_path: Path) -> None:
    """And is none by default."""
    file = tmp_path / "keys"
    file.write_text(jwks())
    late = token("ada", exp=1_000_000_000)
    with pytest.raises(Unauthenticated, match="expired"):
        await verifier(KeyFile(file, ALGORITHMS)).subject_of(late)
    assert await verifier(KeyFile(file, ALGORITHMS), leeway=2e9).subject_of(late) == "ada"


@pytest.mark.parametrize("subject", ["", "x" * 256, "a\0b", "a\nb", "\ud800"], ids=ascii)
async def test_a_subject_that_nobody_can_have_is_nobodys(subject: str, tmp_path: Path) -> None:
    """Else whoever the issuer knows could make the data store complain."""
    file = tmp_path / "keys"
    file.write_text(jwks())
    with pytest.raises(Unauthenticated):
        await verifier(KeyFile(file, ALGORITHMS)).subject_of(token(subject))


# ---- principals


class Store:
    """Answers who somebody is, and counts how often it is asked."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.asked = 0

    async def principal_by_key(self, _prefix: str, _digest: str) -> Known:
        """Answer."""
        self.asked += 1
        return self.known


WRITER: Final = User.model_validate({"user_id": 7, "client_id": "acme", "role": "writer"})
ADDRESS: Final = "192.0.2.1"
KEY: Final = ApiKey("0123456789ab", "0" * 64)


@pytest.mark.parametrize("user", [WRITER, None], ids=["known", "unknown"])
async def test_an_answer_is_believed_as_long_as_it_says(
    user: User | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal as well: a wrong key that is tried again and again is asked for once."""
    clock = [1000.0]
    monkeypatch.setattr("document_api.identity.principals.time.monotonic", lambda: clock[0])
    store = Store(Known(user, fresh_seconds=1.0))
    principals = Principals(store, Strangers(None), deadline_seconds=10)  # type: ignore[arg-type]

    async def ask() -> str:
        try:
            return (await principals.of(KEY, ADDRESS)).actor
        except Unauthenticated:
            return "nobody"

    expected = "user:7/key:0123456789ab" if user else "nobody"
    assert [await ask() for _ in range(3)] == [expected] * 3
    assert store.asked == 1
    clock[0] += 1.1
    assert await ask() == expected
    assert store.asked == 2


async def test_an_answer_that_may_not_be_believed_is_asked_for_each_time() -> None:
    """CREDENTIAL_CACHE_SECONDS=0."""
    store = Store(Known(WRITER, fresh_seconds=0))
    principals = Principals(store, Strangers(None), deadline_seconds=10)  # type: ignore[arg-type]
    for _ in range(3):
        await principals.of(KEY, ADDRESS)
    assert store.asked == 3


async def test_without_an_issuer_tokens_are_refused() -> None:
    """And it is said what is accepted."""
    principals = Principals(Store(Known(WRITER, 1)), Strangers(None), deadline_seconds=10)  # type: ignore[arg-type]
    with pytest.raises(Unauthenticated, match="X-API-Key"):
        await principals.of(BearerToken("a.b.c"), ADDRESS)
