"""A session's side of hand-overs: the chat that its page keeps, and the one that it brings from another session."""

from __future__ import annotations

import time
from collections.abc import Callable

from server.access.handover import Handovers, refused
from server.core import messages as wire
from server.session.request.history import History
from server.session.request.outbox import Outbox

# Hand-overs that a session looks at: a page brings one.
MAX_TRIES = 3


class HandingOver:
    """Sends the signed chat after each change of it, and takes one into a new session."""

    def __init__(
        self,
        session_id: str,
        history: History,
        outbox: Outbox,
        handovers: Handovers | None,
        wanted: Callable[[], bool],
    ) -> None:
        """`handovers`: None where none are made; `wanted()`: the page keeps them."""
        self._session_id = session_id
        self._history = history
        self._outbox = outbox
        self._handovers = handovers
        self._wanted = wanted
        # The hand-over that was taken; empty before
        self._taken = ""
        self._tries = 0
        # True while a chat is taken in, turn by turn
        self._taking = False
        history.on_change = self.send

    @property
    def possible(self) -> bool:
        """True when the page can go to another gateway by itself."""
        return self._handovers is not None and self._wanted()

    def send(self) -> None:
        """Give the page the chat as it is now."""
        if self._handovers is None or self._taking or not self._wanted():
            return
        turns = [(turn.question, turn.answer) for turn in self._history.all()]
        if turns:
            signed = self._handovers.sign(self._session_id, turns, time.time())
            self._outbox.put(wire.Handover(handover=signed))

    def resume(self, message: wire.Resume) -> None:
        """Take the chat of an earlier session, before this one's first question.

        The same message again is answered again: its page may have missed the answer. Raises
        HandoverRefused.
        """
        if self._taken and message.handover == self._taken:
            self._outbox.put(wire.Resumed(turns=len(self._history)))
            self.send()
            return
        self._tries += 1
        if self._handovers is None or self._tries > MAX_TRIES:
            raise refused("other")
        if self._history.added:
            raise refused("begun")
        turns = self._handovers.take(message.handover, message.token)
        self._taken = message.handover
        self._taking = True
        for question, answer in turns:
            self._history.add(question, answer)
        self._taking = False
        self._outbox.put(wire.Resumed(turns=len(self._history)))
        self.send()

    def leave(self) -> None:
        """Tell the page to go to another gateway now."""
        self.send()
        self._outbox.put(wire.Moved())
