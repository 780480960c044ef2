"""Where things are: boxes that a model answers, taken from its text to the pixels of the camera's frame.

Qwen2.5-VL answers pixels of the picture that it got, Qwen2-VL and Qwen3-VL thousandths of its sides; as a JSON list,
`[{"bbox_2d": [x1, y1, x2, y2], "label": "cup"}]` (the models' cookbooks), but Qwen2-VL as `cup(x1,y1),(x2,y2)` with control
tokens around both (its model card), which may have been taken out already. The picture is not resized again by the model
when its sides come from `resize.smart_resize`, so both lead back to the frame exactly.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from server.core.frames import BoxUnit

# Of one answer; the rest is left out.
MAX_BOXES = 100
MAX_LABEL_CHARS = 100
# An answer that is longer is none of boxes.
MAX_TEXT_CHARS = 100_000
_MAX_OBJECTS = 1_000
# Characters that are read in vain: beginnings of objects that are none, each within the one before.
_MAX_VAIN = 10 * MAX_TEXT_CHARS
_FAILURE = 1_000
_NAMES = ("bbox_2d", "bbox", "box_2d")
_POINTS = ("point_2d", "point")
_PAIR = r"\((\d{1,4}),\s?(\d{1,4})\)"
_PAIRS = re.compile(f"{_PAIR},\\s?{_PAIR}")
_CONTROL = re.compile(r"<\|[a-z_]{1,40}\|>")
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

    They may lie within other objects (`{"objects": [...]}`), in blocks of code or between words. What is no box is left
    out: other JSON, other numbers of sides, numbers that are not finite. A list that was cut off gives those before the cut.
    """
    if len(text) > MAX_TEXT_CHARS:
        return []
    blocks = "\n".join(_FENCE.findall(text))
    return _boxes(blocks) or _boxes(text) or _pairs(text)


def _boxes(text: str) -> list[Box]:
    found = (_box(entry) for whole in _entries(text) for entry in _within(whole))
    return list(itertools.islice((box for box in found if box is not None), MAX_BOXES))


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
    # Divided last: what lies at an edge stays there and is not a rounding beyond.
    x1, x2 = sorted(x * frame[0] / sides[0] for x in (box.x1, box.x2))
    y1, y2 = sorted(y * frame[1] / sides[1] for y in (box.y1, box.y2))
    if x2 < 0 or y2 < 0 or x1 > frame[0] or y1 > frame[1]:
        return None
    return Box(
        max(0.0, x1), max(0.0, y1), min(float(frame[0]), x2), min(float(frame[1]), y2), box.label
    )


def _pairs(text: str) -> list[Box]:
    """Qwen2-VL's own form, what stands before it being the label."""
    plain = _CONTROL.sub("", text)
    boxes: list[Box] = []
    end = 0
    for match in itertools.islice(_PAIRS.finditer(plain), MAX_BOXES):
        before = plain[end : match.start()].rpartition("\n")[2].strip(" ,;:")
        numbers = [int(number) for number in match.groups()]
        box = _box({"bbox_2d": numbers, "label": before})
        boxes += [] if box is None else [box]
        end = match.end()
    return boxes


def _entries(text: str) -> Iterator[dict[str, Any]]:
    """The objects that stand in it, as far as they are whole."""
    decoder = json.JSONDecoder(strict=False)
    at = found = vain = 0
    while found < _MAX_OBJECTS and vain < _MAX_VAIN and (at := text.find("{", at)) >= 0:
        try:
            entry, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            # Making the error reads what is before it once more.
            vain += _FAILURE + error.pos - at
            at += 1
        except (ValueError, RecursionError):
            # A number of thousands of digits; nesting without an end
            vain += len(text) - at
            at += 1
        else:
            found += 1
            yield entry


def _within(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """It, when it has a place; else those within it that have."""
    left: list[Any] = [entry]
    while left:
        one = left.pop()
        if isinstance(one, dict) and not any(name in one for name in (*_NAMES, *_POINTS)):
            one = list(one.values())
        if isinstance(one, dict):
            yield one
        elif isinstance(one, list):
            left.extend(reversed(one))


def _box(entry: dict[str, Any]) -> Box | None:
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
