from __future__ import annotations

from server.core.session_hash import session_hash


def test_the_hash_is_short_and_stable() -> None:
    """The same session has the same name in every log line, whatever its id holds."""
    assert session_hash("abc") == "ba7816bf8f01"
    assert session_hash("\ud800") != session_hash("abc")
