"""Wire messages about guidance."""

from __future__ import annotations

from typing import ClassVar, Literal

from server.core.frames import Hint, Subject
from server.core.messages.base import ServerMessage
from server.core.messages.from_client import Settings


class GuidanceSettings(Settings):
    """The wish for hints."""

    # An `aim` whenever another hint how to move the camera holds, while it is on
    guidance: bool | None = None


class AimHint(ServerMessage):
    """An advice to move the camera, so that print or a face is wholly in its picture."""

    type: Literal["aim"] = "aim"
    newest_only: ClassVar[bool] = True
    # What to do; sides are the picture's.
    hint: Hint
    # What it is about; absent: the whole picture
    about: Subject | None = None
    # Time by the server's clock
    at: float
