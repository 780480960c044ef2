"""Answers of a camera: plain values, parsed from untrusted JSON."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from qwen_camera.errors import ServerGone

Json = Mapping[str, Any]


def moment(value: object) -> datetime | None:
    """Parse milliseconds since the epoch; return None for anything else."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return datetime.fromtimestamp(value / 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def number(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def objects(value: object) -> list[Json]:
    """Return the objects in a list; [] for anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def strings(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def numbers(value: object) -> tuple[float, ...]:
    found = [number(one) for one in value] if isinstance(value, list) else []
    return tuple(one for one in found if one is not None)


@dataclass(frozen=True)
class Answer:
    """Answer of a model about one picture. `str()` returns its text."""

    text: str
    # False if the answer was cut at its maximum length
    complete: bool = True
    # Capture time of the picture
    captured_at: datetime | None = None
    # Name of the model; "" if the server does not report it
    model: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Box:
    """A place in the picture."""

    label: str
    # left, top, right, bottom in pixels; None for a point
    box: tuple[float, ...] | None = None
    # x, y in pixels; None for a box
    point: tuple[float, ...] | None = None
    # 0 to 1; None if the model did not return it
    confidence: float | None = None


@dataclass(frozen=True)
class Found(Answer):
    """A place in the picture."""

    # None if the model cannot locate objects; empty if nothing was found
    boxes: tuple[Box, ...] | None = None
    # Size of the picture to which the boxes refer
    width: int = 0
    height: int = 0

    @classmethod
    def read(cls, said: str, facts: Json) -> Found:
        boxes = facts.get("boxes")
        return cls(
            said,
            complete=facts.get("complete") is not False,
            captured_at=moment(facts.get("captured_at")),
            boxes=None if boxes is None else tuple(_box(one) for one in objects(boxes)),
            width=whole(facts.get("width")),
            height=whole(facts.get("height")),
        )


def _box(facts: Json) -> Box:
    box, point = numbers(facts.get("box")), numbers(facts.get("point"))
    return Box(
        text(facts.get("label")),
        box=box if len(box) == 4 else None,
        point=point if len(point) == 2 else None,
        confidence=number(facts.get("confidence")),
    )


@dataclass(frozen=True)
class Earlier(Answer):
    """Answer about the last minutes."""

    # Capture times of the pictures given to the model, oldest first
    seen_at: tuple[datetime, ...] = ()

    @classmethod
    def read(cls, said: str, facts: Json) -> Earlier:
        times = [moment(one.get("captured_at")) for one in objects(facts.get("earlier"))]
        return cls(
            said,
            complete=facts.get("complete") is not False,
            captured_at=moment(facts.get("captured_at")),
            seen_at=tuple(one for one in times if one is not None),
        )


@dataclass(frozen=True)
class Snapshot:
    """Current picture of the camera: filtered, at most 640 pixels."""

    jpeg: bytes = field(repr=False)
    # Age of the frame at the response, milliseconds
    age_ms: float
    # Size of the camera's original frame
    width: int
    height: int


@dataclass(frozen=True)
class Watch:
    """Watch of this program."""

    id: str
    condition: str
    # State at the server: looking, seen, ...
    state: str = ""
    # True if the watch has ended
    over: bool = False
    reason: str = ""

    @classmethod
    def read(cls, facts: Json) -> Watch:
        return cls(
            text(facts.get("id")),
            text(facts.get("condition")),
            text(facts.get("state")),
            facts.get("ended") is True,
            text(facts.get("reason")),
        )


@dataclass(frozen=True)
class Event:
    """Alert of a watch whose condition has become true."""

    # Increases with each alert of the session
    number: int
    # Id of the watch, which may be the person's own
    watch: str
    condition: str
    at: datetime | None
    # 0 to 1
    confidence: float
    reason: str
    # The picture; None if not requested, or withheld by a filter
    jpeg: bytes | None = field(default=None, repr=False)

    @classmethod
    def read(cls, facts: Json, pictures: list[bytes]) -> Event:
        place = facts.get("picture")
        has = isinstance(place, int) and 0 <= place < len(pictures)
        return cls(
            whole(facts.get("number")),
            text(facts.get("watch")),
            text(facts.get("condition")),
            moment(facts.get("at")),
            number(facts.get("confidence")) or 0.0,
            text(facts.get("reason")),
            pictures[whole(place)] if has else None,
        )


@dataclass(frozen=True)
class Access:
    """Access granted by the person."""

    # Name given to this program by the person
    name: str
    # look, watch, events
    scopes: tuple[str, ...]
    expires_at: datetime | None
    # Number of looks made
    looks: int

    @classmethod
    def read(cls, facts: Json) -> Access:
        return cls(
            text(facts.get("name")),
            strings(facts.get("scopes")),
            moment(facts.get("expires_at")),
            whole(facts.get("looks")),
        )


def jpeg_of(data: object) -> bytes:
    """Decode a picture from base64. Raises ServerGone for anything else."""
    try:
        found = base64.b64decode(text(data), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found.startswith(b"\xff\xd8"):
        raise ServerGone("The server sent a picture that is no JPEG. Try again.")
    return found
