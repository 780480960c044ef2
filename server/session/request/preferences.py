"""The settings that a client sends."""

from __future__ import annotations

from dataclasses import dataclass

from server.core.frames import Verbosity


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
    # Words of an answer
    verbosity: Verbosity = Verbosity.NORMAL
