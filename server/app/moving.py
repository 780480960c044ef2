"""Sends the people of a gateway that drains to other gateways, each one as soon as its answer is there."""

from __future__ import annotations

import asyncio

from server.core.aio import Deadline
from server.core.close_codes import Close
from server.session_manager import SessionManager

# Time between two looks (seconds), and pages that get the message in one: all at once would offer their
# cameras to the others in the same moment.
LOOK_SECONDS = 0.05
AT_ONCE = 20


class Moving:
    """Tells pages to go, each one once, and ends the sessions of those that have left.

    Bounds of the pages that were sent to another gateway; an operator's order to drain: sessions;
    one order.
    """

    def __init__(self, sessions: SessionManager) -> None:
        self._sessions = sessions
        self._leaving: set[str] = set()
        # People who went on at another gateway
        self.went = 0

    async def step(self, *, send: bool = True) -> bool:
        """Send away pages that can go by themselves and have their answer, unless `send` is False.

        Returns True while there are pages to wait for.
        """
        able = [s for s in self._sessions.all() if s.can_move and s.id not in self._leaving]
        free = [session for session in able if not session.answering]
        for session in free[: AT_ONCE if send else 0]:
            session.leave()
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
