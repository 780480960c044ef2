"""The sockets whose clients have given the operator token, and what features send to them."""

from __future__ import annotations

from typing import Protocol

from server.session.request.outbox import Outbox


class OperatorPart(Protocol):
    """A feature's messages to operators. Called on the event loop."""

    def join(self, outbox: Outbox) -> None:
        """Send to an operator from now on; one who joins again gets all anew."""
        ...

    def leave(self, outbox: Outbox) -> None:
        """Send nothing more, and drop what waits: another client may read this outbox next."""
        ...


class Operators:
    """Operators' sockets, and the outbox of each, which has the operator's texts meanwhile.

    Bounds of operators' sockets: those that are open.
    """

    def __init__(self) -> None:
        self.parts: list[OperatorPart] = []
        # By socket, so that a session's next socket gets none of it
        self._outboxes: dict[object, Outbox] = {}

    def __len__(self) -> int:
        return len(self._outboxes)

    def join(self, socket: object, outbox: Outbox) -> None:
        """Add a socket. Joining again sends all messages again."""
        self._outboxes[socket] = outbox
        outbox.operator = True
        for part in self.parts:
            part.join(outbox)

    def leave(self, socket: object) -> None:
        """Remove a socket. Does nothing for one that never joined."""
        outbox = self._outboxes.pop(socket, None)
        if outbox is None or any(one is outbox for one in self._outboxes.values()):
            return
        outbox.operator = False
        for part in self.parts:
            part.leave(outbox)

    def dismiss(self, outbox: Outbox) -> None:
        """Remove all sockets of an outbox, because another socket without the token reads it from now on."""
        for socket in [socket for socket, one in self._outboxes.items() if one is outbox]:
            self.leave(socket)
