"""Wire messages about cameras that are other devices."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.frames import CameraState
from server.core.messages import Identifier, ServerMessage
from server.core.messages.from_client import Settings


class CameraSettings(Settings):
    """Settings of the cameras: stills, and the selection for questions."""

    # Send a `still` per second, for a camera that the client does not display itself
    stills: bool | None = None
    # Ids of the cameras that questions are about; initially `1`. Unknown ids are ignored.
    cameras: tuple[Identifier, ...] | None = Field(default=None, max_length=8)


class Still(ServerMessage):
    """Recent picture of a camera, after the privacy filters."""

    type: Literal["still"] = "still"
    newest_only: ClassVar[bool] = True
    # JPEG data URL, at most 640 px, and 36 KiB before base64; absent if a filter withheld it
    image: str | None = None
    # Width of the camera's picture, pixels
    width: int | None = None
    # Height of the camera's picture, pixels
    height: int | None = None
    # True if a privacy filter withheld it
    withheld: bool = False
    # Id of a further camera; absent: the session's own
    camera: str | None = None


class CameraInfo(BaseModel):
    """Camera of the session."""

    # `1`: the session's own
    id: str
    # Name given by the person, or a default
    name: str
    # As `camera` in `status`; absent before the first frame
    state: CameraState | None = None
    # True if questions are about it
    asked: bool = False


class CameraList(ServerMessage):
    """All cameras of a session that has further ones."""

    type: Literal["cameras"] = "cameras"
    newest_only: ClassVar[bool] = True
    # Beginning with the session's own
    cameras: list[CameraInfo]
