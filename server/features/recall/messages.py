"""Wire messages about the recent past."""

from __future__ import annotations

from typing import ClassVar, Literal

from server.core.messages import ServerMessage
from server.core.messages.from_client import Settings


class RecallSettings(Settings):
    """The setting that turns the recent past on or off."""

    # True: keep pictures of the recent past for the route `past`; false: keep none, and drop those kept.
    recall: bool | None = None


class Recalled(ServerMessage):
    """The number, size and age of the pictures of the recent past."""

    type: Literal["recall"] = "recall"
    newest_only: ClassVar[bool] = True
    # Number of pictures
    pictures: int
    # Size of all of them in bytes
    bytes: int
    # Capture time of the oldest one by the server's clock, milliseconds since the epoch; absent without any
    oldest_at: float | None = None
