"""Wire messages about a chat that goes on in another session."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from server.core.messages import MAX_MESSAGE_BYTES, ClientMessage, ServerMessage
from server.core.messages.from_client import Settings


class HandoverSettings(Settings):
    """The wish for hand-overs."""

    # A `handover` after each change of the chat
    handover: bool | None = None


class Resume(ClientMessage):
    """Go on with the chat of an earlier session, as the first message of this one."""

    type: Literal["resume"]
    # The last `handover` of that session, 40,000 characters at most
    handover: str = Field(
        # `Handovers` checks its length, so that its error says more.
        max_length=MAX_MESSAGE_BYTES
    )
    # A token of that session
    token: str = Field(max_length=4096)


class Handover(ServerMessage):
    """The chat, signed, for `resume`: keep the newest."""

    type: Literal["handover"] = "handover"
    newest_only: ClassVar[bool] = True
    # What to keep, with the newest token
    handover: str


class Resumed(ServerMessage):
    """The chat of an earlier session was taken over."""

    type: Literal["resumed"] = "resumed"
    # Questions with their answers that are remembered
    turns: int


class Moved(ServerMessage):
    """This part of the server is about to stop: get a new token and begin a new session now, for
    which another part has room.
    """

    type: Literal["moved"] = "moved"
