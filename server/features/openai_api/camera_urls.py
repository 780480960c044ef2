"""Addresses of pictures of the live camera, as programs write them: camera://now, camera://held,
camera://-30s..now?frames=8. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from server.core.errors import BadRequest, UploadRefused

# Pictures of one request
MOST_FRAMES = 8
# Of a range that names no number
USUAL_FRAMES = 4
# Bound of a range's beginning; the session's own memory of the past is shorter
_MOST_SECONDS = 3_600
_SCHEME = "camera:"
_RANGE = re.compile(
    r"camera://-(?P<number>[0-9]{1,4})(?P<unit>s|m)\.\.now(?:\?frames=(?P<frames>[0-9]{1,3}))?",
    re.ASCII,
)
_FORMS = "camera://now, camera://held and camera://-30s..now?frames=8"

Detail = Literal["auto", "low", "high"]


@dataclass(frozen=True, slots=True)
class PictureChoice:
    """A choice of pictures: of now, the held one, or some of a time up to now."""

    what: Literal["now", "held", "past"]
    detail: Detail = "auto"
    # Of the past: seconds before now, and pictures with the one of now
    seconds: float = 0.0
    frames: int = 1


def read_url(url: str, detail: Detail = "auto") -> PictureChoice:
    """Read an address. Raises UploadRefused for any other address of a picture, BadRequest for a form that is not known."""
    if not url.lower().startswith(_SCHEME):
        given = "inside the request" if url.lower().startswith("data:") else "at another address"
        raise UploadRefused(
            f"This picture is {given}. Only the live camera is looked at, and nothing can be uploaded or"
            f" fetched. Use one of {_FORMS}."
        )
    if url in ("camera://now", "camera://held"):
        return PictureChoice("now" if url == "camera://now" else "held", detail)
    found = _RANGE.fullmatch(url)
    if found is None:
        raise BadRequest(
            f"This address of the camera cannot be read. Use one of {_FORMS}, with s for seconds or m for minutes."
        )
    seconds = int(found["number"]) * (60 if found["unit"] == "m" else 1)
    frames = int(found["frames"]) if found["frames"] else USUAL_FRAMES
    if not 1 <= seconds <= _MOST_SECONDS or not 2 <= frames <= MOST_FRAMES:
        raise BadRequest(
            f"This range has {seconds} seconds and {frames} frames. A range begins 1 to {_MOST_SECONDS} seconds before now,"
            f" and has 2 to {MOST_FRAMES} frames."
        )
    return PictureChoice("past", detail, float(seconds), frames)
