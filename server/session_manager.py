"""The one owner of all sessions: opens, finds, expires, limits and closes them."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from server.auth import DEFAULT_MAX_AGE, Claims, new_session_id
from server.core.aio import TaskSet, log_failure, supervise
from server.core.errors import Busy, Close, Conflict, Draining, NotFound
from server.core.redact import session_hash
from server.session.session import Session, SessionState, Socket

# The answer to a client whose session's process does not run
GONE = "This session ended with the part of the server that it was on. Get a new token from /api/token and start again."


class Replicas:
    """One process, which shares nothing with others. A feature puts its own in place of it.

    A session lives in one process, which its id names.
    """

    # Where sessions live

    @property
    def named(self) -> bool:
        """True for one of several processes, which a balancer tells apart by their names."""
        return False

    def new_id(self) -> str:
        """Make the id of a new session of this process."""
        return new_session_id()

    def choose_id(self) -> str:
        """Make the id of a new session of the process that fits best."""
        return self.new_id()

    def is_home(self, session_id: str) -> bool:
        """Return whether the session began here, or may begin here."""
        return True

    def can_take(self) -> bool:
        """Return whether another process has space for this one's people."""
        return False

    # MAX_SESSIONS of all processes together

    async def take(self, name: str) -> bool:
        """Take a slot for a session or a further camera; True for one that has it. False when none is free."""
        return True

    async def leave(self, name: str) -> None:
        """Give a slot back."""

    # Ends that operators order

    def hear(self) -> bool:
        """Return whether other processes hear of ends now."""
        return False

    async def announce_end(self, name: str) -> bool:
        """Tell the others that a session has ended, by its hash. Returns False when nobody hears."""
        return False

    async def announce_end_of_all(self, before: int) -> bool:
        """Tell the others that all access ended that began by then (seconds since the epoch)."""
        return False

    def on_end(self, kind: str, end: Callable[[str], Awaitable[object]]) -> None:
        """Have `end(name)` called for each `kind name` that another process announces."""


MAX_REVOKED = 10_000


class Revoked:
    """Names whose tokens are revoked, and a time before which all tokens are.

    A name is kept until its last token has expired, `life` seconds after `since`, the beginning of
    its access. Beyond `most` names the one with the earliest access is dropped, and all access that
    began no later is revoked: so a flood of ended names revives no token, but requires new ones.

    Bounds of ids of ended sessions: until all their tokens have expired, 10,000; beyond, the one
    with the oldest code is dropped, and all tokens of that age become invalid.
    """

    def __init__(self, life: int, most: int = MAX_REVOKED) -> None:
        self._life = life
        self._most = most
        self._since: dict[str, int] = {}
        # The same, earliest access first
        self._order: list[tuple[int, str]] = []
        self._before = 0

    def __len__(self) -> int:
        return len(self._since)

    def add(self, name: str, since: int, now: float) -> None:
        """Revoke one name's access."""
        if name not in self._since:
            self._since[name] = since
            heapq.heappush(self._order, (since, name))
        while self._order and self._order[0][0] + self._life <= now:
            self._forget_earliest()
        while len(self._order) > self._most:
            self._before = max(self._before, self._forget_earliest())

    def add_all(self, before: int, now: float) -> None:
        """Revoke all access that began at this time or earlier; none that begins after `now`."""
        self._before = max(self._before, min(before, int(now)))

    def refuses(self, name: str, since: int) -> bool:
        return name in self._since or since <= self._before

    def begin(self, now: float) -> int:
        """Return the beginning of access granted now, which is later than all revoked ones, also
        within the same second.
        """
        return max(int(now), self._before + 1)

    def _forget_earliest(self) -> int:
        since, name = heapq.heappop(self._order)
        del self._since[name]
        return since


# Which sessions make room for others.

# A session without socket and camera may make room for a new one after this long (seconds): a page
# that reconnects is back by then.
LEFT_SECONDS = 60.0
# One without a picture may so after this long, its socket open or not: nobody holds a session for
# long without using it.
DARK_SECONDS = 180.0
# Behind all that were left
_DARK = 1e9


def _order(session: Session, now: float) -> float | None:
    """Find the place of a visitor's session in the order in which sessions make room for others, the
    least first; None for one that does not.

    First come those with neither socket nor camera, by the time since they were left (minus
    seconds), then those without a picture for long.
    """
    unused = session.socket is None and not session.camera.offered
    if unused and session.last_activity < now - LEFT_SECONDS:
        return session.last_activity - now
    if session.last_picture < now - DARK_SECONDS:
        return _DARK + session.last_picture - now
    return None


def _seen(session: Session) -> dict[str, Any]:
    """Return a session as operators see it; docs/reference/http.md has the fields."""
    allowance = session.requests.allowance
    return {
        "name": session_hash(session.id),
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

# The shortest and the longest pause between two looks for expired sessions (seconds).
EXPIRY_LOOK = (0.25, 15.0)


class SessionManager:
    """Sessions by id. A session begins with its first offer or socket, and ends once.

    Bounds of sessions: MAX_SESSIONS; more are refused with an error.
    """

    def __init__(
        self,
        make: Callable[[str], Session],
        *,
        max_sessions: int,
        timeout: float,
        on_end: Callable[[str], None] = lambda session_id: None,
        max_age: int = DEFAULT_MAX_AGE,
    ) -> None:
        """`on_end(session_id)` is called after a session was closed.

        `max_age`: the seconds from the code to the end of a session that it opened.
        """
        self._max_age = max_age
        # The processes that share MAX_SESSIONS and ends: see `share`
        self.replicas = Replicas()
        self._make = make
        self._max_sessions = max_sessions
        self._timeout = timeout
        self._on_end = on_end
        self._sessions: dict[str, Session] = {}
        # By the hash of their ids
        self.revoked = Revoked(max_age)
        self._tasks = TaskSet("sessions")
        # The process is about to stop.
        self.draining = False
        # An operator lets people go: nobody new comes in, and those who are here stay as they are.
        self.emptying = False

    def __len__(self) -> int:
        """The visitors' sessions."""
        return len(self.visitors())

    @property
    def occupied(self) -> int:
        """The visitors' sessions and their further cameras, which MAX_SESSIONS bounds together."""
        return sum(len(session.slots) for session in self.visitors())

    @property
    def holders(self) -> dict[str, float | None]:
        """The slots of all visitors' sessions, each with its `_order`."""
        now = time.monotonic()
        return {name: _order(one, now) for one in self.visitors() for name in one.slots}

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    @property
    def closed(self) -> str:
        """The reason why nobody new is taken, whatever the room; "" when somebody is."""
        if self.draining:
            return "the server is about to stop"
        return "people go on at other parts of the server" if self.emptying else ""

    @property
    def sockets(self) -> int:
        return sum(session.socket is not None for session in self._sessions.values())

    def all(self) -> list[Session]:
        return list(self._sessions.values())

    def visitors(self) -> list[Session]:
        """The sessions that began with a visitor's offer or socket."""
        return [session for session in self._sessions.values() if not session.standing]

    def _longest_left(self) -> Session | None:
        """Find the session that is the first to make room."""
        now = time.monotonic()
        orders = [(_order(session, now), session) for session in self.visitors()]
        left = [(order, session) for order, session in orders if order is not None]
        return min(left, key=lambda one: one[0])[1] if left else None

    def stand(self, session_id: str) -> Session:
        """Begin the session of a camera of the house: it takes no visitor's place, and neither
        expires nor is ended for others.
        """
        session = self._sessions[session_id] = self._make(session_id)
        session.standing = True
        session.use()
        return session

    def share(self, replicas: Replicas) -> None:
        """Share MAX_SESSIONS and ends with other processes."""
        self.replicas = replicas

    def start(self) -> None:
        self._tasks.spawn(supervise(self._expire, name="expiry"), name="expiry")

    def ended(self, claims: Claims) -> bool:
        """Return whether this access was taken back, or its session has ended."""
        if claims.session_id in self._sessions:
            return False
        return self.revoked.refuses(session_hash(claims.session_id), claims.auth_time)

    def open(self, session_id: str, since: int | None = None, device: str = "") -> Session:
        """Find the session, or begin it.

        `since`: the time when its code was brought, seconds since the epoch; None for now.
        `device`: the paired one that brought it.

        When MAX_SESSIONS are there, the first one of `_order` makes room.

        Raises NotFound for one that has ended, Busy when no session makes room, Draining.
        """
        session = self.get(session_id)
        if session is not None:
            session.touch()
            return session
        since = self.revoked.begin(time.time()) if since is None else since
        if self.revoked.refuses(session_hash(session_id), since):
            raise NotFound(
                "This session has ended. Get a new token from /api/token and start again."
            )
        self.check_open()
        if self.occupied >= self._max_sessions:
            if (left := self._longest_left()) is None:
                raise self.full()
            end = self._leave(left, "room for others", Close.NO_SESSION)
            self._tasks.spawn(end, name="make room")
        session = self._sessions[session_id] = self._make(session_id)
        session.since, session.device = since, device
        log.info("session began", extra={"session": session_id, "count": len(self)})
        return session

    async def admit(self, session_id: str, since: int | None = None, device: str = "") -> Session:
        """`open`, with one of the slots that all processes share. Raises what `open` raises."""
        replicas = self.replicas
        known = session_id in self._sessions or (
            self.revoked.refuses(session_hash(session_id), self.revoked.begin(time.time()))
        )
        if known or self.closed:
            return self.open(session_id, since, device)
        if not await replicas.take(session_id):
            left = self._longest_left()
            if left is not None:
                await self._leave(left, "room for others", Close.NO_SESSION)
            if left is None or not await replicas.take(session_id):
                raise self.full()
        try:
            return self.open(session_id, since, device)
        except BaseException:
            await replicas.leave(session_id)
            raise

    def check_open(self) -> None:
        """Raises Draining when nobody new is taken."""
        if self.draining:
            raise Draining("The server is about to stop. Try again in a moment.", retry_after=5)
        if self.emptying:
            raise Draining(
                "This part of the server takes nobody new. Try again in a moment.", retry_after=5
            )

    def check_new(self) -> None:
        """Raises Draining or Busy when neither this process nor another one takes somebody new."""
        if not self.replicas.can_take():
            # A balancer then asks another process.
            self.check_open()
            full = self.occupied >= self._max_sessions and self._longest_left() is None
            if self.replicas.named and full:
                raise self.full()

    def check_room(self, session_id: str) -> None:
        """Raises Busy when this session could take no further slot now: nobody makes room for one. Raises Conflict for a camera of the house, Draining."""
        self._check_visitor(session_id)
        self.check_open()
        if self.occupied >= self._max_sessions:
            raise self.full()

    def _check_visitor(self, session_id: str) -> None:
        if session_id in self._sessions and self._sessions[session_id].standing:
            raise Conflict("This session has a camera of the house. No other one takes its place.")

    def full(self) -> Busy:
        """Make the error for whoever finds no slot."""
        return Busy(
            f"All {self._max_sessions} sessions are in use. Try again in a minute.", retry_after=60
        )

    async def make_room(self, names: Iterable[str]) -> None:
        """End the sessions whose slots went to others, by the names in `holders`."""
        now, chosen = time.monotonic(), set(names)
        some = [one for one in self.visitors() if chosen.intersection(one.slots)]
        for session in [one for one in some if _order(one, now) is not None]:
            if session.id in self._sessions:
                await self._leave(session, "room for others", Close.NO_SESSION)

    def get(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    def listens(self, session_id: str) -> bool:
        """Return whether a socket of this session is open."""
        session = self.get(session_id)
        return session is not None and session.socket is not None

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
        old, session.socket = session.socket, socket
        if old is not None:
            old.close_soon(Close.REPLACED, "replaced by a newer socket")

    def detach(self, session: Session, socket: Socket) -> None:
        """The socket has gone. One that was replaced takes nothing with it."""
        if self.get(session.id) is session and session.socket is socket:
            session.socket = None
            session.touch()
            session.socket_closed()

    def seen(self) -> list[dict[str, Any]]:
        """List the sessions of this process, the newest first."""
        return [_seen(one) for one in sorted(self.visitors(), key=lambda one: -one.began_at)]

    async def take_back(self, name: str) -> bool:
        """End the session with this hash for good, at another process, too.

        Returns False for one that is not here.
        """
        now = time.time()
        for session in self.visitors():
            if session_hash(session.id) == name:
                self.revoked.add(name, session.since, now)
                await self.end(session.id, "ended by the operator", Close.TAKEN_BACK)
                return True
        self.revoked.add(name, int(now), now)
        return False

    async def take_all_back(self, before: int) -> int:
        """End all sessions whose code was brought at this time or earlier (seconds since the
        epoch). Returns their number here.
        """
        self.revoked.add_all(before, time.time())
        ended = [one.id for one in self.visitors() if one.since <= before]
        await self._end_all(ended, "ended by the operator", Close.TAKEN_BACK)
        return len(ended)

    async def take_devices_back(self, which: Callable[[str, int], bool]) -> None:
        """End the sessions of devices by `which(name, since)`; `since`: when it began, in seconds
        since the epoch.
        """
        ended = [one.id for one in self.all() if one.device and which(one.device, one.since)]
        await self._end_all(ended, "its device was forgotten", Close.TAKEN_BACK)

    async def end(self, session_id: str, reason: str, code: int = Close.NO_SESSION) -> None:
        """End a session and free all it holds. Does nothing for one that is not there."""
        session = self.get(session_id)
        if session is not None:
            await self._leave(session, reason, code)

    def _leave(self, session: Session, reason: str, code: int) -> Coroutine[Any, Any, None]:
        """End a session at once and for good; the coroutine frees what it holds."""
        self._remove(session)
        self.revoked.add(session_hash(session.id), session.since, time.time())
        return self._close(session, reason, code)

    def _remove(self, session: Session) -> None:
        session.end()
        del self._sessions[session.id]

    @asynccontextmanager
    async def trying(
        self, session_id: str, since: int | None = None, device: str = ""
    ) -> AsyncIterator[Session]:
        """`admit` for an offer, which may fail: a session without any use is removed then, and its
        token may begin it anew.

        It stays when it was used before, or while another offer is being answered.

        Raises Conflict for a camera of the house as well.
        """
        self._check_visitor(session_id)
        session = await self.admit(session_id, since, device)
        session.trying += 1
        try:
            yield session
            if session.state is not SessionState.ENDED:
                session.use()
        finally:
            session.trying -= 1
            if not session.trying and session.state is SessionState.NEW:
                self._remove(session)
                await self._close(session, "", Close.NORMAL)

    async def _close(self, session: Session, reason: str, code: int) -> None:
        """Free what a removed session holds; a failure skips nothing."""
        log.info("session ended", extra={"session": session.id, "reason": reason})
        async with AsyncExitStack() as stack:
            # The last one goes first.
            for name in session.slots:
                stack.push_async_callback(self.replicas.leave, name)
            stack.callback(self._on_end, session.id)
            stack.push_async_callback(session.close, "session_ended")
            if session.socket is not None:
                session.socket.close_soon(code, reason)
                session.socket = None

    async def _expire(self) -> float:
        """End the sessions that have expired. Returns the seconds until the next look."""
        limit = time.monotonic() - self._timeout
        left = [session.id for session in self.visitors() if session.last_activity < limit]
        await self._end_all(left, "no activity for too long", Close.IDLE)
        old = time.time() - self._max_age
        aged = [one.id for one in self.visitors() if one.since <= old]
        await self._end_all(aged, "its code was entered too long ago", Close.NO_SESSION)
        return min(max(self._timeout / 10, EXPIRY_LOOK[0]), EXPIRY_LOOK[1])

    async def _end_all(self, session_ids: Iterable[str], reason: str, code: int) -> None:
        """End these; one whose close fails keeps no other one alive."""
        for session_id in session_ids:
            try:
                await self.end(session_id, reason, code)
            except Exception as exc:  # noqa: BLE001
                log_failure("session", exc)

    def close_sockets(self, code: int, reason: str) -> None:
        for session in self.all():
            if session.socket is not None:
                session.socket.close_soon(code, reason)

    async def close(self) -> None:
        """End every session."""
        await self._tasks.close()
        await self._end_all(list(self._sessions), "the server stops", Close.DRAINING)
