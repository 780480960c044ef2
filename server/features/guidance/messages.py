"""Wire messages about guidance."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.messages import ClientMessage, ServerMessage
from server.core.messages.from_client import Settings
from server.shared.aim import Hint, Subject


class GuidanceSettings(Settings):
    """The setting that turns hints on or off."""

    # True: send an `aim` whenever the hint on how to move the camera changes.
    guidance: bool | None = None


class AimHint(ServerMessage):
    """A hint on how to move the camera, so that printed text or a face is fully in the picture."""

    type: Literal["aim"] = "aim"
    newest_only: ClassVar[bool] = True
    # Next step; left and right are those of the picture.
    hint: Hint
    # Its subject; absent: the whole picture
    about: Subject | None = None
    # Time by the server's clock, ms since the epoch
    at: float


class Goal(ClientMessage):
    """Lead the person to an object or text, in place of the previous goal; a `target` follows."""

    type: Literal["goal"]
    # Name in the person's words, 200 characters at most: an object, printed text, a code, or "something" of a colour;
    # words in quotes are printed text. A model that returns boxes finds objects that the server's detector does not
    # know; without such a model, their words are searched as printed text. Absent or empty: end the goal.
    thing: str | None = Field(None, max_length=200)


class TargetLost(ClientMessage):
    """Report that the client has lost the last `target`. The server searches the next frame at once."""

    type: Literal["target_lost"]


class Target(ServerMessage):
    """The place of the goal: sent after each search while the goal is in the picture, else when its state changes."""

    type: Literal["target"] = "target"
    newest_only: ClassVar[bool] = True
    # The words of the `goal`
    thing: str
    # Its name in the page's language, or the printed words to find
    label: str
    # Kind of goal; changes from `text` to `thing` once a model that can find it is available
    kind: Literal["thing", "text", "code", "face", "colour"]
    # True: a model looks for it; false: the server's own detectors of objects, printed text, codes and faces
    by_model: bool = False
    # `looking`: not found yet; `maybe`: seen by one look; `found`; `lost`: no longer in the picture; `there`: reached, and the goal has ended
    state: Literal["looking", "maybe", "found", "lost", "there"]
    # Left, top, right and bottom as fractions of the camera's picture; absent before it is found; the last
    # known place if it is lost
    box: tuple[float, float, float, float] | None = None
    # Estimated distance in metres, by its size in the picture; absent if the usual size is unknown, or it is cut off at an
    # edge
    metres: float | None = None
    # True: it is near the middle of the picture.
    near: bool = False
    # True: a second look at the enlarged part of the picture has seen it, too; by the model if the model returns
    # boxes
    confirmed: bool = False
    # Time of the frame, as in `FrameInfo`
    captured_at: float | None = None
    # Age of that frame when this message was made, in ms
    age_ms: float | None = None


class Scan(ClientMessage):
    """Start or end a scan of the surroundings while the person turns; it replaces a goal. A `scanned` follows."""

    type: Literal["scan"]
    # False: end the scan; the objects found so far follow.
    on: bool = True


class WhereWas(ClientMessage):
    """Ask for the direction of an object that the last scan found; a `bearing` follows."""

    type: Literal["where_was"]
    # Name in the person's words
    thing: str = Field(max_length=200)


class ScannedThing(BaseModel):
    """An object, printed text or a code that a scan found."""

    # An object or a person, printed text, or a code
    kind: Literal["thing", "text", "code"]
    # Its name in the page's language, or the printed words; empty for a code
    label: str
    # Direction of its middle from where the person looks, in degrees: -180 to 180, left negative
    degrees: int
    # Its approximate apparent width in degrees
    width: int


class Scanned(ServerMessage):
    """The state of a scan: while it runs, and at its end."""

    type: Literal["scanned"] = "scanned"
    newest_only: ClassVar[bool] = True
    # Approximate degrees that the person has turned since its start, left negative
    turned: int
    # Number of objects found so far
    count: int
    # Why it has ended; absent while it runs. `whole`: a whole turn; `time`: 40 s; `rest`: six seconds without turning;
    # `lost`: the turn could not be measured any more; `stopped`: by the person
    end: Literal["whole", "time", "rest", "lost", "stopped"] | None = None
    # The objects found so far, in the order in which to name them
    things: list[ScannedThing] = Field(default_factory=list)


class Bearing(ServerMessage):
    """The direction of an object that the last scan found."""

    type: Literal["bearing"] = "bearing"
    # The words of the `where_was`
    thing: str
    # The object with the smallest angle; absent if none was found
    found: ScannedThing | None = None
    # Number of objects found with this name
    count: int = 0
    # True: the direction in which the person looks is unknown; another scan is needed.
    lost: bool = False
