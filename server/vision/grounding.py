"""Where things are: boxes that a model answers, taken from its text to the pixels of the camera's frame.

Qwen2.5-VL answers pixels of the picture that it got, Qwen2-VL and Qwen3-VL thousandths of its sides, as a JSON list:
`[{"bbox_2d": [x1, y1, x2, y2], "label": "cup"}]` (the models' cookbooks). The picture is not resized again by the model
when its sides come from `resize.smart_resize`, so both lead back to the frame exactly.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from server.frames import BoxUnit

# Of one answer; the rest is left out.
MAX_BOXES = 100
MAX_LABEL_CHARS = 100
# An answer that is longer is none of boxes.
MAX_TEXT_CHARS = 100_000
# Objects of other kinds, and beginnings of none: nesting makes each of these slow.
_MAX_OBJECTS = 1_000
_MAX_FAILURES = 1_000
_NAMES = ("bbox_2d", "bbox", "box_2d")
_POINTS = ("point_2d", "point")
_FENCE = re.compile(r"```(?:json)?\s*(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, or a point where both corners are one: left, top, right, bottom; and what it is said to hold."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str = ""


def read_boxes(text: str) -> list[Box]:
    """The boxes and points of an answer in the model's own unit, corners in order; [] for an answer without any.

    What is no box is left out: other JSON, other numbers of sides, numbers that are not finite. A list that was cut off
    gives those before the cut.
    """
    if len(text) > MAX_TEXT_CHARS:
        return []
    fenced = _FENCE.search(text)
    boxes = []
    for entry in _entries(fenced[1] if fenced else text):
        box = _box(entry)
        if box is not None:
            boxes.append(box)
            if len(boxes) == MAX_BOXES:
                break
    return boxes


def to_frame(
    box: Box,
    unit: BoxUnit,
    *,
    picture: tuple[int, int],
    frame: tuple[int, int],
) -> Box | None:
    """The box in the frame's pixels, cut at its edges; None for one wholly outside.

    `picture` is the (width, height) that the model got, `frame` that of the camera's frame it was made from, whole.
    Raises ValueError for sides below 1.
    """
    if min(*picture, *frame) < 1:
        raise ValueError(
            f"a picture of {picture[0]}x{picture[1]} and a frame of {frame[0]}x{frame[1]} were given; each side must be at"
            " least 1"
        )
    sides = picture if unit is BoxUnit.PIXELS else (1000, 1000)
    across, down = frame[0] / sides[0], frame[1] / sides[1]
    x1, x2 = sorted((box.x1 * across, box.x2 * across))
    y1, y2 = sorted((box.y1 * down, box.y2 * down))
    if x2 < 0 or y2 < 0 or x1 > frame[0] or y1 > frame[1]:
        return None
    return Box(
        max(0.0, x1), max(0.0, y1), min(float(frame[0]), x2), min(float(frame[1]), y2), box.label
    )


def _entries(text: str) -> list[Any]:
    """The objects of the first JSON list, or of single objects, as far as they are whole."""
    decoder = json.JSONDecoder(strict=False)
    found: list[Any] = []
    at = failures = 0
    while (
        len(found) < _MAX_OBJECTS and failures < _MAX_FAILURES and (at := text.find("{", at)) >= 0
    ):
        try:
            entry, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            failures += 1
            continue
        found.append(entry)
    return found


def _box(entry: Any) -> Box | None:
    if not isinstance(entry, dict):
        return None
    numbers = next((entry[name] for name in _NAMES if name in entry), None)
    if numbers is None:
        point = next((entry[name] for name in _POINTS if name in entry), None)
        numbers = [*point, *point] if isinstance(point, list) and len(point) == 2 else None
    if not isinstance(numbers, list) or len(numbers) != 4:
        return None
    if not all(type(number) in (int, float) and _sane(number) for number in numbers):
        return None
    x1, x2 = sorted((float(numbers[0]), float(numbers[2])))
    y1, y2 = sorted((float(numbers[1]), float(numbers[3])))
    label = entry.get("label", "")
    text = label if isinstance(label, str) else ""
    shown = "".join(char for char in text if char.isprintable())[:MAX_LABEL_CHARS]
    return Box(x1, y1, x2, y2, shown)


def _sane(number: float) -> bool:
    """Finite, and no whole number too long to be one of pixels."""
    return -1e9 < number < 1e9 and math.isfinite(number)
