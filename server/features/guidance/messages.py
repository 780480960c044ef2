"""Wire messages about guidance."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from server.core.frames import Hint, Subject
from server.core.messages.base import ClientMessage, ServerMessage
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


class Goal(ClientMessage):
    """Lead the person to something, in place of what they were led to before; a `target` follows."""

    type: Literal["goal"]
    # What it is, in the person's words, 200 characters at most: a thing, print, a code; words in quotes
    # are print. Without it the person is led to nothing any more.
    thing: str | None = Field(None, max_length=200)


class Target(ServerMessage):
    """The place of what the person is led to: with each look while it is in the picture, and else when that changes."""

    type: Literal["target"] = "target"
    newest_only: ClassVar[bool] = True
    # The words of the `goal`
    thing: str
    # Its name in the page's language, or the words that are looked for as print
    label: str
    # What is looked for
    kind: Literal["thing", "text", "code", "face"]
    # `looking`: not found yet; `maybe`: one look says so; `lost`: it is no longer in the picture; `there`: it is near, and the goal has ended
    state: Literal["looking", "maybe", "found", "lost", "there"]
    # Left, top, right and bottom as shares of the camera's picture; absent before it is found; of a
    # lost one the last
    box: tuple[float, float, float, float] | None = None
    # Its middle is about that of the picture.
    near: bool = False
    # A second look, at its enlarged part of the picture, has seen it, too.
    confirmed: bool = False
    # Time of the frame, as in `FrameInfo`
    captured_at: float | None = None
    # Age of that frame at the time of this message
    age_ms: float | None = None
