"""Draws the packages, letters, screens, signs and clothes of `pictures.toml` as a hand-held camera takes them.

    python3 -m tests.features.builtin.asked.draw FONTS [NAME ...]

FONTS is a folder with the files of `FACES` (Debian's fonts-liberation, fonts-open-sans, fonts-lobster, fonts-comfortaa,
fonts-roboto-slab, fonts-bebas-neue, fonts-dancingscript, fonts-courier-prime, fonts-dseg, fonts-ipaexfont and
fonts-droid-fallback). A picture depends on its table and its name alone.

A face is text in bands. `[paper ink font]` starts a band; in front of a line `#` makes it larger (to three of them), `-` smaller,
`<` puts it left; `|` separates columns; `_` is a rule, `@name` a photograph, `=digits` a barcode.
"""

from __future__ import annotations

import sys
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from server.core import core_dumps

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
PHOTOS = HERE.parent / "photos"
Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Table = dict[str, Any]

FACES = {
    "sans": "LiberationSans-Regular.ttf",
    "bold": "LiberationSans-Bold.ttf",
    "italic": "LiberationSans-BoldItalic.ttf",
    "narrow": "LiberationSansNarrow-Bold.ttf",
    "serif": "LiberationSerif-Regular.ttf",
    "serifb": "LiberationSerif-Bold.ttf",
    "serifi": "LiberationSerif-Italic.ttf",
    "mono": "LiberationMono-Bold.ttf",
    "courier": "Courier Prime.otf",
    "lobster": "lobster.otf",
    "script": "DancingScript-Bold.otf",
    "open": "OpenSans-ExtraBold.ttf",
    "cond": "OpenSans-CondBold.ttf",
    "light": "OpenSans-Regular.ttf",
    "round": "Comfortaa-Bold.ttf",
    "slab": "RobotoSlab-Bold.otf",
    "bebas": "BebasNeue-Bold.otf",
    "segments": "DSEG7Classic-Bold.ttf",
    "gothic": "ipaexg.ttf",
    "mincho": "ipaexm.ttf",
    "droid": "DroidSansFallbackFull.ttf",
}
SIZES = (1.0, 1.5, 2.3, 3.4)
# Parts of photographs that lie behind a thing: name, and left, top, right, bottom as shares
GROUNDS = {
    "wood": ("coffee", 0.55, 0.0, 1.0, 0.3),
    "steel": ("pan", 0.0, 0.55, 0.45, 1.0),
    "felt": ("screwdriver", 0.0, 0.5, 0.55, 1.0),
    "board": ("wrench2", 0.0, 0.6, 1.0, 1.0),
    "desk": ("stuff", 0.0, 0.55, 0.45, 1.0),
    "leaves": ("pumpkin", 0.0, 0.0, 0.45, 0.5),
    "tiles": ("pan", 0.0, 0.0, 0.8, 0.3),
    "cloth": ("aloe", 0.0, 0.6, 0.45, 1.0),
    "slate": ("notebook", 0.9, 0.3, 1.0, 1.0),
}


@dataclass(frozen=True)
class Seeded:
    """Random choices of one picture."""

    rng: np.random.Generator
    table: Table

    def pick(self, key: str, low: float, high: float) -> float:
        drawn = float(self.rng.uniform(low, high))
        return float(self.table.get(key, drawn))


class Painter:
    def __init__(self, fonts: Path) -> None:
        self._fonts = fonts
        self.tables: dict[str, Table] = tomllib.loads((HERE / "pictures.toml").read_text("utf-8"))

    def picture(self, name: str) -> Pixels:
        """The picture of a table, in blue, green, red."""
        table = self.tables[name]
        seeded = Seeded(np.random.default_rng(zlib.crc32(name.encode())), table)
        width, height = table.get("size", (640, 480))
        if table["shape"] == "photo":
            canvas = _cropped(table["photo"], table.get("crop", (0, 0, 1, 1)), width, height)
        else:
            canvas = self._scene(name, seeded, width, height)
        return _taken(canvas, seeded)

    def _scene(self, name: str, seeded: Seeded, width: int, height: int) -> Floats:
        table, rng = seeded.table, seeded.rng
        ground = table.get("ground") or str(rng.choice(sorted(GROUNDS)))
        canvas = _ground(ground, width, height)
        if table["shape"] == "none":
            return canvas
        things = table.get("things", [name])
        for number, thing in enumerate(things):
            other = self.tables[thing]
            item = self._thing(other, np.random.default_rng(zlib.crc32(thing.encode())))
            yaw, pitch = seeded.pick("yaw", -20, 20), seeded.pick("pitch", -10, 10)
            roll = seeded.pick("roll", -6, 6)
            fill = seeded.pick("fill", 0.78, 0.95)
            x, y = table.get("at", (0.5, 0.5))
            if len(things) > 1:
                x = (number + 0.5) / len(things)
            room = width / len(things), float(height)
            quad = _quad(item.shape[1], item.shape[0], (yaw, pitch, roll), room, fill)
            canvas = _placed(canvas, item, quad + np.array([x * width, y * height], np.float32))
        if table.get("hand", rng.random() < 0.3):
            canvas = _hand(
                canvas, rng, table.get("from") or str(rng.choice(["left", "right", "below"]))
            )
        return canvas

    def _thing(self, table: Table, rng: np.random.Generator) -> Pixels:
        """A thing alone, in blue, green, red and opacity."""
        shape, tall = table["shape"], table.get("tall", 1.3)
        if shape == "garment":
            return _garment(table, rng)
        if shape == "lamp":
            return _lamp(table)
        # A round thing shows more of its label than its width.
        round_ = shape in ("can", "bottle", "jar", "tube")
        width = 760
        around, fit = (1.35, 0.66) if round_ else (1.0, 0.92)
        front = self.face(table["face"], round(width * around), round(width * tall), fit)
        bgr = np.asarray(front)[:, :, ::-1].copy()
        if round_:
            return _rounded(bgr, shape, table)
        if shape == "pouch":
            return _creased(bgr, rng)
        if shape == "screen":
            bgr = cv2.copyMakeBorder(bgr, 26, 40, 26, 26, cv2.BORDER_CONSTANT, value=(28, 26, 25))
        if shape == "box":
            return _boxed(bgr)
        return _opaque(bgr)

    def face(self, text: str, width: int, height: int, fit: float) -> Image.Image:
        """Printed bands; a line wider than `fit` of the width is made smaller."""
        bands: list[tuple[list[str], list[str]]] = []
        for line in text.strip("\n").split("\n"):
            if line.startswith("["):
                bands.append((line.strip("[] ").split(), []))
            else:
                bands[-1][1].append(line.strip())
        unit = height / sum(sum(map(_tall, lines)) + 0.5 for _, lines in bands)
        image = Image.new("RGB", (width, height))
        pen, y = ImageDraw.Draw(image), 0.0
        for (paper, ink, font), lines in bands:
            high = (sum(map(_tall, lines)) + 0.5) * unit
            pen.rectangle((0, round(y), width, round(y + high)), fill=paper)
            row = y + 0.25 * unit
            for line in lines:
                self._line(image, line, (row, unit), (ink, font), fit)
                row += _tall(line) * unit
            y += high
        return image

    def _line(
        self,
        image: Image.Image,
        line: str,
        at: tuple[float, float],
        look: tuple[str, str],
        fit: float,
    ) -> None:
        pen, (y, unit), (ink, font), width = ImageDraw.Draw(image), at, look, image.width
        if line.startswith("_"):
            across = (0.05 * width, y + 0.15 * unit, 0.95 * width, y + 0.15 * unit)
            pen.line(across, ink, max(2, round(0.06 * unit)))
            return
        if line[:1] in ("@", "="):
            if line[0] == "@":
                inset = Image.fromarray(_photo(line[1:])[:, :, ::-1])
            else:
                made = zxingcpp.create_barcode(line[1:], zxingcpp.BarcodeFormat.EAN13)
                inset = Image.fromarray(np.asarray(made.to_image(scale=4))).convert("RGB")
            inset.thumbnail((round(0.8 * width), round(_tall(line) * unit * 0.95)))
            image.paste(inset, (round((width - inset.width) / 2), round(y)))
            return
        body = line.lstrip("#-<")
        marks = line[: len(line) - len(body)]
        columns = [one.strip("# ") for one in body.split("|")]
        wanted = unit * (SIZES[marks.count("#")] if "-" not in marks else 0.72)
        face = ImageFont.truetype(self._fonts / FACES[font], max(6, round(wanted)))
        needed = sum(pen.textlength(one, face) for one in columns) + (len(columns) - 1) * wanted
        if needed > fit * width:
            face = face.font_variant(size=max(6, int(wanted * fit * width / needed)))
        middle = y + _tall(line) * unit / 2
        if len(columns) == 1 and "<" not in marks:
            pen.text((width / 2, middle), body, ink, face, "mm")
            return
        lengths = [pen.textlength(one, face) for one in columns]
        gap = (fit * width - sum(lengths)) / max(1, len(columns) - 1)
        x = (1 - fit) / 2 * width
        for one, length in zip(columns, lengths, strict=True):
            pen.text((x, middle), one, ink, face, "lm")
            x += length + gap


def _tall(line: str) -> float:
    """The height of a line in units of common print."""
    if not line:
        return 0.5
    if line[0] in "@=":
        return 5.5 if line[0] == "@" else 2.6
    if line[0] == "_":
        return 0.35
    marks = line[: len(line) - len(line.lstrip("#-<"))]
    return 1.28 * (0.72 if "-" in marks else SIZES[marks.count("#")])


def _photo(name: str) -> Pixels:
    for folder in (PHOTOS, PICTURES):
        bgr = cv2.imread(str(folder / f"{name}.jpg"))
        if bgr is not None:
            return np.asarray(bgr, np.uint8)
    raise FileNotFoundError(name)


def _cropped(name: str, crop: tuple[float, ...], width: int, height: int) -> Floats:
    bgr = _photo(name)
    left, top, right, bottom = crop
    high, wide = bgr.shape[:2]
    part = bgr[round(top * high) : round(bottom * high), round(left * wide) : round(right * wide)]
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _ground(name: str, width: int, height: int) -> Floats:
    if name.startswith("#"):
        red, green, blue = ImageColor.getrgb(name)[:3]
        return np.full((height, width, 3), (blue, green, red), np.float32)
    photo, *crop = GROUNDS[name]
    return np.asarray(
        cv2.GaussianBlur(_cropped(photo, tuple(crop), width, height), (0, 0), 1.5), np.float32
    )


def _opaque(bgr: Pixels) -> Pixels:
    return np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)])


def _rounded(bgr: Pixels, shape: str, table: Table) -> Pixels:
    """A label around a can, a bottle, a jar or a tube, with what closes it."""
    high, wide = bgr.shape[:2]
    out_wide = round(wide / 1.35)
    bend = 0.05 * out_wide
    lid = {"can": 0.03, "jar": 0.14, "bottle": 0.34, "tube": 0.12}[shape]
    top = round(lid * high + bend)
    total = round(top + high + 2 * bend)
    x = (np.arange(out_wide, dtype=np.float32) + 0.5) / out_wide * 2 - 1
    across = np.arcsin(np.clip(x, -0.995, 0.995)) / np.pi * 2
    sag = bend * np.sqrt(1 - x**2)
    rows = np.arange(total, dtype=np.float32)[:, None] - top - sag[None, :]
    columns = np.broadcast_to((across[None, :] * 0.78 + 1) / 2 * wide, rows.shape)
    label = cv2.remap(
        bgr,
        columns.astype(np.float32),
        rows.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    inside = ((rows >= 0) & (rows < high)).astype(np.uint8) * 255
    red, green, blue = ImageColor.getrgb(table.get("lid", "#b8b8b8"))[:3]
    middle = out_wide // 2
    body = np.zeros((total, out_wide, 4), np.uint8)
    if shape == "bottle":
        glass = ImageColor.getrgb(table.get("glass", "#dddddd"))[:3][::-1]
        shoulder = np.array(
            [
                (0, top + 8),
                (out_wide - 1, top + 8),
                (middle + out_wide // 6, top // 2),
                (middle - out_wide // 6, top // 2),
            ]
        )
        cv2.fillPoly(body, [shoulder], (*glass, 255), cv2.LINE_AA)
        cv2.rectangle(
            body,
            (middle - out_wide // 6, 8),
            (middle + out_wide // 6, top // 2),
            (blue, green, red, 255),
            -1,
        )
    else:
        inset = 0 if shape == "can" else out_wide // 40
        cv2.rectangle(
            body, (inset, round(bend)), (out_wide - inset, top + 12), (blue, green, red, 255), -1
        )
        cv2.ellipse(
            body,
            (middle, round(bend)),
            (middle - inset, round(bend)),
            0,
            0,
            360,
            (*(min(255, 25 + one) for one in (blue, green, red)), 255),
            -1,
            cv2.LINE_AA,
        )
    cv2.ellipse(
        body,
        (middle, top),
        (middle, round(bend)),
        0,
        0,
        180,
        (blue, green, red, 255),
        -1,
        cv2.LINE_AA,
    )
    mask = inside[..., None] > 0
    body = np.where(mask, np.dstack([label, inside]), body)
    shade = 0.42 + 0.58 * np.sqrt(np.clip(1 - (0.9 * (x + 0.15)) ** 2, 0, 1))
    shine = 38 * np.exp(-(((x + 0.45) / 0.08) ** 2)) * (0.4 if shape == "tube" else 1)
    lit = body[..., :3].astype(np.float32) * shade[None, :, None] + shine[None, :, None]
    body[..., :3] = np.clip(lit, 0, 255)
    return body


def _hills(rng: np.random.Generator, size: tuple[int, int], width: float) -> Floats:
    """Random heights, so smooth."""
    noise = rng.normal(0, 1, size).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), width), np.float32)


def _slope(heights: Floats, down: int) -> Floats:
    """Return the slopes of heights from left to right, and down; at most 1."""
    slope = np.asarray(cv2.Sobel(heights, cv2.CV_32F, 1, down, ksize=5), np.float32)
    return np.asarray(slope / np.abs(slope).max(), np.float32)


def _creased(bgr: Pixels, rng: np.random.Generator) -> Pixels:
    """A bag: bent rows, and light on its folds."""
    high, wide = bgr.shape[:2]
    hills = _hills(rng, (high, wide), wide / 14)
    hills = hills / np.abs(hills).max()
    y, x = np.mgrid[0:high, 0:wide].astype(np.float32)
    bent = cv2.remap(
        bgr,
        x + 14 * hills,
        y + 12 * hills.T[:1, :1] + 14 * hills,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    slope = _slope(hills, 1)
    lit = (
        bent.astype(np.float32) * (1 + 0.35 * hills[..., None])
        + 70 * np.clip(slope, 0, 1)[..., None]
    )
    return _opaque(np.clip(lit, 0, 255).astype(np.uint8))


def _boxed(bgr: Pixels) -> Pixels:
    """A box's front, and a narrow side in shadow."""
    high, wide = bgr.shape[:2]
    deep, lift = wide // 8, high // 22
    body = np.zeros((high, wide + deep, 4), np.uint8)
    body[:, :wide] = _opaque(bgr)
    side = cv2.resize(bgr[:, -3:], (deep, high)) * 0.55
    y, x = np.mgrid[0:high, 0:deep].astype(np.float32)
    moved = y + lift * (x / deep) * np.where(y < high / 2, -1.0, 1.0)
    body[:, wide:, :3] = side.astype(np.uint8)
    body[:, wide:, 3] = (
        (moved > lift * x / deep) & (y > lift * x / deep) & (y < high - lift * x / deep)
    ) * 255
    return body


PATHS = {
    "shirt": [
        (300, 80),
        (380, 130),
        (460, 80),
        (600, 130),
        (740, 330),
        (640, 400),
        (580, 320),
        (590, 820),
        (170, 820),
        (180, 320),
        (120, 400),
        (20, 330),
        (160, 130),
    ],
    "trousers": [(200, 60), (560, 60), (640, 860), (450, 860), (380, 330), (310, 860), (120, 860)],
    "sock": [(260, 40), (480, 40), (480, 520), (690, 700), (660, 830), (520, 850), (270, 640)],
    "dress": [
        (300, 60),
        (380, 110),
        (460, 60),
        (540, 100),
        (500, 360),
        (690, 860),
        (70, 860),
        (260, 360),
        (220, 100),
    ],
    "tie": [(340, 40), (420, 40), (440, 110), (500, 700), (380, 860), (260, 700), (320, 110)],
    "towel": [(60, 80), (700, 70), (710, 830), (50, 840)],
}


def _garment(table: Table, rng: np.random.Generator) -> Pixels:
    """Clothes laid flat, with folds."""
    high, wide = 900, 760
    colours = [np.array(ImageColor.getrgb(one)[:3][::-1], np.float32) for one in table["cloth"]]
    y, x = np.mgrid[0:high, 0:wide].astype(np.float32)
    pattern = table.get("pattern", "plain")
    on = {
        "plain": np.zeros_like(x, bool),
        "stripes": (y // 42) % 2 == 1,
        "upright": (x // 36) % 2 == 1,
        "checks": ((x // 60) % 2 == 1) ^ ((y // 60) % 2 == 1),
        "dots": np.hypot(x % 90 - 45, y % 90 - 45) < 17,
    }[pattern]
    base = np.where(on[..., None], colours[-1], colours[0])
    folds = _hills(rng, (high, wide), 30) + 1.8 * _hills(rng, (high, wide), 80)
    slope = _slope(folds, 0)
    weave = rng.normal(0, 0.025, (high, wide)).astype(np.float32)
    lit = base * (1 + 0.22 * slope + weave)[..., None]
    mask = np.zeros((high, wide), np.uint8)
    cv2.fillPoly(mask, [np.array(PATHS[table["path"]])], 255, cv2.LINE_AA)
    edge = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 12)[..., None]
    return np.dstack([np.clip(lit * (0.55 + 0.45 * edge), 0, 255).astype(np.uint8), mask])


def _lamp(table: Table) -> Pixels:
    """A table lamp, on or off."""
    body = np.zeros((900, 760, 4), np.uint8)
    shade = (170, 235, 255, 255) if table["on"] else (96, 104, 110, 255)
    cv2.rectangle(body, (365, 420), (395, 800), (40, 60, 90, 255), -1)
    cv2.ellipse(body, (380, 810), (150, 40), 0, 0, 360, (40, 60, 90, 255), -1, cv2.LINE_AA)
    cv2.fillPoly(
        body, [np.array([(270, 120), (490, 120), (600, 440), (160, 440)])], shade, cv2.LINE_AA
    )
    return body


def _quad(
    wide: int, high: int, turned: tuple[float, float, float], room: tuple[float, float], fill: float
) -> Floats:
    """The corners of a turned thing around (0, 0), as large as `fill` of the room."""
    yaw, pitch, roll = np.radians(turned)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    about_z = np.array(
        [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    )
    corners = np.array([(-wide, -high, 0), (wide, -high, 0), (wide, high, 0), (-wide, high, 0)]) / 2
    solid = corners @ (about_z @ about_x @ about_y).T
    flat = solid[:, :2] / (1 + solid[:, 2:] / (2.6 * max(wide, high)))
    flat -= (flat.min(0) + flat.max(0)) / 2
    return np.asarray(flat * min(fill * np.array(room) / np.ptp(flat, axis=0)), np.float32)


def _placed(canvas: Floats, item: Pixels, quad: Floats) -> Floats:
    """A thing on the canvas, with its shadow."""
    high, wide = canvas.shape[:2]
    tall, broad = item.shape[:2]
    shrink = np.hypot(*(quad[1] - quad[0])) / broad
    if shrink < 0.7:
        item = np.asarray(cv2.GaussianBlur(item, (0, 0), 0.35 / shrink), np.uint8)
    matrix = cv2.getPerspectiveTransform(
        np.array([(0, 0), (broad, 0), (broad, tall), (0, tall)], np.float32), quad
    )
    warped = cv2.warpPerspective(item, matrix, (wide, high), flags=cv2.INTER_CUBIC).astype(
        np.float32
    )
    alpha = warped[..., 3:] / 255
    shadow = cv2.GaussianBlur(np.roll(alpha[..., 0], (10, 14), (0, 1)), (0, 0), 12)[..., None]
    return np.asarray(
        canvas * (1 - 0.55 * shadow) * (1 - alpha) + warped[..., :3] * alpha, np.float32
    )


def _hand(canvas: Floats, rng: np.random.Generator, side: str) -> Floats:
    """Fingers that reach into the picture."""
    photo = _photo("hand")
    skin = cv2.inRange(cv2.cvtColor(photo, cv2.COLOR_BGR2YCrCb), (40, 136, 60), (255, 190, 135))
    skin = cv2.morphologyEx(skin, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    item = np.dstack([photo, cv2.GaussianBlur(skin, (0, 0), 1.5)])[:, 60:]
    turns = {"left": 0, "below": 1, "right": 2}[side]
    item = np.ascontiguousarray(np.rot90(item, turns))
    high, wide = canvas.shape[:2]
    size = 0.75 * high / max(item.shape[:2])
    item = cv2.resize(item, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    tall, broad = item.shape[:2]
    reach = float(rng.uniform(0.3, 0.42))
    x = {
        "left": reach * broad - broad,
        "right": wide - reach * broad,
        "below": wide * rng.uniform(0.1, 0.6),
    }[side]
    y = high - reach * tall if side == "below" else high * rng.uniform(0.15, 0.35)
    full = cv2.warpAffine(item, np.array([[1, 0, x], [0, 1, y]], np.float32), (wide, high)).astype(
        np.float32
    )
    alpha = full[..., 3:] / 255
    return np.asarray(canvas * (1 - alpha) + full[..., :3] * alpha, np.float32)


def _taken(canvas: Floats, seeded: Seeded) -> Pixels:
    """Add what a camera adds to a scene: light from a side, glare, blur, noise."""
    table, rng = seeded.table, seeded.rng
    high, wide = canvas.shape[:2]
    y, x = np.mgrid[0:high, 0:wide].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slant = (np.cos(angle) * (x / wide - 0.5) + np.sin(angle) * (y / high - 0.5))[..., None]
    out = (
        canvas
        * (1 + 0.3 * slant)
        * np.array([seeded.pick("warm", 0.86, 1.04), 1, 1.02], np.float32)
    )
    if "glare" in table:
        at_x, at_y, radius = table["glare"]
        spot = np.exp(
            -(((x / wide - at_x) / radius) ** 2 + ((y / high - at_y) / radius / 0.7) ** 2)
        )
        out = out + 235 * spot[..., None]
    out = out * table.get("light", 1.0)
    if "motion" in table:
        kernel = np.zeros((31, 31), np.float32)
        reach = table["motion"]
        kernel[15, 15 - reach // 2 : 16 + reach // 2] = 1
        out = cv2.filter2D(out, -1, kernel / kernel.sum())
    blur = seeded.pick("blur", 0.5, 1.0)
    out = cv2.GaussianBlur(out, (0, 0), blur)
    out = out + rng.normal(0, seeded.pick("noise", 0.4, 1.2), out.shape)
    return np.asarray(np.clip(out, 0, 255), np.uint8)


def main() -> int:
    fonts, *names = sys.argv[1:]
    painter = Painter(Path(fonts))
    for name in names or painter.tables:
        if not painter.tables[name].get("part"):
            cv2.imwrite(
                str(PICTURES / f"{name}.jpg"),
                painter.picture(name),
                [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
            )
    return 0


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())
