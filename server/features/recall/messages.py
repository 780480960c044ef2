"""Wire messages about the recent past."""

from __future__ import annotations

from typing import ClassVar, Literal

from server.core.messages import ServerMessage
from server.core.messages.from_client import Settings


class RecallSettings(Settings):
    """The wish to have the recent past kept."""

    # Keep pictures of the recent past, for the route `past`; false drops them, too.
    recall: bool | None = None


class Recalled(ServerMessage):
    """The pictures of the recent past that are kept now."""

    type: Literal["recall"] = "recall"
    newest_only: ClassVar[bool] = True
    # Their number
    pictures: int
    # Their size
    bytes: int
    # Capture time of the oldest by the server's clock; absent without any
    oldest_at: float | None = None
