"""Wire messages about a place that the person points at."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.messages import ClientMessage, ServerMessage


class Point(ClientMessage):
    """Ask what is at a place of the session camera's newest picture, or of the held one.

    A `pointed` follows if the server can find objects. While one search runs, only the newest place waits.
    """

    type: Literal["point"]
    # Place as a fraction of the picture's width, from the left
    x: float = Field(ge=0, le=1)
    # Place as a fraction of the picture's height, from the top
    y: float = Field(ge=0, le=1)


class PointedBox(BaseModel):
    """An object, printed text or a code at the place that was pointed at."""

    # An object, printed text or a code
    kind: Literal["thing", "text", "code"]
    # Left, top, right and bottom, as fractions of the camera's picture
    box: tuple[float, float, float, float]
    # Its name in the page's language, or its text, 100 characters at most; absent for an object
    # without a known name
    label: str | None = None
    # Confidence of the detector, 0 to 1; absent if the detector reports none
    confidence: float | None = None


class Pointed(ServerMessage):
    """Objects, printed text and codes at a place that the person points at."""

    type: Literal["pointed"] = "pointed"
    newest_only: ClassVar[bool] = True
    # As in `point`
    x: float
    # As in `point`
    y: float
    # Things around the place, the smallest box first, at most 4; empty if nothing was found
    boxes: list[PointedBox]
    # Time of the frame, as in `FrameInfo`; absent if there is no frame
    captured_at: float | None = None
    # Age of that frame when this message was made, in ms
    age_ms: float | None = None
