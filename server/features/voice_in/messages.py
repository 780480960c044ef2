"""Wire messages about the microphone."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from server.core.messages import ClientMessage, ServerMessage
from server.core.messages.from_client import Settings


class MicrophoneMode(StrEnum):
    """Mode of the microphone."""

    # Off.
    OFF = "off"
    # Speech begins a turn, and silence ends it.
    HANDS_FREE = "hands_free"
    # A button is held during speech.
    PUSH = "push"


class MicrophoneSettings(Settings):
    """The settings of the microphone."""

    # Mode of the microphone; initially `off`
    microphone: MicrophoneMode | None = None
    # Milliseconds of silence that end a spoken question in the mode `hands_free`; initially 500
    silence_ms: int | None = Field(default=None, ge=200, le=2000)


class PushToTalk(ClientMessage):
    """State of the button in the microphone's mode `push`."""

    type: Literal["push_to_talk"]
    # True: held; false: released
    down: bool


ListeningState = Literal["off", "waiting", "speech", "silence", "recognising"]


class Listening(ServerMessage):
    """New state of the microphone at the server."""

    type: Literal["listening"] = "listening"
    newest_only: ClassVar[bool] = True
    # `off`: no sound arrives, or the mode is `off`; `silence`: after 200 ms without speech, the turn not over yet
    state: ListeningState
