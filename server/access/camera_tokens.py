"""Credentials of cameras that join a session: a token to send with, and a one-time code that is changed for one. Pure.

Both begin with the session's id, which is no credential, and end with 128 random bits. They are no session tokens: they
open nothing but one further camera of one session, which keeps their digests alone.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

# Begins a token; a session's token is three parts of base64 with dots between, and never begins so.
_TOKEN = "camera~"
_PARTS = re.compile(r"([A-Za-z0-9_-]{1,64})~([A-Za-z0-9_-]{22})", re.ASCII)
MAX_CHARS = 100


@dataclass(frozen=True, slots=True)
class CameraSecret:
    """The parts of a token or a code."""

    session_id: str
    digest: bytes

    def is_for(self, kept: bytes | None) -> bool:
        """Compare with a kept digest, in a time that depends on neither."""
        return kept is not None and hmac.compare_digest(self.digest, kept)


def _make(session_id: str) -> tuple[str, bytes]:
    text = f"{session_id}~{secrets.token_urlsafe(16)}"
    return text, _digest(text)


def make_token(session_id: str) -> tuple[str, bytes]:
    """Make a token, and its digest to keep."""
    text, digest = _make(session_id)
    return _TOKEN + text, digest


def make_code(session_id: str) -> tuple[str, bytes]:
    """Make a one-time code, and its digest to keep."""
    return _make(session_id)


def read_token(text: str) -> CameraSecret | None:
    """Read a bearer token; None for one of another kind, or malformed."""
    return read_code(text.removeprefix(_TOKEN)) if text.startswith(_TOKEN) else None


def read_code(text: str) -> CameraSecret | None:
    """Read a one-time code; None for a malformed one."""
    found = _PARTS.fullmatch(text) if len(text) <= MAX_CHARS else None
    return CameraSecret(found[1], _digest(text)) if found is not None else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
