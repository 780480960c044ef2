"""Wire messages about the microphone."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from server.core.messages import ClientMessage, ServerMessage
from server.core.messages.from_client import Settings


class MicrophoneMode(StrEnum):
    """Way in which a person's microphone is heard."""

    # It is not heard.
    OFF = "off"
    # Speech itself begins and ends a turn.
    HANDS_FREE = "hands_free"
    # A button is held while somebody speaks.
    PUSH = "push"


class MicrophoneSettings(Settings):
    """The settings of the microphone."""

    # The way in which the microphone is heard; `off` at first
    microphone: MicrophoneMode | None = None
    # Silence that ends a spoken question in the mode `hands_free`; 500 at first
    silence_ms: int | None = Field(default=None, ge=200, le=2000)


class PushToTalk(ClientMessage):
    """The button of the microphone's mode `push` is held, or released."""

    type: Literal["push_to_talk"]
    # It is held.
    down: bool


ListeningState = Literal["off", "waiting", "speech", "silence", "recognising"]


class Listening(ServerMessage):
    """The state of the microphone at the server has changed."""

    type: Literal["listening"] = "listening"
    newest_only: ClassVar[bool] = True
    # `off`: no sound comes, or it is not wanted; `silence`: for 200 ms, and the person may go on
    state: ListeningState
