"""Pictures, boxes and times of an answer, as messages have them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from server.core import messages as wire
from server.core.frames import Picture
from server.engines.base import EarlierPicture
from server.engines.recollection import cited
from server.vision.encode import data_url
from server.vision.grounding import Box


def found_box(box: Box) -> wire.FoundBox:
    x1, y1, x2, y2 = (round(edge, 1) for edge in (box.x1, box.y1, box.x2, box.y2))
    point = (x1, y1) == (x2, y2)
    return wire.FoundBox(
        label=box.label,
        box=None if point else (x1, y1, x2, y2),
        point=(x1, y1) if point else None,
        sure=round(box.sure, 2) if box.sure is not None else None,
    )


def without_thumbnail(frame: wire.FrameInfo) -> wire.FrameInfo:
    return frame.model_copy(update={"thumbnail": None})


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


def frame_info(picture: Picture, now: float, wall: float) -> wire.FrameInfo:
    """Describe a picture. `now` (monotonic) and `wall` (seconds since the epoch): the time at which the model gets it."""
    age = max(0.0, now - picture.captured)
    captured = picture.captured_sender if picture.captured_sender is not None else wall - age
    scene, region = picture.scene, picture.region
    return wire.FrameInfo(
        id=picture.frame_id,
        captured_at=round(captured * 1000, 1),
        age_ms=milliseconds(age),
        source_width=picture.source_width,
        source_height=picture.source_height,
        width=picture.width,
        height=picture.height,
        visual_tokens=picture.visual_tokens,
        held=picture.held,
        unchanged_since=(
            round((captured - (picture.captured - picture.unchanged_since)) * 1000, 1)
            if picture.unchanged_since is not None and not picture.held
            else None
        ),
        dark=scene.dark if scene is not None else None,
        blurred=scene.blurred if scene is not None else None,
        thumbnail=data_url(picture.thumbnail) if picture.thumbnail is not None else None,
        crop=(region.left, region.top, region.right, region.bottom) if region is not None else None,
    )


def earlier_frames(
    pictures: Sequence[EarlierPicture], now: float, wall: float
) -> list[wire.EarlierFrame]:
    """Describe the pictures of the past. `now`, `wall`: as for `frame_info`."""
    found = []
    for shown in pictures:
        picture = shown.picture
        age = now - picture.captured
        captured = picture.captured_sender if picture.captured_sender is not None else wall - age
        found.append(
            wire.EarlierFrame(
                number=shown.number,
                id=picture.frame_id,
                captured_at=round(captured * 1000, 1),
                picture=data_url(picture.thumbnail) if picture.thumbnail is not None else None,
            )
        )
    return found


def without_pictures(frames: Sequence[wire.EarlierFrame] | None) -> list[wire.EarlierFrame] | None:
    return [one.model_copy(update={"picture": None}) for one in frames] if frames else None


def named(frames: Sequence[wire.EarlierFrame], answer: str) -> list[wire.EarlierFrame] | None:
    """Mark the frames that an answer names, and leave the pictures of the others out if there are any."""
    if not frames:
        return None
    numbers = cited(answer, frames[-1].number)
    return [
        one.model_copy(
            update={
                "cited": one.number in numbers,
                "picture": None if numbers and one.number not in numbers else one.picture,
            }
        )
        for one in frames
    ]
