"""The sessions of a process as their owner lists them, and the choice of the one that makes room."""

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
# Behind all that were left
_DARK = 1e9


class Socket(Protocol):
    """The one socket that listens to a session."""

    def close_soon(self, code: int, reason: str) -> None: ...


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


def order_of(entry: Entry, now: float) -> float | None:
    """Find the place of a session in the order in which sessions make room for others, the least
    first; None for one that does not.

    First come those with neither socket nor camera, by the time since they were left (minus
    seconds), then those without a picture for long.
    """
    session = entry.session
    if entry.standing:
        return None
    unused = entry.socket is None and not session.camera.offered
    if unused and session.last_activity < now - LEFT_SECONDS:
        return session.last_activity - now
    if session.last_picture < now - DARK_SECONDS:
        return _DARK + session.last_picture - now
    return None


def longest_left(entries: Iterable[Entry]) -> Session | None:
    """Find the session that is the first to make room."""
    now = time.monotonic()
    orders = [(order_of(entry, now), entry.session) for entry in entries]
    left = [(order, session) for order, session in orders if order is not None]
    return min(left, key=lambda one: one[0])[1] if left else None


def holders_of(entries: Iterable[Entry]) -> dict[str, float | None]:
    """Return the slots of all visitors' sessions, each with its `order_of`."""
    now = time.monotonic()
    visitors = [entry for entry in entries if not entry.standing]
    return {name: order_of(one, now) for one in visitors for name in one.session.slots}


def left_of(entries: Iterable[Entry], names: Iterable[str]) -> list[Session]:
    """List the sessions with these slots that nobody has come back to."""
    now, chosen = time.monotonic(), set(names)
    some = [one for one in entries if chosen.intersection(one.session.slots)]
    return [one.session for one in some if order_of(one, now) is not None]


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
