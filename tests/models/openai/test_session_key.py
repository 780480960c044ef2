"""The name of a session at model servers."""

from __future__ import annotations

import hashlib
import hmac
import re

from server.models.openai.engine import SessionKeys


def test_it_is_the_same_wherever_the_secret_is() -> None:
    """So several processes send a session to the same engine."""
    assert SessionKeys("s" * 32).of("session") == SessionKeys("s" * 32).of("session")
    assert SessionKeys("s" * 32).of("session") != SessionKeys("t" * 32).of("session")
    assert SessionKeys("s" * 32).of("session") != SessionKeys("s" * 32).of("session2")


def test_it_shows_nothing_of_the_id_nor_of_the_secret() -> None:
    """It is no plain hash, nor one with the secret itself, which signs tokens."""
    secret, session = "s" * 32, "a-session"
    name = SessionKeys(secret).of(session)
    assert re.fullmatch(r"[0-9a-f]{32}", name)
    plain = hashlib.sha256(session.encode()).hexdigest()
    signed = hmac.new(secret.encode(), session.encode(), hashlib.sha256).hexdigest()
    assert not plain.startswith(name)
    assert not signed.startswith(name)
