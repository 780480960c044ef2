"""A further camera: who is let in until when, credentials, and names."""

from __future__ import annotations

import math

import pytest

from server.auth import TokenIssuer
from server.core.errors import BadRequest
from server.features.cameras.cameras import (
    AWAY_SECONDS,
    INVITED_SECONDS,
    MAX_CHARS,
    MAX_NAME_CHARS,
    Admission,
    CameraSecret,
    clean_name,
    free_name,
    make_code,
    make_token,
    read_code,
    read_token,
)


def secret(text: str) -> CameraSecret:
    found = read_token(text) or read_code(text)
    assert found is not None
    return found


def test_a_code_is_changed_for_a_token_once() -> None:
    """And the token that stood beside it ends with it."""
    admission = Admission("s", "2", 0.0)
    shown = admission.invitation
    assert admission.admits(secret(shown.token), 1.0)
    token = admission.redeem(secret(shown.code), 1.0)
    assert token is not None
    assert admission.admits(secret(token), 2.0)
    assert not admission.admits(secret(shown.token), 2.0)
    assert admission.redeem(secret(shown.code), 2.0) is None
    assert not admission.admits(secret(shown.code), 2.0)


def test_a_camera_that_came_with_the_token_closes_the_link() -> None:
    admission = Admission("s", "2", 0.0)
    admission.came()
    assert admission.redeem(secret(admission.invitation.code), 1.0) is None
    assert admission.admits(secret(admission.invitation.token), 1.0)


def test_an_invitation_is_good_for_ten_minutes() -> None:
    admission = Admission("s", "2", 0.0)
    code, token = secret(admission.invitation.code), secret(admission.invitation.token)
    assert admission.admits(token, INVITED_SECONDS - 1)
    assert not admission.admits(token, INVITED_SECONDS)
    assert admission.redeem(code, INVITED_SECONDS) is None
    assert admission.over(INVITED_SECONDS)


def test_a_camera_that_is_here_stays_and_a_lost_one_may_come_back_for_a_while() -> None:
    admission = Admission("s", "2", 0.0)
    token = secret(admission.invitation.token)
    admission.came()
    assert admission.until == math.inf
    assert admission.admits(token, 1e9)
    admission.went(1e9)
    assert admission.admits(token, 1e9 + AWAY_SECONDS - 1)
    assert not admission.admits(token, 1e9 + AWAY_SECONDS)


def test_another_places_secrets_are_refused() -> None:
    one, other = Admission("s", "2", 0.0), Admission("s", "3", 0.0)
    assert not one.admits(secret(other.invitation.token), 1.0)
    assert one.redeem(secret(other.invitation.code), 1.0) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  Front   door ", "Front door"),
        ("a\nb\tc\u2028d", "a b c d"),
        ("\u202edoor\u200b", "door"),
        ("Haustür 2", "Haustür 2"),
        ("", ""),
        ("\x00\ud800", ""),
    ],
)
def test_a_name_is_one_line_of_visible_characters(given: str, kept: str) -> None:
    """So it adds no line to a prompt."""
    assert clean_name(given) == kept


def test_a_long_name_is_refused() -> None:
    assert clean_name("x" * MAX_NAME_CHARS)
    for given in ("x" * (MAX_NAME_CHARS + 1), "x" * 100_000):
        with pytest.raises(BadRequest, match="at most 40"):
            clean_name(given)


def test_each_camera_has_a_name_of_its_own() -> None:
    assert free_name("Door", "2", ["Garden"]) == "Door"
    assert free_name("", "2", ["Garden"]) == "Camera 2"
    assert free_name("", "2", ["camera 2"]) == "Camera 2+"
    with pytest.raises(BadRequest, match="Another camera"):
        free_name("door", "2", ["Door"])


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
