"""One-time pairing codes, which replace the access code for phones.

Pure; `now` is monotonic seconds.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

PAIRING_SECONDS = 300.0
MAX_CODE_CHARS = 64
# Old codes that are still distinguished from wrong ones.
_REMEMBERED = 8


class Redeemed(StrEnum):
    """The result of redeeming a code."""

    OK = "ok"
    USED = "used"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class _Code:
    # SHA-256; the code itself is not kept.
    digest: bytes
    # Monotonic seconds
    expires_at: float
    used: bool = False


class PairingCodes:
    """Issues and redeems codes. One is valid at a time: a new one replaces the previous one.

    `on_redeemed` is called when one was redeemed.

    Bounds of pairing codes: one is valid at a time; digests of the last 8, the oldest is dropped.
    """

    def __init__(
        self,
        *,
        ttl: float = PAIRING_SECONDS,
        on_redeemed: Callable[[], object] = lambda: None,
    ) -> None:
        self._ttl = ttl
        self.on_redeemed = on_redeemed
        self._codes: deque[_Code] = deque(maxlen=_REMEMBERED)

    def issue(self, now: float) -> str:
        """Issue a new code: 128 random bits as 22 URL-safe characters."""
        for code in self._codes:
            code.expires_at = min(code.expires_at, now)
        fresh = secrets.token_urlsafe(16)
        self._codes.append(_Code(_digest(fresh), now + self._ttl))
        return fresh

    def redeem(self, given: str, now: float) -> Redeemed:
        """Redeem a code, which invalidates it. Takes the same time for any code."""
        digest = _digest(given)
        found: _Code | None = None
        for code in self._codes:
            if hmac.compare_digest(code.digest, digest):
                found = code
        if found is None:
            return Redeemed.UNKNOWN
        if found.used:
            return Redeemed.USED
        if now >= found.expires_at:
            return Redeemed.EXPIRED
        found.used = True
        self.on_redeemed()
        return Redeemed.OK


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
