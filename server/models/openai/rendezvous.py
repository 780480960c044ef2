"""Keep a session at one of several servers: rendezvous hashing. Pure.

Each pair of session and server has a score, and the best server wins (Thaler and Ravishankar, 1998).
When a server goes, its sessions spread over the others; no other session moves. Nothing is stored,
so all processes with the same servers choose the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def order(session: str, servers: Sequence[str]) -> list[str]:
    """Return the servers as a session prefers them."""
    return sorted(servers, key=lambda server: (_score(session, server), server), reverse=True)


def _score(session: str, server: str) -> bytes:
    return hashlib.blake2b(f"{session}\n{server}".encode(), digest_size=8).digest()
