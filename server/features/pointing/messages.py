"""Wire messages about a place that somebody points at."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.messages import ClientMessage, ServerMessage


class Point(ClientMessage):
    """The person points at a place of the own camera's newest picture, or of the held one: ask what is there.

    `pointed` follows where something finds things; while one is looked for, the newest waits alone.
    """

    type: Literal["point"]
    # Share of the picture's width, from the left
    x: float = Field(ge=0, le=1)
    # Share of its height, from the top
    y: float = Field(ge=0, le=1)


class PointedBox(BaseModel):
    """Something around a place, at the time of the frame."""

    # What found it
    kind: Literal["thing", "text", "code"]
    # Left, top, right and bottom, as shares of the camera's picture
    box: tuple[float, float, float, float]
    # Its name in the page's language, or its text, 100 characters at most; absent for a thing that
    # cannot be named
    label: str | None = None
    # The finder's certainty, 0 to 1; absent where it gives none
    confidence: float | None = None


class Pointed(ServerMessage):
    """Things, print and codes at a place that the person points at."""

    type: Literal["pointed"] = "pointed"
    newest_only: ClassVar[bool] = True
    # As in `point`
    x: float
    # As in `point`
    y: float
    # What is around it, the smallest first, 4 at most; empty when nothing was found
    boxes: list[PointedBox]
    # Time of the frame, as in `FrameInfo`; absent without one
    captured_at: float | None = None
    # Age of that frame at the time of this message
    age_ms: float | None = None
