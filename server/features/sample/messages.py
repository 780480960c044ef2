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
    newest_only: ClassVar[bool] = True
    count: int
