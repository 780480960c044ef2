"""Wire messages about guidance."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.messages import ClientMessage, ServerMessage
from server.core.messages.from_client import Settings
from server.shared.aim import Hint, Subject


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


class Goal(ClientMessage):
    """Lead the person to something, in place of what they were led to before; a `target` follows."""

    type: Literal["goal"]
    # What it is, in the person's words, 200 characters at most: a thing, print, a code, something of a colour; words
    # in quotes are print. A model with boxes looks for what the server itself does not know; without one its
    # words are print, too. Without it the person is led to nothing any more.
    thing: str | None = Field(None, max_length=200)


class TargetLost(ClientMessage):
    """Tell that the client cannot follow the last `target` any more: the next picture is looked at, though no look is due."""

    type: Literal["target_lost"]


class Target(ServerMessage):
    """The place of what the person is led to: with each look while it is in the picture, and else when that changes."""

    type: Literal["target"] = "target"
    newest_only: ClassVar[bool] = True
    # The words of the `goal`
    thing: str
    # Its name in the page's language, or the words that are looked for as print
    label: str
    # What is looked for; `thing` instead of `text` once a model that can look for it is there
    kind: Literal["thing", "text", "code", "face", "colour"]
    # A model looks for it; else the server does: things with its detector, print, codes and faces with what reads those
    by_model: bool = False
    # `looking`: not found yet; `maybe`: one look says so; `lost`: it is no longer in the picture; `there`: it is near, and the goal has ended
    state: Literal["looking", "maybe", "found", "lost", "there"]
    # Left, top, right and bottom as shares of the camera's picture; absent before it is found; of a
    # lost one the last
    box: tuple[float, float, float, float] | None = None
    # About how far away it is, by its size in the picture; absent where things of its kind differ in size, or not all
    # of it is seen
    metres: float | None = None
    # Its middle is about that of the picture.
    near: bool = False
    # A second look, at its enlarged part of the picture, has seen it, too: the model's where one gives
    # boxes
    confirmed: bool = False
    # Time of the frame, as in `FrameInfo`
    captured_at: float | None = None
    # Age of that frame at the time of this message
    age_ms: float | None = None


class Scan(ClientMessage):
    """Look around while the person turns, in place of a goal, or end that; `scanned` follows."""

    type: Literal["scan"]
    # False: end it; what was seen so far follows
    on: bool = True


class WhereWas(ClientMessage):
    """Ask where something of the last scan is; a `bearing` follows."""

    type: Literal["where_was"]
    # What it is, in the person's words
    thing: str = Field(max_length=200)


class ScannedThing(BaseModel):
    """A thing that was seen while the person turned."""

    # What it is: a thing or a person, print, or a code
    kind: Literal["thing", "text", "code"]
    # Its name in the page's language, the words of print, or nothing of a code
    label: str
    # Its middle, in degrees from where the person looks: left negative, -180 to 180
    degrees: int
    # About how wide it looked, in degrees
    width: int


class Scanned(ServerMessage):
    """The state of a scan: while the person turns, and once it has ended."""

    type: Literal["scanned"] = "scanned"
    newest_only: ClassVar[bool] = True
    # Degrees from where it began, left negative, about
    turned: int
    # Things that were found so far
    count: int
    # Why it has ended; absent while it goes on. `whole`: a whole turn; `time`: 40 s; `rest`: six seconds without a turn;
    # `lost`: nobody knows how far the camera has turned; `stopped`
    end: Literal["whole", "time", "rest", "lost", "stopped"] | None = None
    # What is around, as far as it was found, in the order in which it is to be told
    things: list[ScannedThing] = Field(default_factory=list)


class Bearing(ServerMessage):
    """The direction of something that the last scan saw."""

    type: Literal["bearing"] = "bearing"
    # The words of the `where_was`
    thing: str
    # The nearest one; absent where none was seen
    found: ScannedThing | None = None
    # How many there are
    count: int = 0
    # Nobody knows any more which way the person looks: another scan tells.
    lost: bool = False
