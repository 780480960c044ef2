"""The settings that a client sends."""

from __future__ import annotations

from dataclasses import dataclass

from server.core.frames import Verbosity
from server.core.sound import MicrophoneMode
from server.voice.turns import SILENCE_SECONDS


@dataclass(frozen=True, slots=True)
class Preferences:
    """The client's settings; see `messages.Settings`."""

    sample_rate: float | None = None
    # Tokens of an answer, within the setting's limit
    max_tokens: int | None = None
    language: str = ""
    # Of the words on the client's page; "" for English
    page_language: str = ""
    thumbnails: bool = False
    # Of the change gates; None: the server's setting
    sensitivity: float | None = None
    # Answers are spoken.
    speak: bool = False
    # Words of an answer
    verbosity: Verbosity = Verbosity.NORMAL
    microphone: MicrophoneMode = MicrophoneMode.OFF
    # Silence that ends a spoken question
    silence_ms: int = round(SILENCE_SECONDS * 1000)
