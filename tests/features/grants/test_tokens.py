"""Tokens of programs: what is one, and what is kept of it."""

from __future__ import annotations

import pytest

from server.features.grants.grants import MAX_TOKEN_CHARS, PREFIX, digest, new_token, read_token

SESSION = "h1_8010-AAAAAAAAAAAAAAAAAAAAAA"


def test_a_token_leads_to_its_session() -> None:
    token, kept = new_token(SESSION)
    assert token.startswith(f"{PREFIX}{SESSION}.")
    assert read_token(token) == (SESSION, kept)
    assert new_token(SESSION)[0] != token
    assert token.rpartition(".")[2].encode() not in kept


def test_the_longest_token_is_read() -> None:
    token, _ = new_token("a" * 64)
    assert len(token) <= MAX_TOKEN_CHARS
    assert read_token(token) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        PREFIX,
        f"{PREFIX}{SESSION}",
        f"{PREFIX}{SESSION}.short",
        f"{PREFIX}.{'a' * 43}",
        f"{PREFIX}{'a' * 65}.{'a' * 43}",
        f"{PREFIX}{SESSION}.{'a' * 44}",
        f"{PREFIX}{SESSION}.{'ä' * 43}",
        f"{PREFIX}../{SESSION}.{'a' * 43}",
        f"Bearer {PREFIX}{SESSION}.{'a' * 43}",
        f"{PREFIX}{SESSION}.{'a' * 43}\n",
        "a" * 10_000_000,
        "eyJhbGciOiJIUzI1NiJ9.e30.xx",
    ],
)
def test_other_texts_are_none(text: str) -> None:
    assert read_token(text) is None


def test_digests_differ() -> None:
    assert digest("a") != digest("b")
