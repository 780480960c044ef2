"""The owner of all sessions: opening, lookup, expiry, limits, and closing."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from server.auth import DEFAULT_MAX_AGE, Claims, new_session_id
from server.core.aio import TaskSet, log_failure, supervise
from server.core.errors import Busy, Conflict, Draining, NotFound, SocketCloseCode
from server.core.redact import hash_session_id
from server.session.session import Session, SessionState, Socket

# The error for a client whose session's process is not running
REPLICA_UNAVAILABLE = "The process of this session is unavailable, so the session has ended. Get a new token from /api/token and start again."


class Replicas:
    """The interface to other processes; this default is for a single process. A session's id names its process."""

    # Assignment of sessions to processes

    @property
    def named(self) -> bool:
        """True if this is one of several processes, which a load balancer distinguishes by name."""
        return False

    def new_id(self) -> str:
        """Return the id for a new session in this process."""
        return new_session_id()

    def choose_id(self) -> str:
        """Return the id for a new session in the process with the most free slots."""
        return self.new_id()

    def is_home(self, session_id: str) -> bool:
        """Return whether the session belongs to this process."""
        return True

    def can_take(self) -> bool:
        """Return whether another process has free slots for sessions from this process."""
        return False

    # Slots: MAX_SESSIONS for all processes together

    async def take(self, name: str) -> bool:
        """Take a slot for a session or an additional camera. Return False if no slot is free."""
        return True

    async def leave(self, name: str) -> None:
        """Release a slot."""

    # Revocations by operators

    def has_peers(self) -> bool:
        """Return whether other processes are reachable now."""
        return False

    async def announce_end(self, name: str) -> bool:
        """Announce the end of the session with this hash to other processes. Return False if none is reachable."""
        return False

    async def announce_end_of_all(self, before: int) -> bool:
        """Announce the end of all access that began by then (seconds since the epoch). Return False if none is reachable."""
        return False

    def on_end(self, kind: str, end: Callable[[str], Awaitable[object]]) -> None:
        """Call `end(name)` for each `kind name` that another process announces."""


MAX_REVOKED = 10_000


class Revocations:
    """Names whose tokens are revoked, and a time before which all tokens are revoked.

    A name is kept until its last token has expired, `life` seconds after `since`, the beginning of
    its access. If there are more than `most` names, the name with the earliest access is dropped, and
    all access that began no later is revoked, so that a flood of names makes no token valid again.

    Bounds of ids of ended sessions: until all their tokens have expired, 10,000; beyond, the session
    with the oldest code is dropped, and all tokens of that age or older become invalid.
    """

    def __init__(self, life: int, most: int = MAX_REVOKED) -> None:
        self._life = life
        self._most = most
        self._since: dict[str, int] = {}
        # Heap of the same names, earliest access first
        self._earliest: list[tuple[int, str]] = []
        self._before = 0

    def __len__(self) -> int:
        return len(self._since)

    def add(self, name: str, since: int, now: float) -> None:
        """Revoke the access of one name. `since`, `now`: seconds since the epoch."""
        if name not in self._since:
            self._since[name] = since
            heapq.heappush(self._earliest, (since, name))
        while self._earliest and self._earliest[0][0] + self._life <= now:
            self._forget_earliest()
        while len(self._earliest) > self._most:
            self._before = max(self._before, self._forget_earliest())

    def add_all(self, before: int, now: float) -> None:
        """Revoke all access that began by `before`, at most until `now` (seconds since the epoch)."""
        self._before = max(self._before, min(before, int(now)))

    def refuses(self, name: str, since: int) -> bool:
        return name in self._since or since <= self._before

    def begin(self, now: float) -> int:
        """Return the beginning of access granted now, later than all revoked access."""
        return max(int(now), self._before + 1)

    def _forget_earliest(self) -> int:
        since, name = heapq.heappop(self._earliest)
        del self._since[name]
        return since


# Eviction of sessions

# Seconds after which a session without socket and camera may be evicted: a page that reconnects
# needs less time.
LEFT_SECONDS = 60.0
# Seconds after which a session without a picture may be evicted, even with an open socket
DARK_SECONDS = 180.0
# Offset that ranks sessions after all sessions without socket and camera
_DARK = 1e9


def _get_eviction_rank(session: Session, now: float) -> float | None:
    """Return the eviction rank of a visitor's session, lowest first; None if it must not be evicted.

    Sessions without socket and camera come first, by idle time, then sessions without a picture for a
    long time. `now`: monotonic seconds.
    """
    unused = session.socket is None and not session.camera.offered
    if unused and session.last_activity < now - LEFT_SECONDS:
        return session.last_activity - now
    if session.last_picture < now - DARK_SECONDS:
        return _DARK + session.last_picture - now
    return None


def _describe(session: Session) -> dict[str, Any]:
    """Return the facts about a session for operators, see docs/reference/http.md."""
    allowance = session.requests.allowance
    return {
        "name": hash_session_id(session.id),
        "age_seconds": max(0, round(time.time() - session.began_at)),
        "idle_seconds": max(0, round(time.monotonic() - session.last_activity)),
        "camera": str(session.camera.state() or ""),
        "socket": session.socket is not None,
        "device": session.device,
        "questions": allowance.questions,
        "background": allowance.background,
        "visual_tokens": allowance.visual_tokens,
    }


log = logging.getLogger(__name__)

# Minimum and maximum pause between two expiry checks, seconds
EXPIRY_PAUSE = (0.25, 15.0)


class Capacity:
    """The slots for sessions: admission of new sessions, and eviction to make room for them.

    Bounds of sessions: MAX_SESSIONS; more are refused with an error.
    """

    def __init__(
        self,
        max_sessions: int,
        visitors: Callable[[], list[Session]],
        evict: Callable[[Session], Coroutine[Any, Any, None]],
    ) -> None:
        """`evict(session)` ends a session at once; the returned coroutine releases its resources."""
        self._max_sessions = max_sessions
        self._visitors = visitors
        self._evict = evict
        # The processes that share slots and revocations
        self.replicas = Replicas()
        # True when the process is about to stop
        self.draining = False
        # True while an operator drains this process: no new sessions are accepted, existing sessions continue
        self.operator_draining = False

    @property
    def occupied(self) -> int:
        """Number of slots in use: visitors' sessions and their additional cameras."""
        return sum(len(session.slots) for session in self._visitors())

    @property
    def holders(self) -> dict[str, float | None]:
        """The slots of all visitors' sessions by name, with the `_get_eviction_rank` of the session."""
        now = time.monotonic()
        return {
            name: _get_eviction_rank(one, now) for one in self._visitors() for name in one.slots
        }

    @property
    def closed(self) -> str:
        """The reason why no new sessions are accepted; "" if they are."""
        if self.draining:
            return "the server is about to stop"
        return "an operator drains this process" if self.operator_draining else ""

    def make_busy_error(self) -> Busy:
        """Return the error for a server without free slots."""
        return Busy(
            f"All {self._max_sessions} sessions are in use. Try again in a minute.", retry_after=60
        )

    def check_open(self) -> None:
        """Raise Draining if no new sessions are accepted."""
        if self.draining:
            raise Draining("The server is about to stop. Try again in a moment.", retry_after=5)
        if self.operator_draining:
            raise Draining(
                "This process accepts no new sessions, because an operator drains it. Try again in a moment.",
                retry_after=5,
            )

    def check_slot(self) -> None:
        """Raise Draining if no new sessions are accepted, or Busy if all slots are occupied."""
        self.check_open()
        if self.occupied >= self._max_sessions:
            raise self.make_busy_error()

    def check_new(self) -> None:
        """Raise Draining or Busy if neither this process nor another process accepts a new session."""
        if not self.replicas.can_take():
            # A balancer then tries another process.
            self.check_open()
            if self.replicas.named and self._get_eviction_candidate() is None:
                self.check_slot()

    def make_slot(self) -> Coroutine[Any, Any, None] | None:
        """Evict a session if all slots are occupied, and return the coroutine that releases it.

        Raises Busy if no session can be evicted.
        """
        if self.occupied < self._max_sessions:
            return None
        if (left := self._get_eviction_candidate()) is None:
            raise self.make_busy_error()
        return self._evict(left)

    async def take(self, session_id: str) -> None:
        """Take a shared slot, and evict a session if none is free. Raises Busy."""
        if not await self.replicas.take(session_id):
            left = self._get_eviction_candidate()
            if left is not None:
                await self._evict(left)
            if left is None or not await self.replicas.take(session_id):
                raise self.make_busy_error()

    async def make_room(self, names: Iterable[str]) -> None:
        """Evict the sessions whose slots were given to others. `names`: as in `holders`."""
        now, chosen = time.monotonic(), set(names)
        for session in self._visitors():
            kept = chosen.isdisjoint(session.slots) or _get_eviction_rank(session, now) is None
            if not kept and session.state is not SessionState.ENDED:
                await self._evict(session)

    def _get_eviction_candidate(self) -> Session | None:
        """Return the session to evict first, or None if no session can be evicted."""
        now = time.monotonic()
        left = [one for one in self._visitors() if _get_eviction_rank(one, now) is not None]
        return min(left, key=lambda one: _get_eviction_rank(one, now) or 0.0, default=None)


class SessionManager:
    """All sessions by id. A session begins with its first offer or socket, and ends once."""

    def __init__(
        self,
        make: Callable[[str], Session],
        *,
        max_sessions: int,
        timeout: float,
        on_end: Callable[[str], None] = lambda session_id: None,
        max_age: int = DEFAULT_MAX_AGE,
    ) -> None:
        """`timeout`: idle seconds until a session ends; `max_age`: maximum seconds since the code was entered.

        `on_end(session_id)` is called after the end of a session.
        """
        self._max_age = max_age
        self.capacity = Capacity(max_sessions, self.list_visitors, self._leave)
        self._make = make
        self._timeout = timeout
        self._on_end = on_end
        self._sessions: dict[str, Session] = {}
        # Ended sessions, by the hash of their ids
        self.revoked = Revocations(max_age)
        self._tasks = TaskSet("sessions")

    @property
    def replicas(self) -> Replicas:
        return self.capacity.replicas

    def share(self, replicas: Replicas) -> None:
        """Share slots and revocations with other processes. Call it once, at the start."""
        self.capacity.replicas = replicas

    def __len__(self) -> int:
        """Return the number of visitors' sessions."""
        return len(self.list_visitors())

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    @property
    def sockets(self) -> int:
        return sum(session.socket is not None for session in self._sessions.values())

    def list_all(self) -> list[Session]:
        return list(self._sessions.values())

    def list_visitors(self) -> list[Session]:
        """Return all sessions except those of fixed cameras."""
        return [session for session in self._sessions.values() if not session.fixed]

    def begin_fixed(self, session_id: str) -> Session:
        """Begin the session of a fixed camera: it occupies no slot, does not expire and is never evicted."""
        session = self._sessions[session_id] = self._make(session_id)
        session.fixed = True
        session.use()
        return session

    def start(self) -> None:
        self._tasks.spawn(supervise(self._expire, name="expiry"), name="expiry")

    def is_revoked(self, claims: Claims) -> bool:
        """Return whether this access was revoked, or its session has ended."""
        if claims.session_id in self._sessions:
            return False
        return self.revoked.refuses(hash_session_id(claims.session_id), claims.auth_time)

    def open(self, session_id: str, since: int | None = None, device: str = "") -> Session:
        """Return the session, or begin it. If MAX_SESSIONS is reached, another session is evicted.

        `since`: time at which the access code was entered, seconds since the epoch; None: now. `device`: name of the
        paired device.

        Raises NotFound for an ended session, Busy if no slot is free, Draining.
        """
        if (session := self.get(session_id)) is not None:
            session.touch()
            return session
        since = self.revoked.begin(time.time()) if since is None else since
        if self.revoked.refuses(hash_session_id(session_id), since):
            raise NotFound(
                "This session has ended. Get a new token from /api/token and start again."
            )
        self.capacity.check_open()
        if (end := self.capacity.make_slot()) is not None:
            self._tasks.spawn(end, name="make room")
        session = self._sessions[session_id] = self._make(session_id)
        session.since, session.device = since, device
        log.info("session started", extra={"session": session_id, "count": len(self)})
        return session

    async def admit(self, session_id: str, since: int | None = None, device: str = "") -> Session:
        """Open a session with a slot shared by all processes. Raises what `open` raises."""
        known = session_id in self._sessions or (
            self.revoked.refuses(hash_session_id(session_id), self.revoked.begin(time.time()))
        )
        if known or self.capacity.closed:
            return self.open(session_id, since, device)
        await self.capacity.take(session_id)
        try:
            return self.open(session_id, since, device)
        except BaseException:
            await self.replicas.leave(session_id)
            raise

    def check_room(self, session_id: str) -> None:
        """Raise Busy if no slot is free for an additional camera, Conflict for a fixed camera, Draining."""
        self._check_visitor(session_id)
        self.capacity.check_slot()

    def _check_visitor(self, session_id: str) -> None:
        if session_id in self._sessions and self._sessions[session_id].fixed:
            raise Conflict(
                "This session belongs to a fixed camera, which no other camera can replace."
            )

    def get(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    def has_socket(self, session_id: str) -> bool:
        """Return whether a socket of this session is open."""
        return (session := self.get(session_id)) is not None and session.socket is not None

    def find(self, session_id: str) -> Session:
        """Return the session. Raises NotFound."""
        if (session := self.get(session_id)) is None:
            raise NotFound("Session not found. Send an offer or open a socket first.")
        return session

    def attach(self, session: Session, socket: Socket) -> None:
        """Make `socket` the session's socket; an older socket is closed with 4409.

        Raises RuntimeError for an ended session.
        """
        session.socket_opened()
        old, session.socket = session.socket, socket
        if old is not None:
            old.close_soon(SocketCloseCode.REPLACED, "replaced by a newer socket")

    def detach(self, session: Session, socket: Socket) -> None:
        """Detach a closed socket; do nothing if it was replaced."""
        if self.get(session.id) is session and session.socket is socket:
            session.socket = None
            session.touch()
            session.socket_closed()

    def describe(self) -> list[dict[str, Any]]:
        """Return facts about the sessions of this process for operators, newest first."""
        return [
            _describe(one) for one in sorted(self.list_visitors(), key=lambda one: -one.began_at)
        ]

    async def revoke(self, name: str) -> bool:
        """End the session with this hash and revoke its tokens. Return False if it is not in this process."""
        now = time.time()
        found = [one for one in self.list_visitors() if hash_session_id(one.id) == name]
        self.revoked.add(name, found[0].since if found else int(now), now)
        for session in found:
            await self.end(session.id, "ended by the operator", SocketCloseCode.TAKEN_BACK)
        return bool(found)

    async def revoke_all(self, before: int) -> int:
        """End all sessions whose code was entered by then (seconds since the epoch). Return their number."""
        self.revoked.add_all(before, time.time())
        ended = [one.id for one in self.list_visitors() if one.since <= before]
        await self._end_all(ended, "ended by the operator", SocketCloseCode.TAKEN_BACK)
        return len(ended)

    async def revoke_devices(self, which: Callable[[str, int], bool]) -> None:
        """End the sessions of devices for which `which(name, since)` is true; `since`: seconds since the epoch."""
        ended = [one.id for one in self.list_all() if one.device and which(one.device, one.since)]
        await self._end_all(ended, "its device was forgotten", SocketCloseCode.TAKEN_BACK)

    async def end(
        self, session_id: str, reason: str, code: int = SocketCloseCode.NO_SESSION
    ) -> None:
        """End a session and release its resources. Do nothing for an unknown one."""
        if (session := self.get(session_id)) is not None:
            await self._leave(session, reason, code)

    def _leave(
        self,
        session: Session,
        reason: str = "room for others",
        code: int = SocketCloseCode.NO_SESSION,
    ) -> Coroutine[Any, Any, None]:
        """End a session at once, and revoke its tokens; the returned coroutine releases its resources."""
        self._remove(session)
        self.revoked.add(hash_session_id(session.id), session.since, time.time())
        return self._close(session, reason, code)

    def _remove(self, session: Session) -> None:
        session.end()
        del self._sessions[session.id]

    @asynccontextmanager
    async def pending_offer(
        self, session_id: str, since: int | None = None, device: str = ""
    ) -> AsyncIterator[Session]:
        """Admit a session for an offer. If the offer fails, an unused session is removed, and its token stays valid.

        Raises Conflict for a fixed camera, and what `admit` raises.
        """
        self._check_visitor(session_id)
        session = await self.admit(session_id, since, device)
        session.pending_offers += 1
        try:
            yield session
            if session.state is not SessionState.ENDED:
                session.use()
        finally:
            session.pending_offers -= 1
            if not session.pending_offers and session.state is SessionState.NEW:
                self._remove(session)
                await self._close(session, "", SocketCloseCode.NORMAL)

    async def _close(self, session: Session, reason: str, code: int) -> None:
        """Release the resources of a removed session, even if a step fails."""
        log.info("session ended", extra={"session": session.id, "reason": reason})
        async with AsyncExitStack() as stack:
            # Callbacks run in reverse order.
            for name in session.slots:
                stack.push_async_callback(self.replicas.leave, name)
            stack.callback(self._on_end, session.id)
            stack.push_async_callback(session.close, "session_ended")
            if session.socket is not None:
                session.socket.close_soon(code, reason)
                session.socket = None

    async def _expire(self) -> float:
        """End the sessions that have expired. Return the seconds until the next check."""
        idle, old = time.monotonic() - self._timeout, time.time() - self._max_age
        left = [one.id for one in self.list_visitors() if one.last_activity < idle]
        await self._end_all(left, "no activity for too long", SocketCloseCode.IDLE)
        aged = [one.id for one in self.list_visitors() if one.since <= old]
        await self._end_all(aged, "its code was entered too long ago", SocketCloseCode.NO_SESSION)
        return min(max(self._timeout / 10, EXPIRY_PAUSE[0]), EXPIRY_PAUSE[1])

    async def _end_all(self, session_ids: Iterable[str], reason: str, code: int) -> None:
        """End these sessions; log failures."""
        for session_id in session_ids:
            try:
                await self.end(session_id, reason, code)
            except Exception as exc:  # noqa: BLE001
                log_failure("session", exc)

    def close_sockets(self, code: int, reason: str) -> None:
        for session in self.list_all():
            if session.socket is not None:
                session.socket.close_soon(code, reason)

    async def close(self) -> None:
        """End every session."""
        await self._tasks.close()
        await self._end_all(list(self._sessions), "the server stops", SocketCloseCode.DRAINING)
