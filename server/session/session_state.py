"""The life of a session: new, used, ended."""

from __future__ import annotations

from enum import StrEnum

from server.core.states import Steps


class SessionState(StrEnum):
    """The life of a session. `new`: it has had neither a socket nor an answered offer."""

    NEW = "new"
    USED = "used"
    ENDED = "ended"


def first_state() -> Steps[SessionState]:
    """Return the state of a new session, with the steps that are allowed from it."""
    return Steps(
        SessionState.NEW,
        {
            SessionState.NEW: (SessionState.USED, SessionState.ENDED),
            SessionState.USED: (SessionState.ENDED,),
        },
    )
