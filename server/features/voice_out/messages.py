"""Wire messages about spoken answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field

from server.core.messages import ClientMessage, Identifier, ServerMessage
from server.core.messages.from_client import Settings


class SpeakSettings(Settings):
    """Settings of spoken answers."""

    # Speak the answers.
    speak: bool | None = None


class SpeechProgress(ClientMessage):
    """Progress of the browser's voice through an answer."""

    type: Literal["speech_progress"]
    # Id of the question
    id: Identifier
    # The character of the answer up to which it has read
    end: int = Field(ge=0, le=10_000_000)


class SpeakingState(ServerMessage):
    """State of a spoken answer, and the piece being played."""

    type: Literal["speaking"] = "speaking"
    newest_only: ClassVar[bool] = True
    # Id of the question
    id: str
    # `speaking`, `lowered`, `paused`, `stopped` or `done`
    state: str
    # The piece being played; empty without one
    text: str = ""
    # The piece's first character in the answer
    start: int = 0
    # The character after its last
    end: int = 0

    def outdates(self) -> Callable[[ServerMessage], bool] | None:
        if self.state != "stopped":
            return None
        # A stopped answer must not be read by the browser's voice.
        return lambda one: isinstance(one, Say) and one.id == self.id


class Say(ServerMessage):
    """Piece of an answer to read with the browser's voice, in order of arrival."""

    type: Literal["say"] = "say"
    # Id of the question
    id: str
    # Text to read
    text: str
    # Its first character in the answer
    start: int
    # The character after its last
    end: int
