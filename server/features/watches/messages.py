"""Wire messages about watches."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.messages import MAX_MESSAGE_BYTES, ClientMessage, Identifier, ServerMessage
from server.core.messages.from_client import Settings

DayMinute = Annotated[int, Field(ge=0, le=1439)]


class Watch(ClientMessage):
    """Begin a watch, in place of one with the same id."""

    type: Literal["watch"]
    named: ClassVar[bool] = True
    # The client's name for it
    id: Identifier = Field(min_length=1)
    # What to watch for in the person's words, 1 to 200 characters
    condition: str = Field(
        # The session checks it, so that its error has the id.
        max_length=MAX_MESSAGE_BYTES
    )
    # True: it alerts each time that the condition begins to hold; false: once.
    repeat: bool = False
    # Seconds after the end of an event in which nothing alerts
    cooldown: float = Field(default=60, ge=0, le=86_400)
    # Seconds until it ends by itself; absent: never
    expires: float | None = Field(default=None, gt=0, le=31_536_000)
    # First and last minute of the day in the person's time; may go over midnight. Absent: always
    hours: tuple[DayMinute, DayMinute] | None = None
    # The person's time, for `hours`: minutes east of UTC
    zone: int | None = Field(default=None, ge=-840, le=840)
    # The same as a zone's name, such as Europe/Berlin, which knows summer time. One that the server
    # does not know is ignored.
    zone_name: str | None = Field(default=None, max_length=64, pattern=r"^[\w+/-]*$")
    # The `threshold` that the watch had in an earlier session; below 0.5 and above 0.95 those count.
    # Absent for a new watch
    threshold: float | None = Field(default=None, ge=0, le=1)


class Unwatch(ClientMessage):
    """End a watch."""

    type: Literal["unwatch"]
    named: ClassVar[bool] = True
    # The watch's
    id: Identifier


class Ack(ClientMessage):
    """The client has shown an alert; the next one that waits may follow."""

    type: Literal["ack"]
    named: ClassVar[bool] = True
    # The alert's
    id: Identifier


class FalseAlarm(ClientMessage):
    """An alert was false: its watch needs surer answers from now on."""

    type: Literal["false_alarm"]
    named: ClassVar[bool] = True
    # The alert's
    id: Identifier


class WatchSettings(Settings):
    """Settings of the watches."""

    # A `change` at each comparison of the watches
    watch_changes: bool | None = None


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
    # It alerts no more, since it was to alert once and has, or its time is up.
    ended: bool = False
    # Why it is `paused` or `cannot`, else the last answer's reason; may be empty
    reason: str
    # Time of the last look; absent before the first
    looked_at: float | None = None
    # Time of its end; absent: it has none
    expires_at: float | None = None
    # It knows how things were at its beginning, after two looks: what begins from then on alerts.
    armed: bool = False
    # As they were given
    hours: tuple[int, int] | None = None
    # The confidence that an answer needs, 0 to 1
    threshold: float
    # Name of the model that answers, which is asked about it, where the engine that watches cannot watch for it
    model: str | None = None

    @property
    def holds(self) -> bool | None:
        """The condition holds now; None when it is not looked for, or its beginning is not known yet."""
        if self.ended or not self.armed or self.state not in ("seen", "looking"):
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


class Alert(ServerMessage):
    """A watch's condition holds, with the frame that proves it. A repeated id has newer words."""

    type: Literal["alert"] = "alert"
    # The alert's; show each one once.
    id: str
    # The watch's id
    watch: str
    # The watch's
    condition: str
    # Capture time of the frame
    at: float
    # The model's certainty, 0 to 1
    confidence: float
    # Why the model says so
    reason: str
    # The name of the model
    model: str | None = None
    # The frame's id
    frame: str
    # JPEG data URL, at most 640 px, and 36 KiB before base64; absent when a filter withheld it, and
    # with newer words
    image: str | None = None
    # Where it is: left, top, right and bottom as shares of the picture; absent: the whole one
    region: tuple[float, float, float, float] | None = None
    # A client has shown it before.
    acked: bool = False
