"""Hand-overs: a session's signed chat, which its page stores and sends to its next session.

Servers do not store them. One is valid only together with a valid token of its session, so that it is
useless to others. Each process accepts each one once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Any

from fastapi import APIRouter

from server.auth import Claims, Signer, TokenIssuer, TokenRefused
from server.core.aio import Deadline, TaskSet, supervise
from server.core.errors import Conflict, RequestError, SocketCloseCode
from server.features.cluster.messages import Handover, HandoverSettings, Moved, Resume, Resumed
from server.features.cluster.replicas import ReplicaList
from server.session.part import SessionContext, SessionPart
from server.session.session import Session
from server.session_manager import SessionManager

# Maximum characters of a hand-over. A client's message has at most 64 KiB, its token 4,096 characters.
MAX_HANDOVER_CHARS = 40_000
# Maximum bytes of its turns as JSON: base64 turns three bytes into four characters; 1,000 are for the rest.
MAX_TURNS_BYTES = (MAX_HANDOVER_CHARS - 1000) * 3 // 4
MAX_TURNS = 32
# Maximum stored ids of accepted hand-overs
MAX_TAKEN = 10_000
# Maximum hand-overs that a session checks: a page sends one.
MAX_TRIES = 3
Turns = list[tuple[str, str]]
_REASONS = {
    "expired": "has expired",
    "other": "was not issued by this server, or was modified",
    "session": "belongs to another session, or the token of its session is no longer valid",
    "ended": "belongs to a session that was ended",
    "taken": "was already used",
    "begun": "arrived after the first answer",
}


class HandoverRefused(RequestError):
    """Raised if the chat of an earlier session is refused; the new session continues without it."""

    code = "handover_refused"
    status = 400


def make_refusal(reason: str) -> HandoverRefused:
    return HandoverRefused(
        "A new session began. It does not remember the earlier chat:"
        f" its hand-over {_REASONS[reason]}."
    )


class Handovers:
    """Signer and verifier of hand-overs.

    Bounds of accepted hand-overs: the ids of 10,000; the oldest is dropped.
    """

    def __init__(
        self,
        secret: str,
        tokens: TokenIssuer,
        life: int,
        ended: Callable[[Claims], bool] = lambda claims: False,
    ) -> None:
        """`secret`: common to all replicas; `life`: validity of a hand-over, seconds; `ended(claims)`: True
        if the session was ended, as far as this process knows.
        """
        self._ended = ended
        self._signer = Signer(secret, max_chars=MAX_HANDOVER_CHARS)
        self._tokens = tokens
        self._life = life
        self._taken: OrderedDict[str, None] = OrderedDict()

    def sign(self, session_id: str, turns: Sequence[tuple[str, str]], now: float) -> str:
        """Sign the newest turns (question, answer) that fit; the oldest first.

        `now`: seconds since the epoch.
        """
        kept: list[tuple[str, str]] = []
        left = MAX_TURNS_BYTES
        for turn in reversed(turns[-MAX_TURNS:]):
            left -= len(json.dumps(turn)) + 1
            if left < 0:
                break
            kept.append(turn)
        return self._signer.sign(
            {
                "sid": session_id,
                "iat": int(now),
                "exp": int(now) + self._life,
                "jti": secrets.token_urlsafe(16),
                "turns": kept[::-1],
            }
        )

    def take(self, handover: str, token: str) -> Turns:
        """Verify a hand-over and its session's token. Return its turns, only once.

        Raises HandoverRefused.
        """
        try:
            claims = self._signer.read(handover)
        except TokenRefused as error:
            raise make_refusal("expired" if error.reason == "expired" else "other") from None
        try:
            owner = self._tokens.verify(token)
        except TokenRefused:
            raise make_refusal("session") from None
        if claims.get("sid") != owner.session_id:
            raise make_refusal("session")
        if self._ended(owner):
            raise make_refusal("ended")
        turns, name = _parse_turns(claims.get("turns")), claims.get("jti")
        if turns is None or not isinstance(name, str) or len(name) > 64:
            raise make_refusal("other")
        if name in self._taken:
            raise make_refusal("taken")
        self._taken[name] = None
        if len(self._taken) > MAX_TAKEN:
            self._taken.popitem(last=False)
        return turns


def _parse_turns(turns: Any) -> Turns | None:
    if not isinstance(turns, list) or len(turns) > MAX_TURNS:
        return None
    for turn in turns:
        if not isinstance(turn, list) or [type(text) for text in turn] != [str, str]:
            return None
    return [(question, answer) for question, answer in turns]


class HandoverPart(SessionPart):
    """Hand-overs of one session: send the signed chat after each change, and resume an earlier one."""

    def __init__(self, context: SessionContext, handovers: Handovers) -> None:
        self._id = context.id
        self._history = context.history
        self._outbox = context.outbox
        self._handovers = handovers
        # True: the page stores hand-overs, and can move to another replica
        self.wanted = False
        # The accepted hand-over; "" before
        self._taken = ""
        self._tries = 0
        # True while the turns of a hand-over are added
        self._taking = False
        self.handlers = {Resume: self.resume, HandoverSettings: self._set}
        context.history.listeners.append(self.send)

    def _set(self, message: HandoverSettings) -> None:
        if message.handover is not None:
            self.wanted = message.handover
        if message.handover:
            self.send()

    def send(self) -> None:
        if self._taking or not self.wanted:
            return
        turns = [(turn.question, turn.answer) for turn in self._history.all()]
        if turns:
            signed = self._handovers.sign(self._id, turns, time.time())
            self._outbox.put(Handover(handover=signed))

    def resume(self, message: Resume) -> None:
        """Resume the chat of an earlier session, before this one's first question.

        A repeated message is answered again, because its page may have missed the answer. Raises
        HandoverRefused.
        """
        if self._taken and message.handover == self._taken:
            self._outbox.put(Resumed(turns=len(self._history)))
            self.send()
            return
        self._tries += 1
        if self._tries > MAX_TRIES:
            raise make_refusal("other")
        if self._history.added:
            raise make_refusal("begun")
        turns = self._handovers.take(message.handover, message.token)
        self._taken = message.handover
        self._taking = True
        for question, answer in turns:
            self._history.add(question, answer)
        self._taking = False
        self._outbox.put(Resumed(turns=len(self._history)))
        self.send()

    def leave(self) -> None:
        """Ask the page to move to another replica."""
        self.send()
        self._outbox.put(Moved())


# The operator's drain: refuse new sessions, and move the others to other replicas.

log = logging.getLogger(__name__)
# Delay before pages are moved, seconds, so that a mistaken drain can be undone; meanwhile load balancers
# notice that this replica accepts no new sessions.
NOTICE_SECONDS = 5.0
# Polling interval without a drain, seconds; shorter than the notice
_IDLE_SECONDS = 1.0
# Interval of steps, seconds, and pages moved per step: all at once would overload the other replicas with
# camera offers.
LOOK_SECONDS = 0.05
AT_ONCE = 20


class OperatorDrain:
    """The operator's drain: ask each page once to move, and end the sessions of those that have left.

    Pages move while another replica has room; otherwise they stay until one has. Pages that cannot
    move stay until they leave.

    Bounds of the operator's drain: one; each session is moved once.
    """

    def __init__(self, sessions: SessionManager, replicas: ReplicaList) -> None:
        self._sessions = sessions
        # Ids of sessions whose pages were asked to move
        self._leaving: set[str] = set()
        # Number of sessions moved to other replicas
        self.moved = 0
        self._replicas = replicas
        self._tasks = TaskSet("drain")
        # Task of the loop, from the first drain on
        self._task: asyncio.Task[None] | None = None
        # Time from which pages move, monotonic seconds; None without a drain
        self._from: float | None = None
        # `moved` at the beginning of the current drain
        self._before = 0
        self._emptied = False

    async def begin(self) -> dict[str, Any]:
        """Start the drain, if it is not running. Return the state.

        Raises Conflict if the process is stopping.
        """
        self._check()
        if not self._sessions.capacity.operator_draining:
            self._sessions.capacity.operator_draining = True
            self._from = time.monotonic() + NOTICE_SECONDS
            self._before, self._emptied = self.moved, False
            log.info("drain started by the operator", extra={"count": self._count_people()})
            if self._task is None:
                self._task = self._tasks.spawn(
                    supervise(self._run_step, name="drain"), name="drain"
                )
            await self._replicas.report(time.monotonic())
        return self.state()

    async def undo(self) -> dict[str, Any]:
        """End the drain: accept new sessions again. Return the state.

        Raises Conflict if the process is stopping.
        """
        self._check()
        if self._sessions.capacity.operator_draining:
            self._sessions.capacity.operator_draining, self._from = False, None
            log.info("drain ended by the operator", extra={"count": self._count_people()})
            await self._replicas.report(time.monotonic())
        return self.state()

    async def stop(self, deadline: Deadline) -> None:
        """Report the stop to the other replicas, and move all pages that can before the deadline.

        A page that does not move is handled when its socket closes.
        """
        now = time.monotonic()
        await self._replicas.report(now)
        if self._replicas.can_take(now):
            while await self._move() and deadline.left():
                await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        await self._tasks.close()

    def state(self) -> dict[str, Any]:
        now = time.monotonic()
        own, others = self._replicas.own(), self._replicas.list_others(now)
        ordered = self._from is not None
        return {
            "name": own.name,
            "draining": own.draining,
            "stopping": self._sessions.capacity.draining,
            "people": self._count_people(),
            "moved": self.moved - self._before if ordered else 0,
            # Seconds until pages are moved
            "notice_seconds": round(max(0.0, (self._from or now) - now), 1),
            # Free sessions of the other replicas
            "room": sum(one.free for one in others),
            "gateways": [
                asdict(one) for one in sorted((own, *others), key=attrgetter("name")) if one.name
            ],
        }

    def _count_people(self) -> int:
        """Return the number of sessions with a socket or a camera."""
        sessions = self._sessions
        return sum(sessions.has_socket(one.id) or one.offered for one in sessions.list_visitors())

    def _check(self) -> None:
        if self._sessions.capacity.draining:
            raise Conflict("This gateway is stopping. Restart it to accept sessions again.")

    async def _run_step(self) -> float:
        """Move pages if due. Return the seconds until the next step."""
        now = time.monotonic()
        if self._from is None or self._sessions.capacity.draining:
            # `stop` moves the rest itself.
            return _IDLE_SECONDS
        await self._move(send=now >= self._from and self._replicas.can_take(now))
        if not self._emptied and not self._count_people():
            self._emptied = True
            gone = self.moved - self._before
            log.info("drain complete: no sessions left", extra={"count": gone})
        return LOOK_SECONDS

    async def _move(self, *, send: bool = True) -> bool:
        """Ask pages that can move and have no running question to move, unless `send` is False.

        Return True while there are pages to wait for.
        """
        able = [
            (session, side)
            for session in self._sessions.list_all()
            if (side := _find_movable_part(session)) is not None and session.id not in self._leaving
        ]
        free = [(session, side) for session, side in able if not session.answering]
        for session, side in free[: AT_ONCE if send else 0]:
            side.leave()
            self._leaving.add(session.id)
        for id in [id for id in self._leaving if not self._sessions.has_socket(id)]:
            self._leaving.discard(id)
            self.moved += 1
            await self._sessions.end(id, "moved to another gateway", SocketCloseCode.DRAINING)
        return bool(self._leaving or able)


def _find_movable_part(session: Session) -> HandoverPart | None:
    """Return the session's part if its page can move; else None."""
    side: HandoverPart | None = session.part("cluster")
    return side if side is not None and side.wanted else None


def add_routes(router: APIRouter, drain: OperatorDrain) -> None:
    @router.get("/drain")
    async def state() -> dict[str, Any]:
        """Return the state of this gateway's drain.

        `name`, `draining`, `stopping` (by a signal), `people` (sessions with a page or a camera),
        `moved`, `notice_seconds` (until pages are moved), `room` (free sessions at other gateways);
        `gateways`: as in `/health`, including this one.
        """
        return drain.state()

    @router.post("/drain", status_code=202)
    async def begin() -> dict[str, Any]:
        """Start the drain: refuse new sessions, and after 5 s move the others. 202 with the state."""
        return await drain.begin()

    @router.delete("/drain")
    async def undo() -> dict[str, Any]:
        """End the drain. Returns the state; 409 if the process is stopping."""
        return await drain.undo()
