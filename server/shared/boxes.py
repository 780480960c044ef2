"""Read the boxes in a model's answer and convert them to pixels of the camera's frame.

Qwen2.5-VL returns pixels of its picture, Qwen2-VL and Qwen3-VL thousandths of the picture's sides. The format is a JSON
list, `[{"bbox_2d": [x1, y1, x2, y2], "label": "cup"}]` (the models' cookbooks); Qwen2-VL writes `cup(x1,y1),(x2,y2)`
with control tokens around both (its model card), which may have been removed already. Gemma 4 returns thousandths as
`"box_2d": [y1, x1, y2, x2]`. The conversion is exact, because the model does not resize a picture whose sides come from
`resize.smart_resize`.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from server.core.frames import BoxUnit, Region
from server.core.metrics import Metrics
from server.media.picture.grounding import Box

_CORNERS = '"bbox_2d": [x1, y1, x2, y2]'
_SHARES = "from 0 to 1000 across the picture's width and height"
# Words that request boxes in each unit: the numbers, and their meaning
_WORDS = {
    BoxUnit.PIXELS: (_CORNERS, "in pixels of the picture"),
    BoxUnit.THOUSANDTHS: (_CORNERS, _SHARES),
    BoxUnit.THOUSANDTHS_Y_FIRST: ('"box_2d": [y1, x1, y2, x2]', _SHARES),
}
# A box that reaches further beyond the picture is not in the unit of its model.
BEYOND = 0.05
# Maximum boxes of an answer; further ones are ignored.
MAX_BOXES = 100
MAX_LABEL_CHARS = 100
_NAMES = ("bbox_2d", "bbox", "box_2d")
_POINTS = ("point_2d", "point")
_PAIR = r"\((\d{1,4}),\s?(\d{1,4})\)"
_PAIRS = re.compile(f"{_PAIR},\\s?{_PAIR}")
_CONTROL = re.compile(r"<\|[a-z_]{1,40}\|>")
_FENCE = re.compile(r"```(?:json)?\s*(.*?)(?:```|\Z)", re.DOTALL)


def list_form(unit: BoxUnit) -> str:
    """Return the words with which a request asks for a list of boxes."""
    numbers, shares = _WORDS[unit]
    return f'[{{{numbers}, "label": "its name", "sure": 0 to 1}}], coordinates {shares}'


def read_boxes(text: str) -> list[Box]:
    """Return the boxes and points of an answer in the model's unit and order; [] if there are none.

    They may be inside other objects (`{"objects": [...]}`), in code blocks or between words. Other JSON, boxes without
    four numbers, and numbers that are not finite are ignored. Of a truncated list the complete boxes are returned.
    """
    if len(text) > MAX_TEXT_CHARS:
        return []
    blocks = "\n".join(_FENCE.findall(text))
    return _read_json(blocks) or _read_json(text) or _read_pairs(text)


def _read_json(text: str) -> list[Box]:
    found = (
        _parse_box(entry)
        for whole in find_json_objects(text)
        for entry in _find_objects_with_box(whole)
    )
    return list(itertools.islice((box for box in found if box is not None), MAX_BOXES))


def to_frame(
    box: Box, unit: BoxUnit, *, picture: tuple[int, int], frame: tuple[int, int]
) -> Box | None:
    """Convert a box to the frame's pixels, clipped to its edges; None for a box outside the frame.

    `picture`: (width, height) of the model's picture, which shows the whole frame; `frame`: those of the camera's frame.
    """
    sides = picture if unit is BoxUnit.PIXELS else (1000, 1000)
    if unit is BoxUnit.THOUSANDTHS_Y_FIRST:
        box = box.transposed()
    # Divide last, so that rounding does not move a box across the picture's edge.
    x1, x2 = sorted(x * frame[0] / sides[0] for x in (box.x1, box.x2))
    y1, y2 = sorted(y * frame[1] / sides[1] for y in (box.y1, box.y2))
    if x2 < 0 or y2 < 0 or x1 > frame[0] or y1 > frame[1]:
        return None
    return replace(
        box,
        x1=max(0.0, x1),
        y1=max(0.0, y1),
        x2=min(float(frame[0]), x2),
        y2=min(float(frame[1]), y2),
    )


def overshoot(box: Box, unit: BoxUnit, picture: tuple[int, int]) -> float:
    """Return how far a box reaches beyond the picture, as a fraction of its side; 0 for a box inside."""
    wide, high = picture if unit is BoxUnit.PIXELS else (1000, 1000)
    return max(0.0, -box.x1 / wide, -box.y1 / high, (box.x2 - wide) / wide, (box.y2 - high) / high)


def count_overshoots(metrics: Metrics, clamped: int, dropped: int) -> None:
    """Count boxes that were clipped at the picture's edge, and boxes that were dropped."""
    # result: clamped, dropped
    counter = metrics.counter(
        "boxes_beyond_total", "Boxes of models that reached beyond the picture", "result"
    )
    counter.labels("clamped").inc(clamped)
    counter.labels("dropped").inc(dropped)


def to_frame_box(
    box: Box, unit: BoxUnit, picture: tuple[int, int], frame: tuple[int, int], region: Region | None
) -> Box | None:
    """Convert a box in a picture of a frame, or of a region of it, to the frame's pixels; None for a box outside."""
    if overshoot(box, unit, picture) > BEYOND:
        return None
    part = (region.width, region.height) if region is not None else frame
    found = to_frame(box, unit, picture=picture, frame=part)
    return (
        found.moved(region.left, region.top) if found is not None and region is not None else found
    )


def _read_pairs(text: str) -> list[Box]:
    """Return the boxes in Qwen2-VL's format; the text before each is its label."""
    plain = _CONTROL.sub("", text)
    boxes: list[Box] = []
    end = 0
    for match in itertools.islice(_PAIRS.finditer(plain), MAX_BOXES):
        before = plain[end : match.start()].rpartition("\n")[2].strip(" ,;:")
        numbers = [int(digits) for digits in match.groups()]
        box = _parse_box({"bbox_2d": numbers, "label": before})
        boxes += [] if box is None else [box]
        end = match.end()
    return boxes


def _find_objects_with_box(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the object if it has coordinates, else the objects in it that have coordinates."""
    left: list[Any] = [entry]
    while left:
        one = left.pop()
        if isinstance(one, dict) and not any(name in one for name in (*_NAMES, *_POINTS)):
            one = list(one.values())
        if isinstance(one, dict):
            yield one
        elif isinstance(one, list):
            left.extend(reversed(one))


def _parse_box(entry: dict[str, Any]) -> Box | None:
    numbers = next((entry[name] for name in _NAMES if name in entry), None)
    if numbers is None:
        point = next((entry[name] for name in _POINTS if name in entry), None)
        numbers = [*point, *point] if isinstance(point, list) and len(point) == 2 else None
    box = parse_rectangle(numbers)
    if box is None:
        return None
    label = entry.get("label", "")
    text = label if isinstance(label, str) else ""
    shown = "".join(char for char in text if char.isprintable())[:MAX_LABEL_CHARS]
    return replace(box, label=shown, confidence=share(entry.get("sure")))


def parse_rectangle(value: object) -> Box | None:
    """Return the box between two opposite corners, given as four numbers; None for anything else."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    sane = [one for part in value if (one := parse_number(part)) is not None]
    if len(sane) != 4:
        return None
    (x1, x2), (y1, y2) = sorted(sane[::2]), sorted(sane[1::2])
    return Box(x1, y1, x2, y2)


# Maximum characters of a text to read
MAX_TEXT_CHARS = 100_000
_MAX_OBJECTS = 1_000
# Maximum characters read in failed attempts to parse an object, each of which may reach to the end of the text
_MAX_VAIN = 10 * MAX_TEXT_CHARS
_FAILURE = 1_000
# Bound of numbers; coordinates and fractions are far smaller.
_MOST = 1e9


def find_json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the complete JSON objects in a model's text: outer objects as a whole, and objects inside malformed ones. Never raises."""
    if len(text) > MAX_TEXT_CHARS:
        return
    decoder = json.JSONDecoder(strict=False)
    at = found = vain = 0
    while found < _MAX_OBJECTS and vain < _MAX_VAIN and (at := text.find("{", at)) >= 0:
        try:
            entry, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            # Creating the error reads the text before it again.
            vain += _FAILURE + error.pos - at
            at += 1
        except (ValueError, RecursionError):
            # A number with thousands of digits, or too deep nesting
            vain += len(text) - at
            at += 1
        else:
            found += 1
            yield entry


def parse_number(value: object) -> float | None:
    """Return a finite number in the range of coordinates; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_MOST < value < _MOST:
        return None
    return float(value) if math.isfinite(value) else None


def share(value: object) -> float | None:
    """Return a number from 0 to 1, given as fraction or percentage; None for any other value."""
    found = parse_number(value)
    if found is None:
        return None
    if 1 < found <= 100:
        found /= 100
    return min(1.0, max(0.0, found))
