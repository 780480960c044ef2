"""The sessions of a process as their owner lists them, and the choice of the one that makes room. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from server.core.redact import session_hash
from server.session.session import Session

# A session without socket and camera may make room for a new one after this long (seconds): a page
# that reconnects is back by then.
LEFT_SECONDS = 60.0
# One without a picture may so after this long, its socket open or not: nobody holds a session for
# long without using it.
DARK_SECONDS = 180.0


class Socket(Protocol):
    """The one socket that listens to a session."""

    def close_soon(self, code: int, reason: str) -> None: ...


class Slots(Protocol):
    """The MAX_SESSIONS slots that several processes share."""

    async def take(self, session_id: str) -> bool: ...
    async def leave(self, session_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A session in the operators' list. `name` is its hash, as in the log."""

    name: str
    age: float
    # Seconds without activity
    idle: float
    camera: str
    socket: bool
    # The paired device's name; empty for none
    device: str
    # Requests about its questions and of its background work so far, and visual tokens of both
    questions: int
    background: int
    visual_tokens: int


@dataclass(slots=True)
class Entry:
    """A session, and what its owner knows beside it."""

    session: Session
    # The time when the code was brought, seconds since the epoch
    since: int
    # The paired device that brought it; empty for none
    device: str
    # None while no socket is open
    socket: Socket | None = None
    # Offers that are being answered
    trying: int = 0
    # It has a camera of the house and needs no page: it ends with the server alone.
    standing: bool = False


def longest_left(entries: Iterable[Entry]) -> Session | None:
    """Find the session that was left longest ago, with neither socket nor camera; else the one
    without a picture for longest.
    """
    now = time.monotonic()
    visitors = [entry for entry in entries if not entry.standing]
    idle = [
        entry.session
        for entry in visitors
        if entry.socket is None
        and not entry.session.camera.offered
        and entry.session.last_activity < now - LEFT_SECONDS
    ]
    if idle:
        return min(idle, key=lambda session: session.last_activity)
    dark = [entry.session for entry in visitors if entry.session.last_picture < now - DARK_SECONDS]
    return min(dark, key=lambda session: session.last_picture, default=None)


def seen_of(entries: Iterable[Entry]) -> list[Seen]:
    """List the visitors' sessions, the newest first."""
    now, clock = time.time(), time.monotonic()
    return [
        Seen(
            session_hash(entry.session.id),
            max(0.0, now - entry.session.began_at),
            max(0.0, clock - entry.session.last_activity),
            str(entry.session.camera.state() or ""),
            entry.socket is not None,
            entry.device,
            entry.session.allowance.questions,
            entry.session.allowance.background,
            entry.session.allowance.visual_tokens,
        )
        for entry in sorted(entries, key=lambda one: -one.session.began_at)
        if not entry.standing
    ]
