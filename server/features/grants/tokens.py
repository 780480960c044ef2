"""The token of a grant: the session that it is for, and a secret of 256 random bits. Pure."""

from __future__ import annotations

import hashlib
import re
import secrets

# Begins each token, so that people and programs that look for secrets know it.
PREFIX = "qcam_"
MAX_TOKEN_CHARS = 160
_TOKEN = re.compile(
    rf"{PREFIX}(?P<session>[A-Za-z0-9_-]{{1,64}})\.(?P<secret>[A-Za-z0-9_-]{{43}})", re.ASCII
)


def new_token(session_id: str) -> tuple[str, bytes]:
    """Make a token for a session; return it, and the digest that is kept of it."""
    secret = secrets.token_urlsafe(32)
    return f"{PREFIX}{session_id}.{secret}", digest(secret)


def read_token(token: str) -> tuple[str, bytes] | None:
    """Return the session of a token, and its secret's digest; None for a text of another form."""
    if len(token) > MAX_TOKEN_CHARS:
        return None
    found = _TOKEN.fullmatch(token)
    return (found["session"], digest(found["secret"])) if found is not None else None


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
