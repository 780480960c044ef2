"""Wire messages about watches."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.messages import MAX_MESSAGE_BYTES, ClientMessage, Identifier, ServerMessage
from server.core.messages.from_client import Settings

DayMinute = Annotated[int, Field(ge=0, le=1439)]


class Watch(ClientMessage):
    """Add a watch, in place of one with the same id."""

    type: Literal["watch"]
    named: ClassVar[bool] = True
    # The client's name for it
    id: Identifier = Field(min_length=1)
    # The condition in the person's words, 1 to 200 characters
    condition: str = Field(
        # `WatchRegistry` checks it, so that the error has the id.
        max_length=MAX_MESSAGE_BYTES
    )
    # True: alert each time that the condition begins to hold; false: once.
    repeat: bool = False
    # Seconds without alerts after the end of an event
    cooldown: float = Field(default=60, ge=0, le=86_400)
    # Seconds until it expires; absent: never
    expires: float | None = Field(default=None, gt=0, le=31_536_000)
    # First and last minute of the day in the person's time; may go over midnight. Absent: always
    hours: tuple[DayMinute, DayMinute] | None = None
    # The person's UTC offset, for `hours`: minutes east of UTC
    zone: int | None = Field(default=None, ge=-840, le=840)
    # The person's time zone, such as Europe/Berlin, with which summer time is right. An unknown one is
    # ignored.
    zone_name: str | None = Field(default=None, max_length=64, pattern=r"^[\w+/-]*$")
    # The `threshold` that the watch had in an earlier session, limited to 0.5 to 0.95. Absent for a new
    # watch
    threshold: float | None = Field(default=None, ge=0, le=1)


class Unwatch(ClientMessage):
    """Remove a watch."""

    type: Literal["unwatch"]
    named: ClassVar[bool] = True
    # The watch's id
    id: Identifier


class Ack(ClientMessage):
    """Confirm that the client has shown an alert; the next one that waits can follow."""

    type: Literal["ack"]
    named: ClassVar[bool] = True
    # The alert's id
    id: Identifier


class FalseAlarm(ClientMessage):
    """Report a false alert: its watch needs a higher confidence from now on."""

    type: Literal["false_alarm"]
    named: ClassVar[bool] = True
    # The alert's id
    id: Identifier


class WatchSettings(Settings):
    """Settings of the watches."""

    # True: send a `change` for each comparison of the watches.
    watch_changes: bool | None = None


class WatchInfo(BaseModel):
    """One watch and its state."""

    # As it was given
    id: str
    # As it was given
    condition: str
    # As it was given
    repeat: bool
    # `looking`, `seen`, `paused` (after an event, or outside its hours), `expired`, or `cannot`
    # (such as in the dark)
    state: str
    # True: it does not alert any more, since it has alerted once or has expired.
    ended: bool = False
    # Why it is `paused` or `cannot`, else the last answer's reason; may be empty
    reason: str
    # Time of the last look, ms since the epoch; absent before the first
    looked_at: float | None = None
    # Time at which it expires, ms since the epoch; absent: never
    expires_at: float | None = None
    # True once the state at its start is known, after two looks: only a condition that begins later alerts.
    armed: bool = False
    # As they were given
    hours: tuple[int, int] | None = None
    # Least confidence of an answer, 0 to 1
    threshold: float
    # Name of the answering model, if it is asked because the watching engine does not support the condition
    model: str | None = None

    @property
    def holds(self) -> bool | None:
        """True if the condition holds now; None if it is not looked for, or its state at the start is unknown."""
        if self.ended or not self.armed or self.state not in ("seen", "looking"):
            return None
        return self.state == "seen"


class WatchList(ServerMessage):
    """All watches of the session: sent after each `ready`, and if one has changed."""

    type: Literal["watches"] = "watches"
    newest_only: ClassVar[bool] = True
    # Oldest first
    watches: list[WatchInfo]
    # The most that a session may have
    most: int


class Alert(ServerMessage):
    """An alert: a watch's condition holds. Has the frame that proves it; a repeated id has a newer reason."""

    type: Literal["alert"] = "alert"
    # The alert's id; show each one once.
    id: str
    # The watch's id
    watch: str
    # The watch's condition
    condition: str
    # Capture time of the frame, ms since the epoch
    at: float
    # The model's confidence, 0 to 1
    confidence: float
    # The model's reason
    reason: str
    # The name of the model
    model: str | None = None
    # The frame's id
    frame: str
    # JPEG data URL, at most 640 px, and 36 KiB before base64; absent if a filter withheld it, and with
    # a newer reason
    image: str | None = None
    # Where it is: left, top, right and bottom as shares of the picture; absent: the whole one
    region: tuple[float, float, float, float] | None = None
    # True: a client has shown it before.
    acked: bool = False
