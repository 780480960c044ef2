"""Hand-overs: a session's chat, signed, which its page keeps and hands to the next session.

No server stores one. It is good only together with a valid token of the session that it comes
from, so whoever else has it gets nowhere. This process takes each one once.
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

# Characters of a hand-over. A message of a client has 64 KiB, its token 4,096 characters.
MAX_HANDOVER_CHARS = 40_000
# Bytes of its turns as JSON: base64 makes four characters of three bytes; some are for the rest.
MAX_TURNS_BYTES = (MAX_HANDOVER_CHARS - 1000) * 3 // 4
MAX_TURNS = 32
# Hand-overs that were taken, by name
MAX_TAKEN = 10_000
# Hand-overs that a session looks at: a page brings one.
MAX_TRIES = 3
Turns = list[tuple[str, str]]
_REASONS = {
    "expired": "is too old",
    "other": "was not made by this server, or was changed",
    "session": "belongs to another session, or the token of its session is no longer valid",
    "ended": "is of a session that has ended for good",
    "taken": "was taken over already",
    "begun": "came after the first answer",
}


class HandoverRefused(RequestError):
    """The chat of an earlier session is not taken; the new session goes on without it."""

    code = "handover_refused"
    status = 400


def refused(reason: str) -> HandoverRefused:
    return HandoverRefused(
        "A new session began. It does not remember the earlier chat:"
        f" its hand-over {_REASONS[reason]}."
    )


class Handovers:
    """Signs hand-overs, and checks those that pages bring.

    Bounds of hand-overs that this process has taken: the ids of 10,000; the oldest is dropped.
    """

    def __init__(
        self,
        secret: str,
        tokens: TokenIssuer,
        life: int,
        ended: Callable[[Claims], bool] = lambda claims: False,
    ) -> None:
        """`secret` is common to all replicas; `life`: seconds that a hand-over is good for;
        `ended(claims)`: this process knows that the session has ended for good.
        """
        self._ended = ended
        self._signer = Signer(secret, max_chars=MAX_HANDOVER_CHARS)
        self._tokens = tokens
        self._life = life
        self._taken: OrderedDict[str, None] = OrderedDict()

    def sign(self, session_id: str, turns: Sequence[tuple[str, str]], now: float) -> str:
        """Sign the newest turns (question and answer, the oldest first) that fit.

        `now` is in seconds since the epoch.
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
        """Check a hand-over and the token of its session, and return its turns, once.

        Raises HandoverRefused.
        """
        try:
            claims = self._signer.read(handover)
        except TokenRefused as error:
            raise refused("expired" if error.reason == "expired" else "other") from None
        try:
            owner = self._tokens.verify(token)
        except TokenRefused:
            raise refused("session") from None
        if claims.get("sid") != owner.session_id:
            raise refused("session")
        if self._ended(owner):
            raise refused("ended")
        turns, name = _typed(claims.get("turns")), claims.get("jti")
        if turns is None or not isinstance(name, str) or len(name) > 64:
            raise refused("other")
        if name in self._taken:
            raise refused("taken")
        self._taken[name] = None
        if len(self._taken) > MAX_TAKEN:
            self._taken.popitem(last=False)
        return turns


def _typed(turns: Any) -> Turns | None:
    if not isinstance(turns, list) or len(turns) > MAX_TURNS:
        return None
    for turn in turns:
        if not isinstance(turn, list) or [type(text) for text in turn] != [str, str]:
            return None
    return [(question, answer) for question, answer in turns]


class HandingOver(SessionPart):
    """One session's side: sends the signed chat after each change of it, and takes one into a new session."""

    def __init__(self, context: SessionContext, handovers: Handovers) -> None:
        self._id = context.id
        self._history = context.history
        self._outbox = context.outbox
        self._handovers = handovers
        # The page keeps them, so it can go to another replica by itself.
        self.wanted = False
        # The hand-over that was taken; empty before
        self._taken = ""
        self._tries = 0
        # True while a chat is taken in, turn by turn
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
        """Take the chat of an earlier session, before this one's first question.

        The same message again is answered again: its page may have missed the answer. Raises
        HandoverRefused.
        """
        if self._taken and message.handover == self._taken:
            self._outbox.put(Resumed(turns=len(self._history)))
            self.send()
            return
        self._tries += 1
        if self._tries > MAX_TRIES:
            raise refused("other")
        if self._history.added:
            raise refused("begun")
        turns = self._handovers.take(message.handover, message.token)
        self._taken = message.handover
        self._taking = True
        for question, answer in turns:
            self._history.add(question, answer)
        self._taking = False
        self._outbox.put(Resumed(turns=len(self._history)))
        self.send()

    def leave(self) -> None:
        """Tell the page to go to another replica now."""
        self.send()
        self._outbox.put(Moved())


# The drain that an operator orders: nobody new comes, and people go on at other replicas.

log = logging.getLogger(__name__)
# For so long (seconds) no page is sent away, so that an order that was a mistake can be taken
# back and nothing has happened; balancers notice meanwhile that this replica takes nobody new.
NOTICE_SECONDS = 5.0
# Between two looks for an order (seconds); the notice is longer.
_IDLE_SECONDS = 1.0
# Time between two looks (seconds), and pages that get the message in one: all at once would offer their
# cameras to the others in the same moment.
LOOK_SECONDS = 0.05
AT_ONCE = 20


class OperatorDrain:
    """Owner of the order, which tells pages to go, each one once, and ends the sessions of those that have left.

    People go while another replica has room; where none has, they stay, and go when there is some.
    Those who cannot go stay with all they have until they leave.

    Bounds of the pages that were sent to another replica; an operator's order to drain: sessions;
    one order.
    """

    def __init__(self, sessions: SessionManager, replicas: ReplicaList) -> None:
        self._sessions = sessions
        # Pages that were told to go
        self._leaving: set[str] = set()
        # People who went on at another replica
        self.went = 0
        self._replicas = replicas
        self._tasks = TaskSet("drain")
        # Its loop, from the first order on
        self._task: asyncio.Task[None] | None = None
        # The time from which people go; None without an order
        self._from: float | None = None
        # Those who had gone when the order came
        self._before = 0
        self._emptied = False

    async def begin(self) -> dict[str, Any]:
        """Begin, and return the state. A second order changes nothing.

        Raises Conflict when the process is about to stop.
        """
        self._check()
        if not self._sessions.capacity.operator_draining:
            self._sessions.capacity.operator_draining = True
            self._from = time.monotonic() + NOTICE_SECONDS
            self._before, self._emptied = self.went, False
            log.info("the operator drains this gateway", extra={"count": self._people()})
            if self._task is None:
                self._task = self._tasks.spawn(supervise(self._step, name="drain"), name="drain")
            await self._replicas.report(time.monotonic())
        return self.state()

    async def undo(self) -> dict[str, Any]:
        """Take people again from now on; those who have gone stay where they are.

        Raises Conflict when the process is about to stop.
        """
        self._check()
        if self._sessions.capacity.operator_draining:
            self._sessions.capacity.operator_draining, self._from = False, None
            log.info("the operator ends the drain", extra={"count": self._people()})
            await self._replicas.report(time.monotonic())
        return self.state()

    async def stop(self, deadline: Deadline) -> None:
        """Tell the others that the process stops, and move everybody who can go before the deadline.

        A page that does not go is left to the close of its socket.
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
        own, others = self._replicas.own(), self._replicas.others(now)
        ordered = self._from is not None
        return {
            "name": own.name,
            "draining": own.draining,
            "stopping": self._sessions.capacity.draining,
            "people": self._people(),
            "moved": self.went - self._before if ordered else 0,
            # Until people begin to go
            "notice_seconds": round(max(0.0, (self._from or now) - now), 1),
            # Places that others have
            "room": sum(one.free for one in others),
            "gateways": [
                asdict(one) for one in sorted((own, *others), key=attrgetter("name")) if one.name
            ],
        }

    def _people(self) -> int:
        """Count those who are here: sessions whose page has gone wait for their end alone."""
        sessions = self._sessions
        return sum(sessions.has_socket(one.id) or one.offered for one in sessions.visitors())

    def _check(self) -> None:
        if self._sessions.capacity.draining:
            raise Conflict("This gateway is about to stop. Start it again to have it take people.")

    async def _step(self) -> float:
        """Look once; return the pause until the next look (seconds)."""
        now = time.monotonic()
        if self._from is None or self._sessions.capacity.draining:
            # A stop moves the rest itself.
            return _IDLE_SECONDS
        await self._move(send=now >= self._from and self._replicas.can_take(now))
        if not self._emptied and not self._people():
            self._emptied = True
            gone = self.went - self._before
            log.info("nobody is left at this gateway", extra={"count": gone})
        return LOOK_SECONDS

    async def _move(self, *, send: bool = True) -> bool:
        """Send away pages that can go by themselves and have their answer, unless `send` is False.

        Returns True while there are pages to wait for.
        """
        able = [
            (session, side)
            for session in self._sessions.all()
            if (side := _side(session)) is not None and session.id not in self._leaving
        ]
        free = [(session, side) for session, side in able if not session.answering]
        for session, side in free[: AT_ONCE if send else 0]:
            side.leave()
            self._leaving.add(session.id)
        for id in [id for id in self._leaving if not self._sessions.has_socket(id)]:
            self._leaving.discard(id)
            self.went += 1
            await self._sessions.end(id, "moved to another gateway", SocketCloseCode.DRAINING)
        return bool(self._leaving or able)


def _side(session: Session) -> HandingOver | None:
    """Return what sends the session's page away; None for one that cannot go by itself."""
    side: HandingOver | None = session.part("cluster")
    return side if side is not None and side.wanted else None


def add_routes(router: APIRouter, drain: OperatorDrain) -> None:
    @router.get("/drain")
    async def state() -> dict[str, Any]:
        """The drain of this gateway.

        `name`, `draining`, `stopping` (by a signal), `people` (with a page or a camera here),
        `moved`, `notice_seconds` (until people go), `room` (places at other gateways); `gateways`:
        as in `/health`, with this one.
        """
        return drain.state()

    @router.post("/drain", status_code=202)
    async def begin() -> dict[str, Any]:
        """Take nobody new, and after 5 s let people go on at other gateways. 202 and the same."""
        return await drain.begin()

    @router.delete("/drain")
    async def undo() -> dict[str, Any]:
        """Take people again. The same; 409 when the process is about to stop."""
        return await drain.undo()
