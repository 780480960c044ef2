"""Wire messages about guidance."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.messages import ClientMessage, ServerMessage
from server.core.messages.from_client import Settings
from server.shared.aim import Hint, Subject


class GuidanceSettings(Settings):
    """The setting that turns hints on or off."""

    # True: send an `aim` whenever the hint how to move the camera changes.
    guidance: bool | None = None


class AimHint(ServerMessage):
    """A hint how to move the camera, so that print or a face is fully in the picture."""

    type: Literal["aim"] = "aim"
    newest_only: ClassVar[bool] = True
    # Next step; left and right are those of the picture.
    hint: Hint
    # Its subject; absent: the whole picture
    about: Subject | None = None
    # Time by the server's clock, ms since the epoch
    at: float


class Goal(ClientMessage):
    """Lead the person to something, in place of the goal before; a `target` follows."""

    type: Literal["goal"]
    # Name in the person's words, 200 characters at most: a thing, print, a code, something of a colour; words
    # in quotes are print. A thing that the server's detector does not know is found by a model with boxes; without such a
    # model its words are taken as print. Absent or empty: end the goal.
    thing: str | None = Field(None, max_length=200)


class TargetLost(ClientMessage):
    """Report that the client has lost the last `target`: the server looks at the next frame at once."""

    type: Literal["target_lost"]


class Target(ServerMessage):
    """The place of the goal: sent with each look while it is in the picture, else when its state changes."""

    type: Literal["target"] = "target"
    newest_only: ClassVar[bool] = True
    # The words of the `goal`
    thing: str
    # Its name in the page's language, or the words to find as print
    label: str
    # Kind of thing; changes from `text` to `thing` once a model that can find it is available
    kind: Literal["thing", "text", "code", "face", "colour"]
    # True: a model looks for it; false: the server's own detectors of things, print, codes and faces
    by_model: bool = False
    # `looking`: not found yet; `maybe`: seen by one look; `found`; `lost`: no longer in the picture; `there`: reached, and the goal has ended
    state: Literal["looking", "maybe", "found", "lost", "there"]
    # Left, top, right and bottom as shares of the camera's picture; absent before it is found; the last
    # known place if it is lost
    box: tuple[float, float, float, float] | None = None
    # Estimated distance in metres, by its size in the picture; absent if the usual size is unknown, or it is cut off at an
    # edge
    metres: float | None = None
    # True: it is near the middle of the picture.
    near: bool = False
    # True: a second look at the enlarged part of the picture has seen it, too; by the model if that gives
    # boxes
    confirmed: bool = False
    # Time of the frame, as in `FrameInfo`
    captured_at: float | None = None
    # Age of that frame when this message was made, in ms
    age_ms: float | None = None


class Scan(ClientMessage):
    """Start or end a scan of the surroundings while the person turns; it replaces a goal. A `scanned` follows."""

    type: Literal["scan"]
    # False: end the scan; the things found so far follow.
    on: bool = True


class WhereWas(ClientMessage):
    """Ask for the direction of something that the last scan found; a `bearing` follows."""

    type: Literal["where_was"]
    # Name in the person's words
    thing: str = Field(max_length=200)


class ScannedThing(BaseModel):
    """A thing that a scan found."""

    # Kind: a thing or a person, print, or a code
    kind: Literal["thing", "text", "code"]
    # Its name in the page's language, or the words of print; empty for a code
    label: str
    # Direction of its middle from where the person looks, in degrees: -180 to 180, left negative
    degrees: int
    # Its apparent width in degrees, about
    width: int


class Scanned(ServerMessage):
    """The state of a scan: while it runs, and at its end."""

    type: Literal["scanned"] = "scanned"
    newest_only: ClassVar[bool] = True
    # Degrees that the person has turned since its start, left negative, about
    turned: int
    # Number of things found so far
    count: int
    # Why it has ended; absent while it runs. `whole`: a whole turn; `time`: 40 s; `rest`: six seconds without turning;
    # `lost`: the turn could not be measured any more; `stopped`: by the person
    end: Literal["whole", "time", "rest", "lost", "stopped"] | None = None
    # The things found so far, in the order in which to name them
    things: list[ScannedThing] = Field(default_factory=list)


class Bearing(ServerMessage):
    """The direction of something that the last scan found."""

    type: Literal["bearing"] = "bearing"
    # The words of the `where_was`
    thing: str
    # The one with the smallest angle; absent if none was found
    found: ScannedThing | None = None
    # Number of things found with this name
    count: int = 0
    # True: the direction in which the person looks is unknown; another scan is needed.
    lost: bool = False
