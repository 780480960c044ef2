"""Draws what people hold up to a camera: sheets of print, codes, coloured things.

For tests of the built-in engine.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

Bgr = NDArray[np.uint8]
Colour = tuple[int, int, int]

PHOTOS = Path(__file__).with_name("photos")
INK = (30, 28, 28)
PAPER = (222, 228, 230)
WIDTH, HEIGHT = 1280, 720
# Blue, green, red, as OpenCV orders them.
PAINT: dict[str, Colour] = {
    "red": (30, 25, 205),
    "green": (60, 150, 40),
    "blue": (200, 70, 20),
    "yellow": (40, 215, 245),
    "orange": (20, 130, 245),
    "black": (18, 18, 18),
    "white": (245, 245, 245),
    "grey": (128, 128, 128),
    "pink": (190, 150, 250),
    "brown": (30, 70, 130),
    "purple": (140, 40, 110),
}


@dataclass(frozen=True)
class Sheet:
    """Print on paper.

    A line is a row; `|` separates its columns; `#` in front makes it larger, `##` twice as large.
    """

    text: str
    size: int = 30
    columns: tuple[int, ...] = (80, 620, 900)
    font: str = "sans"
    weight: int = 450
    ink: Colour = INK
    paper: Colour = PAPER
    top: int = 70
    leading: float = 1.75


@dataclass(frozen=True)
class Barcode:
    text: str
    at: tuple[int, int] = (760, 200)
    scale: int = 6


@dataclass(frozen=True)
class Disc:
    colour: str
    at: tuple[int, int] = (640, 360)
    radius: int = 130
    # 0 fills it.
    ring: int = 0


@dataclass(frozen=True)
class Box:
    colour: str
    at: tuple[int, int]
    size: tuple[int, int]


@dataclass(frozen=True)
class Stroke:
    """A line through points; `thick` 0 fills what it encloses."""

    colour: str
    points: tuple[tuple[int, int], ...]
    thick: int = 6


@dataclass(frozen=True)
class Photo:
    """A photograph of `photos/`, so wide."""

    name: str
    at: tuple[int, int]
    width: int


Thing = Sheet | Barcode | Disc | Box | Stroke | Photo


@dataclass(frozen=True)
class Scene:
    things: Sequence[Thing] = field(default_factory=tuple)
    ground: Colour = PAPER
    # Degrees to the left; 90, 180 and 270 turn the camera itself.
    turn: int = 0


def photo(name: str) -> Bgr:
    """A photograph of `photos/`, by its name without ending."""
    bgr = cv2.imread(str(PHOTOS / f"{name}.jpg"))
    assert bgr is not None, name
    return np.asarray(bgr, np.uint8)


def draw(scene: Scene) -> Bgr:
    """The picture of a scene, with a camera's noise."""
    bgr = np.full((HEIGHT, WIDTH, 3), scene.ground, np.uint8)
    for thing in scene.things:
        _draw(bgr, thing)
    if scene.turn % 90:
        middle = (WIDTH / 2, HEIGHT / 2)
        matrix = cv2.getRotationMatrix2D(middle, scene.turn, 1.0)
        bgr = np.asarray(
            cv2.warpAffine(
                bgr,
                matrix,
                (WIDTH, HEIGHT),
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.uint8,
        )
    elif scene.turn:
        bgr = np.ascontiguousarray(np.rot90(bgr, scene.turn // 90))
    noise = np.random.default_rng(11).normal(0, 2, bgr.shape)
    return np.clip(bgr + noise, 0, 255).astype(np.uint8)


def _draw(bgr: Bgr, thing: Thing) -> None:
    match thing:
        case Sheet():
            _sheet(bgr, thing)
        case Barcode():
            code = zxingcpp.create_barcode(thing.text, zxingcpp.BarcodeFormat.QRCode)
            made = np.asarray(code.to_image(scale=thing.scale))
            x, y = thing.at
            bgr[y : y + made.shape[0], x : x + made.shape[1]] = made[..., None]
        case Disc():
            cv2.circle(
                bgr, thing.at, thing.radius, PAINT[thing.colour], thing.ring or -1, cv2.LINE_AA
            )
        case Box():
            (x, y), (width, height) = thing.at, thing.size
            cv2.rectangle(bgr, (x, y), (x + width, y + height), PAINT[thing.colour], -1)
        case Stroke():
            points, colour = [np.array(thing.points, np.int32)], PAINT[thing.colour]
            if thing.thick:
                cv2.polylines(bgr, points, False, colour, thing.thick, cv2.LINE_AA)
            else:
                cv2.fillPoly(bgr, points, colour, cv2.LINE_AA)
        case Photo():
            x, y = thing.at
            whole = photo(thing.name)
            size = thing.width, round(whole.shape[0] * thing.width / whole.shape[1])
            bgr[y : y + size[1], x : x + size[0]] = cv2.resize(
                whole, size, interpolation=cv2.INTER_AREA
            )


def _sheet(bgr: Bgr, sheet: Sheet) -> None:
    font = cv2.FontFace(_font(sheet.font))
    y = float(sheet.top)
    for line in sheet.text.strip("\n").split("\n"):
        marks = len(line) - len(line.lstrip("#"))
        size = round(sheet.size * (1, 1.6, 2.4, 3.6)[marks])
        y += size * (sheet.leading - 1 if marks else 0)
        for text, x in zip(line[marks:].split("|"), sheet.columns, strict=False):
            _put(bgr, text.strip(), (x, round(y)), font, size, sheet)
        y += sheet.size * sheet.leading


def _font(name: str) -> str:
    """One of OpenCV's own, or a file of those that matplotlib brings along."""
    if not name.endswith(".ttf"):
        return name
    # Found, not imported: that takes half a second.
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name)


def _put(bgr: Bgr, text: str, at: tuple[int, int], font: Any, size: int, sheet: Sheet) -> None:
    if text:
        cv2.putText(bgr, text, at, sheet.ink, font, size, sheet.weight)
