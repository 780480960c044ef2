"""Sends the people of a gateway that drains to other gateways, each one as soon as its answer is there."""

from __future__ import annotations

import asyncio

from server.core.aio import Deadline
from server.core.close_codes import Close
from server.session_manager import SessionManager

# Time between two looks (seconds), and pages that are told in one: all at once would offer their
# cameras to the others in the same moment.
LOOK_SECONDS = 0.05
AT_ONCE = 20


async def move_people(sessions: SessionManager, deadline: Deadline) -> int:
    """Tell every page that can go by itself to go, and end its session when it has left.

    Returns the number of those that went before the deadline. A page that does not go is left to
    the close of its socket.
    """
    stay = {session.id for session in sessions.all() if session.can_move}
    told: set[str] = set()
    went = 0
    while (stay or told) and deadline.left():
        free = [id for id in stay if (one := sessions.get(id)) is None or not one.answering]
        for id in free[:AT_ONCE]:
            stay.discard(id)
            if (session := sessions.get(id)) is not None:
                session.leave()
                told.add(id)
        for id in [id for id in told if not sessions.listens(id)]:
            told.discard(id)
            went += 1
            await sessions.end(id, "moved to another gateway", Close.DRAINING)
        await asyncio.sleep(LOOK_SECONDS)
    return went
