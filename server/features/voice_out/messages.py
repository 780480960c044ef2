"""Wire messages about spoken answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field

from server.core.messages import ClientMessage, Identifier, ServerMessage
from server.core.messages.from_client import Settings


class SpeakSettings(Settings):
    """The wish to hear the answers."""

    # Answers are spoken.
    speak: bool | None = None


class SpeechProgress(ClientMessage):
    """The progress of the client's own voice through an answer."""

    type: Literal["speech_progress"]
    # The answer's
    id: Identifier
    # The character up to which it has read
    end: int = Field(ge=0, le=10_000_000)


class SpeakingState(ServerMessage):
    """The state of a spoken answer, and the piece of it that is heard now."""

    type: Literal["speaking"] = "speaking"
    newest_only: ClassVar[bool] = True
    # The question's
    id: str
    # `speaking`, `lowered`, `paused`, `stopped` or `done`
    state: str
    # The piece that is heard; empty without one
    text: str = ""
    # The piece's first character in the answer
    start: int = 0
    # The character after its last
    end: int = 0

    def outdates(self) -> Callable[[ServerMessage], bool] | None:
        if self.state != "stopped":
            return None
        # Nobody is to read its pieces any more.
        return lambda one: isinstance(one, Say) and one.id == self.id


class Say(ServerMessage):
    """A piece of an answer that the client reads with its own voice, in the order in which they
    come.
    """

    type: Literal["say"] = "say"
    # The question's
    id: str
    # What to read
    text: str
    # Its first character in the answer
    start: int
    # The character after its last
    end: int
