"""The one owner of all sessions: opens, finds, expires, limits and closes them."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from server.access.revoked import Revoked
from server.auth import DEFAULT_MAX_AGE, Claims
from server.core.aio import TaskSet, log_failure, supervise
from server.core.close_codes import Close
from server.core.errors import Busy, Draining, NotFound
from server.core.redact import session_hash
from server.session.session import Session
from server.session.session_state import SessionState

log = logging.getLogger(__name__)

# A session without socket and camera may make room for a new one after this long (seconds): a page
# that reconnects is back by then.
LEFT_SECONDS = 60.0
# One without a picture may so after this long, its socket open or not: nobody holds a session for
# long without using it.
DARK_SECONDS = 180.0
# The shortest and the longest pause between two looks for expired sessions (seconds).
EXPIRY_LOOK = (0.25, 15.0)


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
class _Entry:
    session: Session
    # The time when the code was brought, seconds since the epoch
    since: int
    # The paired device that brought it; empty for none
    device: str
    # None while no socket is open
    socket: Socket | None = None
    # Offers that are being answered
    trying: int = 0


class SessionManager:
    """Sessions by id. A session begins with its first offer or socket, and ends once."""

    def __init__(
        self,
        make: Callable[[str], Session],
        *,
        max_sessions: int,
        timeout: float,
        on_end: Callable[[str], None] = lambda session_id: None,
        slots: Slots | None = None,
        max_age: int = DEFAULT_MAX_AGE,
    ) -> None:
        """`on_end(session_id)` is called after a session was closed.

        `max_age`: the seconds from the code to the end of a session that it opened.
        """
        self._max_age = max_age
        self._slots = slots
        self._make = make
        self._max_sessions = max_sessions
        self._timeout = timeout
        self._on_end = on_end
        self._entries: dict[str, _Entry] = {}
        # By the hash of their ids
        self.revoked = Revoked(max_age)
        self._tasks = TaskSet("sessions")
        self.draining = False

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._entries

    @property
    def sockets(self) -> int:
        return sum(entry.socket is not None for entry in self._entries.values())

    def all(self) -> list[Session]:
        return [entry.session for entry in self._entries.values()]

    def start(self) -> None:
        self._tasks.spawn(supervise(self._expire, name="expiry"), name="expiry")

    def ended(self, claims: Claims) -> bool:
        """Find whether this access was taken back, or its session has ended."""
        if claims.session_id in self._entries:
            return False
        return self.revoked.refuses(session_hash(claims.session_id), claims.auth_time)

    def open(self, session_id: str, since: int | None = None, device: str = "") -> Session:
        """Find the session, or begin it.

        `since`: the time when its code was brought, seconds since the epoch; None for now.
        `device`: the paired one that brought it.

        When MAX_SESSIONS are there, the one that was left longest ago makes room, or the one
        without a picture for longest.

        Raises NotFound for one that has ended, Busy when no session makes room, Draining.
        """
        entry = self._entries.get(session_id)
        if entry is not None:
            entry.session.touch()
            return entry.session
        since = self.revoked.begin(time.time()) if since is None else since
        if self.revoked.refuses(session_hash(session_id), since):
            raise NotFound(
                "This session has ended. Get a new token from /api/token and start again."
            )
        if self.draining:
            raise Draining("The server is about to stop. Try again in a moment.", retry_after=5)
        if len(self._entries) >= self._max_sessions and not self._make_space():
            raise self._full()
        session = self._make(session_id)
        self._entries[session_id] = _Entry(session, since, device)
        log.info("session began", extra={"session": session_id, "count": len(self._entries)})
        return session

    async def admit(self, session_id: str, since: int | None = None, device: str = "") -> Session:
        """`open`, with one of the slots that all processes share. Raises what `open` raises."""
        slots = self._slots
        known = session_id in self._entries or (
            self.revoked.refuses(session_hash(session_id), self.revoked.begin(time.time()))
        )
        if slots is None or known or self.draining:
            return self.open(session_id, since, device)
        if not await slots.take(session_id):
            # A session that was left may be here; those of another process make room there.
            left = self._longest_left()
            if left is not None:
                await self._leave(left, "room for others", Close.NO_SESSION)
            if left is None or not await slots.take(session_id):
                raise self._full()
        try:
            return self.open(session_id, since, device)
        except BaseException:
            await slots.leave(session_id)
            raise

    def _full(self) -> Busy:
        return Busy(
            f"All {self._max_sessions} places are taken. Try again in a minute.", retry_after=60
        )

    def _make_space(self) -> bool:
        """End the session that `_longest_left` names; False when there is none."""
        left = self._longest_left()
        if left is not None:
            end = self._leave(left, "room for others", Close.NO_SESSION)
            self._tasks.spawn(end, name="make room")
        return left is not None

    def _longest_left(self) -> Session | None:
        """Find the session that was left longest ago, with neither socket nor camera; else the one
        without a picture for longest.
        """
        now = time.monotonic()
        idle = [
            entry.session
            for entry in self._entries.values()
            if entry.socket is None
            and not entry.session.camera.offered
            and entry.session.last_activity < now - LEFT_SECONDS
        ]
        dark = [
            session for session in self.all() if session.camera.last_picture < now - DARK_SECONDS
        ]
        if idle:
            return min(idle, key=lambda session: session.last_activity)
        return min(dark, key=lambda session: session.camera.last_picture, default=None)

    def get(self, session_id: str) -> Session | None:
        entry = self._entries.get(session_id)
        return entry.session if entry is not None else None

    def listens(self, session_id: str) -> bool:
        """Find whether a socket of this session is open."""
        entry = self._entries.get(session_id)
        return entry is not None and entry.socket is not None

    def find(self, session_id: str) -> Session:
        """Raises NotFound."""
        session = self.get(session_id)
        if session is None:
            raise NotFound("There is no such session. Send an offer or open a socket first.")
        return session

    def attach(self, session: Session, socket: Socket) -> None:
        """Make `socket` the session's one; an older one is closed with 4409.

        Raises RuntimeError for an ended session.
        """
        session.socket_opened()
        entry = self._entries[session.id]
        old, entry.socket = entry.socket, socket
        if old is not None:
            old.close_soon(Close.REPLACED, "replaced by a newer socket")

    def detach(self, session: Session, socket: Socket) -> None:
        """The socket has gone. One that was replaced takes nothing with it."""
        entry = self._entries.get(session.id)
        if entry is not None and entry.socket is socket:
            entry.socket = None
            session.touch()
            session.socket_closed()

    def seen(self) -> list[Seen]:
        """List the sessions of this process, the newest first."""
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
            for entry in sorted(self._entries.values(), key=lambda one: -one.session.began_at)
        ]

    async def take_back(self, name: str) -> bool:
        """End the session with this hash for good, at another process, too.

        Returns False for one that is not here.
        """
        now = time.time()
        for session_id, entry in self._entries.items():
            if session_hash(session_id) == name:
                self.revoked.add(name, entry.since, now)
                await self.end(session_id, "ended by the operator", Close.TAKEN_BACK)
                return True
        self.revoked.add(name, int(now), now)
        return False

    async def take_all_back(self, before: int) -> int:
        """End all sessions whose code was brought at this time or earlier (seconds since the
        epoch). Returns their number here.
        """
        self.revoked.add_all(before)
        ended = [id for id, entry in self._entries.items() if entry.since <= before]
        await self._end_all(ended, "ended by the operator", Close.TAKEN_BACK)
        return len(ended)

    async def take_device_back(self, name: str) -> None:
        """End the sessions of a paired device."""
        ended = [id for id, entry in self._entries.items() if entry.device == name]
        await self._end_all(ended, "its device was forgotten", Close.TAKEN_BACK)

    async def take_devices_back(self, before: int) -> None:
        """End the sessions of all paired devices that began at this time or earlier (seconds since
        the epoch).
        """
        ended = [id for id, one in self._entries.items() if one.device and one.since <= before]
        await self._end_all(ended, "its device was forgotten", Close.TAKEN_BACK)

    async def end(self, session_id: str, reason: str, code: int = Close.NO_SESSION) -> None:
        """End a session and free all it holds. Does nothing for one that is not there."""
        entry = self._entries.get(session_id)
        if entry is not None:
            await self._leave(entry.session, reason, code)

    def _leave(self, session: Session, reason: str, code: int) -> Coroutine[Any, Any, None]:
        """End a session at once and for good; the coroutine frees what it holds."""
        entry = self._remove(session)
        self.revoked.add(session_hash(session.id), entry.since, time.time())
        return self._close(entry, reason, code)

    def _remove(self, session: Session) -> _Entry:
        session.end()
        return self._entries.pop(session.id)

    @asynccontextmanager
    async def trying(
        self, session_id: str, since: int | None = None, device: str = ""
    ) -> AsyncIterator[Session]:
        """`admit` for an offer, which may fail: a session without any use is removed then, and its
        token may begin it anew.

        It stays when it was used before, or while another offer is being answered.
        """
        session = await self.admit(session_id, since, device)
        entry = self._entries[session_id]
        entry.trying += 1
        try:
            yield session
            if session.state is not SessionState.ENDED:
                session.use()
        finally:
            entry.trying -= 1
            if not entry.trying and session.state is SessionState.NEW:
                await self._close(self._remove(session), "", Close.NORMAL)

    async def _close(self, entry: _Entry, reason: str, code: int) -> None:
        """Free what a removed session holds; a failure skips nothing."""
        session_id = entry.session.id
        log.info("session ended", extra={"session": session_id, "reason": reason})
        async with AsyncExitStack() as stack:
            # The last one goes first.
            if self._slots is not None:
                stack.push_async_callback(self._slots.leave, session_id)
            stack.callback(self._on_end, session_id)
            stack.push_async_callback(entry.session.close, "session_ended")
            if entry.socket is not None:
                entry.socket.close_soon(code, reason)

    async def _expire(self) -> float:
        """End the sessions that have expired. Returns the seconds until the next look."""
        limit = time.monotonic() - self._timeout
        left = [session.id for session in self.all() if session.last_activity < limit]
        await self._end_all(left, "no activity for too long", Close.IDLE)
        old = time.time() - self._max_age
        aged = [id for id, entry in self._entries.items() if entry.since <= old]
        await self._end_all(aged, "its code was brought too long ago", Close.NO_SESSION)
        return min(max(self._timeout / 10, EXPIRY_LOOK[0]), EXPIRY_LOOK[1])

    async def _end_all(self, session_ids: Iterable[str], reason: str, code: int) -> None:
        """End these; one whose close fails keeps no other one alive."""
        for session_id in session_ids:
            try:
                await self.end(session_id, reason, code)
            except Exception as exc:  # noqa: BLE001
                log_failure("session", exc)

    def close_sockets(self, code: int, reason: str) -> None:
        for entry in list(self._entries.values()):
            if entry.socket is not None:
                entry.socket.close_soon(code, reason)

    async def close(self) -> None:
        """End every session."""
        await self._tasks.close()
        await self._end_all(list(self._entries), "the server stops", Close.DRAINING)
