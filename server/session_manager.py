"""The one owner of all sessions: opens, finds, expires, limits and closes them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from server.access.revoked import Revoked
from server.auth import DEFAULT_MAX_AGE, Claims
from server.core.aio import TaskSet, keep_going, log_failure
from server.core.errors import Busy, Draining, NotFound
from server.core.redact import session_hash
from server.session.session import Session

log = logging.getLogger(__name__)

# Close codes of sockets: it is over and a new session begins by itself; nobody was there; whoever runs the server ended it.
ENDED, IDLE, TAKEN_BACK = 4404, 4408, 4410
# A session without socket and camera may make room for a new one after this long (seconds): a page that
# reconnects is back by then.
LEFT_SECONDS = 60.0
# One that shows nothing may so after this long, its socket open or not: who only holds places holds none for long.
DARK_SECONDS = 180.0
# How often expiry is looked at, at most and at least (seconds).
EXPIRY_LOOK = (0.25, 15.0)


class Socket(Protocol):
    """The one socket that listens to a session."""

    def close_soon(self, code: int, reason: str) -> None: ...


class Places(Protocol):
    """Places that several processes share."""

    async def take(self, session_id: str) -> bool: ...
    async def leave(self, session_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A session, as operators see it. `name` is its hash, as in the log."""

    name: str
    age: float
    # Seconds without activity
    idle: float
    camera: str
    socket: bool
    # The paired device's name; empty for none
    device: str


class SessionManager:
    """Sessions by id. A session begins with its first offer or socket, and ends once for good."""

    def __init__(
        self,
        make: Callable[[str], Session],
        *,
        max_sessions: int,
        timeout: float,
        on_end: Callable[[str], None] = lambda session_id: None,
        places: Places | None = None,
        max_age: int = DEFAULT_MAX_AGE,
    ) -> None:
        """`on_end(session_id)` is told after a session was closed. `max_age`: seconds after which a session ends whose
        code was brought then."""
        self._max_age = max_age
        self._places = places
        self._make = make
        self._max_sessions = max_sessions
        self._timeout = timeout
        self._on_end = on_end
        self._sessions: dict[str, Session] = {}
        self._sockets: dict[str, Socket] = {}
        # When the code was brought for each of them, seconds since the epoch, and by which paired device
        self._since: dict[str, int] = {}
        self._devices: dict[str, str] = {}
        # By the hash of their ids
        self.revoked = Revoked(max_age)
        # Offers that are being answered, by session
        self._trying: Counter[str] = Counter()
        # Sessions that had neither a socket nor an offer that was answered
        self._unused: set[str] = set()
        self._tasks = TaskSet("sessions")
        self.draining = False

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    @property
    def sockets(self) -> int:
        return len(self._sockets)

    def all(self) -> list[Session]:
        return list(self._sessions.values())

    def start(self) -> None:
        self._tasks.spawn(keep_going(self._expire, name="expiry"), name="expiry")

    def ended(self, claims: Claims) -> bool:
        """Tell whether this access was taken back, or its session has ended."""
        if claims.session_id in self._sessions:
            return False
        return self.revoked.refuses(session_hash(claims.session_id), claims.auth_time)

    def open(self, session_id: str, since: int | None = None, device: str = "") -> Session:
        """Find the session, or begin it. `since`: when its code was brought, seconds since the epoch; None for now.
        `device`: the paired one that brought it.

        When MAX_SESSIONS are there, the one that was left longest ago makes room, or shows nothing for longest.

        Raises NotFound for one that has ended, Busy when all places are in use, Draining.
        """
        session = self._sessions.get(session_id)
        if session is not None:
            session.touch()
            return session
        since = self.revoked.begin(time.time()) if since is None else since
        if self.revoked.refuses(session_hash(session_id), since):
            raise NotFound(
                "This session has ended. Get a new token from /api/token and start again."
            )
        if self.draining:
            raise Draining("The server is about to stop. Try again in a moment.", retry_after=5)
        if len(self._sessions) >= self._max_sessions and not self._make_room():
            raise self._full()
        session = self._sessions[session_id] = self._make(session_id)
        self._since[session_id] = since
        self._unused.add(session_id)
        self._devices[session_id] = device
        log.info("session began", extra={"session": session_id, "count": len(self._sessions)})
        return session

    async def admit(self, session_id: str, since: int | None = None, device: str = "") -> Session:
        """`open`, with a place among those of all processes. Raises what `open` raises."""
        places = self._places
        known = session_id in self._sessions or (
            self.revoked.refuses(session_hash(session_id), self.revoked.begin(time.time()))
        )
        if places is None or known or self.draining:
            return self.open(session_id, since, device)
        if not await places.take(session_id):
            # Somebody who left may be here; who left elsewhere makes room for those who come there.
            left = self._longest_left()
            if left is not None:
                await self._leave(left, "room for others", ENDED)
            if left is None or not await places.take(session_id):
                raise self._full()
        try:
            return self.open(session_id, since, device)
        except BaseException:
            await places.leave(session_id)
            raise

    def _full(self) -> Busy:
        return Busy(
            f"All {self._max_sessions} places are taken. Try again in a minute.", retry_after=60
        )

    def _make_room(self) -> bool:
        """End the session that `_longest_left` names; False when there is none."""
        left = self._longest_left()
        if left is not None:
            self._tasks.spawn(self._leave(left, "room for others", ENDED), name="room")
        return left is not None

    def _longest_left(self) -> Session | None:
        """The session that was left longest ago: it has neither socket nor camera; else the one without a picture for longest."""
        now = time.monotonic()
        idle = [
            session
            for session in self._sessions.values()
            if session.id not in self._sockets
            and not session.camera.offered
            and session.last_activity < now - LEFT_SECONDS
        ]
        dark = [
            session
            for session in self._sessions.values()
            if session.camera.last_picture < now - DARK_SECONDS
        ]
        if idle:
            return min(idle, key=lambda session: session.last_activity)
        return min(dark, key=lambda session: session.camera.last_picture, default=None)

    def get(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    def find(self, session_id: str) -> Session:
        """Raises NotFound."""
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFound("There is no such session. Send an offer or open a socket first.")
        return session

    def attach(self, session: Session, socket: Socket) -> None:
        """Make `socket` the session's one; an older one is closed with 4409."""
        old = self._sockets.get(session.id)
        self._sockets[session.id] = socket
        self._unused.discard(session.id)
        if old is not None:
            old.close_soon(4409, "replaced by a newer socket")
        session.socket_opened()

    def detach(self, session: Session, socket: Socket) -> None:
        """The socket has gone. One that was replaced takes nothing with it."""
        if self._sockets.get(session.id) is socket:
            del self._sockets[session.id]
            session.touch()
            session.socket_closed()

    def seen(self) -> list[Seen]:
        """The sessions that are here, the newest first."""
        now, clock = time.time(), time.monotonic()
        return [
            Seen(
                session_hash(session.id),
                max(0.0, now - session.began_at),
                max(0.0, clock - session.last_activity),
                str(session.camera.state() or ""),
                session.id in self._sockets,
                self._devices[session.id],
            )
            for session in sorted(self.all(), key=lambda one: -one.began_at)
        ]

    async def take_back(self, name: str) -> bool:
        """End the session whose hash this is, for good, whether it is here or not; False for one that is not here."""
        session_id = next((id for id in self._sessions if session_hash(id) == name), None)
        now = time.time()
        self.revoked.add(name, self._since.get(session_id or "", int(now)), now)
        if session_id is not None:
            await self.end(session_id, "ended by the operator", TAKEN_BACK)
        return session_id is not None

    async def take_all_back(self, before: int) -> int:
        """End all sessions whose code was brought at this time or earlier (seconds since the epoch); how many were here."""
        self.revoked.add_all(before)
        ended = [id for id, since in self._since.items() if since <= before]
        await self._end_all(ended, "ended by the operator", TAKEN_BACK)
        return len(ended)

    async def take_device_back(self, name: str) -> None:
        """End the sessions of a paired device."""
        for session_id in [id for id, device in self._devices.items() if device == name]:
            await self.end(session_id, "its device was forgotten", TAKEN_BACK)

    async def take_devices_back(self, before: int) -> None:
        """End the sessions of all paired devices that began at this time or earlier (seconds since the epoch)."""
        ended = [id for id, device in self._devices.items() if device and self._since[id] <= before]
        for session_id in ended:
            await self.end(session_id, "its device was forgotten", TAKEN_BACK)

    async def end(self, session_id: str, reason: str, code: int = ENDED) -> None:
        """End a session and free all it holds. Does nothing for one that is not there."""
        session = self._sessions.get(session_id)
        if session is not None:
            await self._leave(session, reason, code)

    def _leave(self, session: Session, reason: str, code: int) -> Coroutine[Any, Any, None]:
        """Out of the map at once; what is returned frees the rest."""
        del self._sessions[session.id]
        del self._devices[session.id]
        self.revoked.add(session_hash(session.id), self._since.pop(session.id), time.time())
        return self._close(session, reason, code)

    @asynccontextmanager
    async def trying(
        self, session_id: str, since: int | None = None, device: str = ""
    ) -> AsyncIterator[Session]:
        """`admit` for something that may fail: a session that comes to nothing is taken back, and its token may begin it anew.

        It stays when somebody else uses it or tries to.
        """
        session = await self.admit(session_id, since, device)
        self._trying[session_id] += 1
        try:
            yield session
            self._unused.discard(session_id)
        finally:
            self._trying[session_id] -= 1
            if not self._trying[session_id]:
                del self._trying[session_id]
                if session_id in self._unused and self._sessions.get(session_id) is session:
                    del self._sessions[session_id]
                    del self._since[session_id], self._devices[session_id]
                    await self._close(session, "", 1000)

    async def _close(self, session: Session, reason: str, code: int) -> None:
        """It is in `_sessions` no longer. What fails skips nothing that comes after it."""
        session_id = session.id
        log.info("session ended", extra={"session": session_id, "reason": reason})
        self._unused.discard(session_id)
        socket = self._sockets.pop(session_id, None)
        if socket is not None:
            socket.close_soon(code, reason)
        try:
            await session.close("session_ended")
        finally:
            try:
                self._on_end(session_id)
            finally:
                if self._places is not None:
                    await self._places.leave(session_id)

    async def _expire(self) -> float:
        """End what has expired; the seconds until the next look."""
        limit = time.monotonic() - self._timeout
        left = [session.id for session in self.all() if session.last_activity < limit]
        await self._end_all(left, "no activity for too long", IDLE)
        old = time.time() - self._max_age
        aged = [id for id, since in self._since.items() if since <= old]
        await self._end_all(aged, "its code was brought too long ago", ENDED)
        return min(max(self._timeout / 10, EXPIRY_LOOK[0]), EXPIRY_LOOK[1])

    async def _end_all(self, session_ids: Iterable[str], reason: str, code: int) -> None:
        """End these; one that cannot be closed well keeps no other one alive."""
        for session_id in session_ids:
            try:
                await self.end(session_id, reason, code)
            except Exception as exc:  # noqa: BLE001
                log_failure("session", exc)

    def close_sockets(self, code: int, reason: str) -> None:
        for socket in list(self._sockets.values()):
            socket.close_soon(code, reason)

    async def close(self) -> None:
        """End every session."""
        await self._tasks.close()
        await self._end_all(list(self._sessions), "the server stops", 1013)
