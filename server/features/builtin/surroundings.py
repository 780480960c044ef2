"""Find all that a picture shows for somebody who looks around: things, people, short print and codes. Blocking."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np

from server.features.builtin.detector import PERSON, ThingFinder
from server.features.builtin.lines import legible
from server.features.builtin.reader import Reader, bounds
from server.media.picture.encode import Bgr, shrink
from server.media.picture.grounding import Box

# Longest side in which print is noticed: letters of 20 px at 1280x720, in 12 ms of a core
_SIDE = 256
# A sign has letters and is short, sure, and not as large as the picture. The largest is read, in 20 ms, with so much
# around it, in shares of its height.
_LETTERS, _CHARS, _SURE, _LARGEST, _MARGIN = 3, 24, 0.95, 0.3, 0.4
# Its words are for questions.
CODE = "code"


@dataclass(frozen=True, slots=True)
class Around:
    """Something in a picture, in its pixels. `name`: a thing's, the same in all languages, or the words of print."""

    kind: Literal["thing", "text", "code"]
    name: str
    box: Box
    sure: bool


# What a look is for beside things: people by their faces takes 50 ms, codes 3.
Extra = Literal["", "signs", "faces"]


def around(
    reader: Reader, things: ThingFinder | None, bgr: Bgr, known: Collection[Box], extra: Extra = ""
) -> list[Around]:
    """Return what a picture shows; `known`: boxes of things that are sure, with their names.

    `extra`: print or faces with codes, too. Raises what the libraries raise.
    """
    found = things.around(bgr, known) if things is not None else ()
    seen = [Around("thing", one.name, one.box, one.sure) for one in found if one.box is not None]
    if extra == "signs":
        return seen + _signs(reader, bgr)
    if extra == "faces":
        seen += [Around("code", CODE, box, True) for box in reader.code_boxes(bgr)]
        if not any(one.name == PERSON for one in seen):
            faces = reader.face_boxes(bgr) or ()
            seen += [Around("thing", PERSON, face, True) for face in faces]
    return seen


def _signs(reader: Reader, bgr: Bgr) -> list[Around]:
    """Read the largest short line of print."""
    height, width = bgr.shape[:2]
    small, scale = shrink(bgr, _SIDE)
    boxes = [bounds(quad / scale) for quad in reader.lines(small) or ()]
    boxes = [box for box in boxes if box.area <= _LARGEST * width * height]
    if not boxes:
        return []
    sign = _sign(reader, bgr, max(boxes, key=lambda box: box.height))
    return [sign] if sign is not None else []


def _sign(reader: Reader, bgr: Bgr, box: Box) -> Around | None:
    margin = _MARGIN * box.height
    left, top = int(max(0, box.x1 - margin)), int(max(0, box.y1 - margin))
    part = bgr[top : int(box.y2 + margin) + 1, left : int(box.x2 + margin) + 1]
    pieces = legible(reader.text(np.ascontiguousarray(part)))[0]
    words = " ".join(piece.text for piece in pieces)
    letters = sum(one.isalnum() for one in words)
    if letters < _LETTERS or len(words) > _CHARS or min(one.score for one in pieces) < _SURE:
        return None
    return Around("text", words, box, True)
