"""Wire messages of the sample."""

from __future__ import annotations

from typing import ClassVar, Literal

from server.core.messages import ClientMessage, ServerMessage


class Wave(ClientMessage):
    """A wave of a person."""

    type: Literal["wave"]


class Waves(ServerMessage):
    """The number of times that this session has waved."""

    type: Literal["waves"] = "waves"
    # Of several that wait in the outbox, only the last one is sent.
    newest_only: ClassVar[bool] = True
    # So far
    count: int
