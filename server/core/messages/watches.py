"""Messages to a client about its watches."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel

from server.core.messages.base import ServerMessage


class WatchInfo(BaseModel):
    """One watch as a person reads it."""

    # As it was given
    id: str
    # As it was given
    condition: str
    # As it was given
    repeat: bool
    # `looking`, `seen`, `paused` (after an event, or outside its hours), `expired`, or `cannot`
    # (such as in the dark)
    state: str
    # It rings no more, since it was to ring once and has, or its time is up.
    over: bool = False
    # Why it is `paused` or `cannot`, else the last answer's reason; may be empty
    reason: str
    # Time of the last look; absent before the first
    looked_at: float | None = None
    # Time of its end; absent: it has none
    expires_at: float | None = None
    # It knows how things were at its beginning, after two looks: what begins from then on rings.
    begun: bool = False
    # As they were given
    hours: list[int] | None = None
    # The confidence that an answer needs, 0 to 1
    bar: float

    @property
    def holds(self) -> bool | None:
        """The condition holds now; None when it is not looked for, or its beginning is not known yet."""
        if self.over or not self.begun or self.state not in ("seen", "looking"):
            return None
        return self.state == "seen"


class WatchList(ServerMessage):
    """All watches of the session: after each `ready`, and when one has changed."""

    type: Literal["watches"] = "watches"
    newest_only: ClassVar[bool] = True
    # Oldest first
    watches: list[WatchInfo]
    # The most that a session may have
    most: int


class Ring(ServerMessage):
    """A watch's condition holds, with the frame that proves it. A repeated id has newer words."""

    type: Literal["ring"] = "ring"
    # The ring's; show each one once.
    id: str
    # The watch's id
    watch: str
    # The watch's
    condition: str
    # Capture time of the frame
    at: float
    # The model's certainty, 0 to 1
    sure: float
    # Why the model says so
    reason: str
    # The frame's id
    frame: str
    # JPEG data URL, at most 640 px, and 36 KiB before base64; absent when a filter withheld it, and
    # with newer words
    image: str | None = None
    # Where it is: left, top, right and bottom as shares of the picture; absent: the whole one
    region: list[float] | None = None
    # A client has shown it before.
    heard: bool = False
