"""The drain that an operator orders: nobody new comes, and people go on at other replicas."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from fastapi import APIRouter

from server.core.aio import Deadline, TaskSet, supervise
from server.core.close_codes import Close
from server.core.errors import Conflict
from server.features.cluster.handover import HandingOver
from server.features.cluster.replicas import Replica, ReplicaList
from server.session.session import Session
from server.session_manager import SessionManager

log = logging.getLogger(__name__)

# For so long (seconds) no page is sent away, so that an order that was a mistake can be taken
# back and nothing has happened; balancers notice meanwhile that this replica takes nobody new.
NOTICE_SECONDS = 5.0
# Between two looks for an order (seconds); the notice is longer.
_IDLE_SECONDS = 1.0


class OperatorDrain:
    """Owner of the order. Those who cannot go stay with all they have until they leave.

    People go while another replica has room; where none has, they stay, and go when there is some.
    """

    def __init__(self, sessions: SessionManager, replicas: ReplicaList) -> None:
        # A stop moves people by it, too, so that no page gets two orders.
        self.moving = Moving(sessions)
        self._sessions = sessions
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
        if not self._sessions.emptying:
            self._sessions.emptying = True
            self._from = time.monotonic() + NOTICE_SECONDS
            self._before, self._emptied = self.moving.went, False
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
        if self._sessions.emptying:
            self._sessions.emptying, self._from = False, None
            log.info("the operator ends the drain", extra={"count": self._people()})
            await self._replicas.report(time.monotonic())
        return self.state()

    async def stop(self, deadline: Deadline) -> None:
        """Tell the others that the process stops, and move everybody who can go before the deadline."""
        now = time.monotonic()
        await self._replicas.report(now)
        if self._replicas.can_take(now):
            await self.moving.run(deadline)

    async def close(self) -> None:
        await self._tasks.close()

    def state(self) -> dict[str, Any]:
        """Build the report for operators."""
        now = time.monotonic()
        own, others = self._replicas.own, self._replicas.others(now)
        ordered = self._from is not None
        return {
            "name": own.name,
            "draining": own.draining,
            "stopping": self._sessions.draining,
            "people": self._people(),
            "moved": self.moving.went - self._before if ordered else 0,
            # Until people begin to go
            "notice_seconds": round(max(0.0, (self._from or now) - now), 1),
            # Places that others have
            "room": sum(one.free for one in others),
            "gateways": [one.seen() for one in sorted((own, *others), key=_name) if one.name],
        }

    def _people(self) -> int:
        """Count those who are here: sessions whose page has gone wait for their end alone."""
        sessions = self._sessions
        return sum(sessions.listens(one.id) or one.offered for one in sessions.visitors())

    def _check(self) -> None:
        if self._sessions.draining:
            raise Conflict("This gateway is about to stop. Start it again to have it take people.")

    async def _step(self) -> float:
        """Look once; return the pause until the next look (seconds)."""
        now = time.monotonic()
        if self._from is None or self._sessions.draining:
            # A stop moves the rest itself.
            return _IDLE_SECONDS
        await self.moving.step(send=now >= self._from and self._replicas.can_take(now))
        if not self._emptied and not self._people():
            self._emptied = True
            gone = self.moving.went - self._before
            log.info("nobody is left at this gateway", extra={"count": gone})
        return LOOK_SECONDS


def _name(one: Replica) -> str:
    return one.name


# Sends the people of a replica that drains to other replicas, each one as soon as its answer is
# there.

# Time between two looks (seconds), and pages that get the message in one: all at once would offer their
# cameras to the others in the same moment.
LOOK_SECONDS = 0.05

AT_ONCE = 20


class Moving:
    """Tells pages to go, each one once, and ends the sessions of those that have left.

    Bounds of the pages that were sent to another replica; an operator's order to drain: sessions;
    one order.
    """

    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions
        self._leaving: set[str] = set()
        # People who went on at another replica
        self.went = 0

    async def step(self, *, send: bool = True) -> bool:
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
        for id in [id for id in self._leaving if not self._sessions.listens(id)]:
            self._leaving.discard(id)
            self.went += 1
            await self._sessions.end(id, "moved to another gateway", Close.DRAINING)
        return bool(self._leaving or able)

    async def run(self, deadline: Deadline) -> int:
        """Move everybody who can go. Returns the number of those that went before the deadline.

        A page that does not go is left to the close of its socket.
        """
        before = self.went
        while await self.step() and deadline.left():
            await asyncio.sleep(LOOK_SECONDS)
        return self.went - before


def _side(session: Session) -> HandingOver | None:
    """Return what sends the session's page away; None for one that cannot go by itself."""
    side: HandingOver | None = session.part("cluster")
    return side if side is not None and side.wanted else None


def add_routes(router: APIRouter, drain: OperatorDrain) -> None:
    """Add operators' routes for the drain: its state, order it, take it back."""

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
