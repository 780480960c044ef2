"""Wire messages about a chat that continues in another session."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from server.core.messages import MAX_MESSAGE_BYTES, ClientMessage, ServerMessage
from server.core.messages.from_client import Settings


class HandoverSettings(Settings):
    """Settings of hand-overs."""

    # Send a `handover` after each change of the chat
    handover: bool | None = None


class Resume(ClientMessage):
    """Continue the chat of an earlier session, as the first message of this one."""

    type: Literal["resume"]
    # The last `handover` of that session, at most 40,000 characters
    handover: str = Field(
        # `Handovers` checks the length, for a more helpful error.
        max_length=MAX_MESSAGE_BYTES
    )
    # A token of that session
    token: str = Field(max_length=4096)


class Handover(ServerMessage):
    """Signed chat for `resume`: store the newest."""

    type: Literal["handover"] = "handover"
    newest_only: ClassVar[bool] = True
    # Store it with the newest token
    handover: str


class Resumed(ServerMessage):
    """Confirmation that the chat of an earlier session was resumed."""

    type: Literal["resumed"] = "resumed"
    # Number of resumed questions with answers
    turns: int


class Moved(ServerMessage):
    """Request to move: this replica is draining. Get a new token and begin a new session now; another
    replica has room.
    """

    type: Literal["moved"] = "moved"
