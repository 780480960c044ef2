"""Messages to a client about its watches."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel

from server.core.messages.base import ServerMessage


class WatchInfo(BaseModel):
    """One watch as a person reads it."""

    id: str
    condition: str
    repeat: bool
    # looking | seen | paused | expired | cannot
    state: str
    # True: it rings no more, since it was to ring once and has, or its time is up
    over: bool = False
    # The reason of the state, or the last answer's; may be empty
    reason: str
    # Milliseconds since the epoch; None before the first look, and for a watch without an end
    looked_at: float | None = None
    expires_at: float | None = None
    # True once it knows how things are at its beginning: what begins from then on rings
    begun: bool = False
    # First and last minute of the day
    hours: list[int] | None = None
    # The confidence that an answer needs
    bar: float

    @property
    def holds(self) -> bool | None:
        """The condition holds now; None when it is not looked for, or its beginning is not known yet."""
        if self.over or not self.begun or self.state not in ("seen", "looking"):
            return None
        return self.state == "seen"


class WatchList(ServerMessage):
    """All watches of the session, oldest first."""

    type: Literal["watches"] = "watches"
    newest_only: ClassVar[bool] = True
    watches: list[WatchInfo]
    # The most that a session may have
    most: int


class Ring(ServerMessage):
    """A watch's condition holds, with the frame that proves it. A repeated id has newer words."""

    type: Literal["ring"] = "ring"
    id: str
    watch: str
    condition: str
    # Milliseconds since the epoch at which the frame was captured
    at: float
    # 0 to 1
    sure: float
    reason: str
    # The frame's id
    frame: str
    # JPEG data URL, at most 640 px, and 36 KiB before base64; None when a filter withheld it, and with newer words
    image: str | None = None
    # Left, top, right and bottom as shares of the picture; None for the whole one
    region: list[float] | None = None
    # True when a page has shown it before
    heard: bool = False
