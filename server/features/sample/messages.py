"""Wire messages of the sample."""

from __future__ import annotations

from typing import ClassVar, Literal

from server.core.messages import ClientMessage, ServerMessage


class Wave(ClientMessage):
    """Somebody waves."""

    type: Literal["wave"]


class Waves(ServerMessage):
    """The number of times that this session has waved."""

    type: Literal["waves"] = "waves"
    # Of those that wait to be sent, the last one alone is.
    newest_only: ClassVar[bool] = True
    # So far
    count: int
