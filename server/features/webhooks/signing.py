"""Signatures as Standard Webhooks 1.0 has them: HMAC-SHA256 over id, time and body. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac


def signature(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`. The id holds no full stop."""
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def headers(key: bytes, id: str, timestamp: int, body: bytes) -> list[tuple[str, str]]:
    """Return the headers with which a receiver verifies a body."""
    return [
        ("webhook-id", id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", signature(key, id, timestamp, body)),
    ]
