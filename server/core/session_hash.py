"""The name of a session in logs."""

from __future__ import annotations

import hashlib


def session_hash(session_id: str) -> str:
    """Make the name that logs hold instead of a session's id: 12 hexadecimal digits, the same each time."""
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
