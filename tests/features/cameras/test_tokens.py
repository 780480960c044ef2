"""Credentials of further cameras: what reads as one, and what each is good for."""

from __future__ import annotations

import pytest

from server.auth import TokenIssuer
from server.features.cameras.cameras import (
    MAX_CHARS,
    make_code,
    make_token,
    read_code,
    read_token,
)


def test_what_was_made_is_read() -> None:
    """With the session's id, and a digest in place of the secret."""
    token, kept = make_token("p1-abc_D")
    secret = read_token(token)
    assert secret is not None
    assert secret.session_id == "p1-abc_D"
    assert secret.is_for(kept)
    assert len(token) <= MAX_CHARS
    assert token.rpartition("~")[2].encode() not in kept
    code, digest = make_code("p1-abc_D")
    given = read_code(code)
    assert given is not None
    assert given.is_for(digest)
    assert not given.is_for(kept)
    assert not given.is_for(None)


def test_two_are_never_the_same() -> None:
    assert len({make_token("a")[0] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "camera~",
        "camera~a",
        "camera~a~b",
        "camera~~" + "x" * 22,
        "camera~a~" + "x" * 21,
        "camera~a~" + "x" * 23,
        "camera~a~" + "x" * 22 + "\n",
        "camera~" + "a" * 65 + "~" + "x" * 22,
        "camera~a~" + "é" * 22,
        "camera~a/b~" + "x" * 22,
        "camera~" * 1000,
        "\ud800",
    ],
)
def test_other_texts_are_none(text: str) -> None:
    assert read_token(text) is None


def test_a_sessions_token_is_none_and_the_other_way_round() -> None:
    """A code is no token, and a session's token is neither."""
    session = TokenIssuer("s" * 48, 60).issue("abc").token
    assert read_token(session) is None
    assert read_code(session) is None
    assert read_token(make_code("abc")[0]) is None
