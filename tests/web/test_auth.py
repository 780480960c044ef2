"""Tokens, codes, TURN credentials."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwt

from server.auth import (
    MAX_TOKEN_CHARS,
    Issued,
    TokenIssuer,
    TokenRefused,
    check_access_code,
    derive_signing_key,
    get_bearer,
    is_same_secret,
    new_session_id,
    turn_credentials,
)

SECRET = "k3JHvT8s0QmXr5WbZp1LdYc7NfGa9UeR2i"
ISSUER = TokenIssuer(SECRET, 3600)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forge(
    header: dict[str, Any] | bytes,
    claims: dict[str, Any] | bytes,
    key: bytes = SECRET.encode(),
    digest: Any = hashlib.sha256,
) -> str:
    """A token put together here, so that no library keeps it from being wrong."""
    parts = [
        _b64(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header, claims)
    ]
    signature = hmac.new(key, ".".join(parts).encode(), digest).digest()
    return ".".join([*parts, _b64(signature)])


def good_claims(**changes: Any) -> dict[str, Any]:
    """Claims that pass, with changes; a change to ... takes the claim away."""
    now = int(time.time())
    claims = {
        "sid": "abc",
        "iat": now,
        "auth_time": now,
        "exp": now + 60,
        "jti": "x" * 22,
    } | changes
    return {name: value for name, value in claims.items() if value is not ...}


def signed(issued: Issued) -> dict[str, Any]:
    """All claims of a token, as it has them."""
    return dict(jwt.get_unverified_claims(issued.token))


HS256 = {"alg": "HS256", "typ": "JWT"}


def refused(call: Callable[..., object], *about: Any, **more: Any) -> TokenRefused:
    """Return the error with which a call refuses a token."""
    with pytest.raises(TokenRefused) as caught:
        call(*about, **more)
    return caught.value


def reason(token: str, session_id: str | None = None) -> str:
    """Return the reason for which a token is refused."""
    error = refused(ISSUER.verify, token, session_id=session_id)
    assert len(token) < 20 or token not in error.message
    assert (error.code, error.status) == ("unauthorized", 401)
    return error.reason


def test_a_token_comes_back() -> None:
    """An issued token verifies for its session, and without a session."""
    session = new_session_id()
    issued = ISSUER.issue(session)
    claims = ISSUER.verify(issued.token, session_id=session)
    assert (claims.session_id, issued.expires_in) == (session, 3600)
    assert abs(signed(issued)["exp"] - time.time() - 3600) < 5
    assert ISSUER.verify(issued.token) == claims == issued.claims
    assert issued.token not in repr(issued)


def test_each_token_has_its_own_number() -> None:
    """Two tokens of one session differ in jti."""
    one, two = (signed(ISSUER.issue("abc"))["jti"] for _ in range(2))
    assert one != two


def test_the_hand_made_token_is_right() -> None:
    """The forgeries below fail for what was changed: unchanged, they pass."""
    assert ISSUER.verify(forge(HS256, good_claims()), session_id="abc").session_id == "abc"


def test_missing_expired_and_foreign() -> None:
    """No token, a late one and another session's are distinguished."""
    assert reason("") == "missing"
    late = ISSUER.issue("abc", now=time.time() - 3602)
    assert reason(late.token) == "expired"
    assert reason(forge(HS256, good_claims(exp=True))) == "expired"
    assert reason(ISSUER.issue("abc").token, session_id="abd") == "wrong_session"
    assert reason(ISSUER.issue("abc").token, session_id="ab\ud800é") == "wrong_session"
    assert reason(TokenIssuer(SECRET[::-1], 60).issue("abc").token) == "bad_signature"


def test_unsigned_tokens_are_refused() -> None:
    """alg none, in any spelling, with and without a signature."""
    for name in ("none", "None", "NONE", "", None):
        header = {"alg": name, "typ": "JWT"}
        signed = forge(header, good_claims())
        assert reason(signed) == "malformed"
        assert reason(signed.rpartition(".")[0] + ".") == "malformed"
    assert reason(forge({"typ": "JWT"}, good_claims())) == "malformed"


def test_other_algorithms_are_refused() -> None:
    """A token rightly signed with the secret by another algorithm is not one of ours."""
    for name, digest in (("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
        assert reason(forge({"alg": name}, good_claims(), digest=digest)) == "malformed"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    assert reason(jwt.encode(good_claims(), pem, algorithm="RS256")) == "malformed"


def test_a_public_key_is_no_secret() -> None:
    """A token signed with a public key in DER form fails, and a PEM key makes no issuer."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    der = public.public_bytes(serialization.Encoding.DER, spki)
    pem = public.public_bytes(serialization.Encoding.PEM, spki)
    assert reason(forge(HS256, good_claims(), key=der)) == "bad_signature"
    assert reason(forge(HS256, good_claims(), key=pem)) == "bad_signature"
    with pytest.raises(ValueError, match="unsuitable"):
        TokenIssuer(pem.decode(), 60)


@pytest.mark.parametrize("name", ["exp", "iat", "jti", "sid", "auth_time"])
def test_claims_must_be_there(name: str) -> None:
    """Each is required, even in a token signed with the right secret."""
    assert reason(forge(HS256, good_claims(**{name: ...}))) == "malformed"


def test_size_is_bounded() -> None:
    """A token of the limit is read; one character more is not, and nothing is decoded for it."""
    assert MAX_TOKEN_CHARS == 4096
    claims = good_claims(pad="")
    token = forge(HS256, claims)
    # base64 makes 4 characters of 3 bytes; the rest is trimmed by the header's padding.
    for header_pad in range(4):
        header = {**HS256, "p": "x" * header_pad}
        base = len(forge(header, claims))
        claims_pad = (MAX_TOKEN_CHARS - base) * 3 // 4
        for pad in range(claims_pad - 3, claims_pad + 4):
            token = forge(header, {**claims, "pad": "x" * pad})
            if len(token) == MAX_TOKEN_CHARS:
                assert ISSUER.verify(token).session_id == "abc"
            elif len(token) > MAX_TOKEN_CHARS:
                assert reason(token) == "malformed"
    assert reason("a" * 10_000_000) == "malformed"


def test_deep_json_is_refused_calmly() -> None:
    """A header of nested brackets, which is read before any signature, does not break the parser."""
    assert reason(forge(b"[" * 2900, b"{}")) == "malformed"
    assert reason(forge(b'{"a":' * 550, b"{}")) == "malformed"
    assert reason(forge(b'{"alg":' + b"9" * 2800 + b"}", b"{}")) == "malformed"


def test_a_token_is_renewed_until_its_code_is_too_old() -> None:
    """A renewal keeps the time of the code; no token is good beyond the maximum age."""
    now = int(time.time())
    issuer = TokenIssuer(SECRET, 3600, 7200)
    first = issuer.issue("abc", now=now - 3000)
    assert (first.claims.auth_time, signed(first)["exp"]) == (now - 3000, now + 600)
    second = issuer.renew(issuer.verify(first.token))
    assert issuer.verify(second.token).auth_time == now - 3000
    assert 3590 <= second.expires_in <= 3600
    late = issuer.issue("abc", auth_time=now - 7000)
    assert 190 <= late.expires_in <= 200
    issuer.verify(late.token)
    assert signed(late)["exp"] == now + 200
    error = refused(issuer.issue, "abc", auth_time=now - 7200)
    assert (error.reason, "too long ago" in error.message) == ("too_old", True)
    # The setting was more when this one was signed.
    assert refused(TokenIssuer(SECRET, 3600, 6000).verify, late.token).reason == "too_old"


def test_keys_differ_by_secret_purpose_and_code() -> None:
    """And nothing but these makes them; where one text ends and the next begins counts."""
    keys = {
        derive_signing_key(secret, purpose, code)
        for secret in (SECRET, SECRET[::-1])
        for purpose in ("a", "b", "ab")
        for code in ("", "b", "\ud800")
    }
    assert len(keys) == 18
    assert derive_signing_key(SECRET, "a", "b") == derive_signing_key(SECRET, "a", "b")


def test_issuing_bounds() -> None:
    """An issuer needs a secret."""
    with pytest.raises(ValueError):
        TokenIssuer("", 60)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "missing"),
        ("  ", "missing"),
        ("Bearer", "malformed"),
        ("Bearer ", "malformed"),
        ("Basic abc", "malformed"),
    ],
)
def test_bearer(header: str | None, expected: str) -> None:
    """No header and a wrong one are distinguished."""
    assert refused(get_bearer, header).reason == expected


def test_a_bearer_token_is_found() -> None:
    """The scheme's case does not matter."""
    assert get_bearer("Bearer abc") == get_bearer("bearer  abc ") == "abc"


def test_session_ids_are_random() -> None:
    """Ids have 128 bits in 22 characters."""
    ids = {new_session_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(session) for session in ids} == {22}


def test_codes_compare_exactly() -> None:
    """The code itself passes, with spaces around it too; an empty expected code never matches."""
    assert check_access_code("open sesame", "open sesame")
    assert check_access_code(" open sesame\n", "open sesame")
    assert not check_access_code("Open sesame", "open sesame")
    assert not check_access_code(None, "open sesame")
    assert not check_access_code("", "")
    assert is_same_secret("ключ", "ключ")
    assert not is_same_secret("\ud800", "ключ")
    assert not is_same_secret(" ключ", "ключ")


def test_turn_credentials_match_openssl() -> None:
    """printf '%s' '1433895918:506d7a3d' | openssl dgst -sha1 -hmac north -binary | base64"""
    name, credential = turn_credentials("north", 3600, "506d7a3d", 1433892318.9)
    assert (name, credential) == ("1433895918:506d7a3d", "TcXMuQkPj5EHMOBrgz1vNU7IjJU=")
