"""Wire messages about cameras that are other devices."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.frames import CameraState
from server.core.messages import Identifier, ServerMessage
from server.core.messages.from_client import Settings


class CameraSettings(Settings):
    """The cameras that are shown and asked about."""

    # A `still` a second, for cameras that the client does not see itself
    stills: bool | None = None
    # Ids of the cameras that questions are about; `1` at first. Unknown ones do not count.
    cameras: tuple[Identifier, ...] | None = Field(default=None, max_length=8)


class Still(ServerMessage):
    """A recent picture of the camera, after the privacy filters."""

    type: Literal["still"] = "still"
    newest_only: ClassVar[bool] = True
    # JPEG data URL, at most 640 px, and 36 KiB before base64; absent when a filter withheld it
    image: str | None = None
    # Pixels of the camera's picture
    width: int | None = None
    # Pixels of the camera's picture
    height: int | None = None
    # A privacy filter withheld it.
    withheld: bool = False
    # A further camera's id; absent: the session's own
    camera: str | None = None


class CameraInfo(BaseModel):
    """One camera of the session."""

    # `1` is the session's own.
    id: str
    # The person's name for it
    name: str
    # As `camera` in `status`; absent: nothing was sent yet.
    state: CameraState | None = None
    # Questions are about it.
    asked: bool = False


class CameraList(ServerMessage):
    """The cameras of a session with more than its own."""

    type: Literal["cameras"] = "cameras"
    newest_only: ClassVar[bool] = True
    # The session's own first
    cameras: list[CameraInfo]
