"""Camera clips made by a script: seeded scenes, moved, lit and noised, through a true VP8 encoder as browsers use it."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
I16 = NDArray[np.int16]

WIDTH, HEIGHT = 1280, 720
# Canvas beyond each side, so that a shaken view never sees its end.
ACROSS, DOWN = 64, 40
CANVAS_WIDTH, CANVAS_HEIGHT = WIDTH + 2 * ACROSS, HEIGHT + 2 * DOWN
# Seconds at a clip's beginning that do not count: cameras and gate settle.
WARM_UP = 5.0
# The bit rate that browsers give an idle camera, and one that is awake, by frames a second.
BIT_RATE = {2: 136_000, 10: 400_000, 30: 1_500_000}


@dataclass(slots=True)
class Canvas:
    """The scene before the camera: luma (800, 1408) and U, V (400, 704), in grey levels."""

    y: U8
    u: U8
    v: U8

    def copy(self) -> Canvas:
        return Canvas(self.y.copy(), self.u.copy(), self.v.copy())


def _canvas_of(bgr: U8) -> Canvas:
    planar = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    height = CANVAS_HEIGHT
    quarter = height // 4
    half = (height // 2, CANVAS_WIDTH // 2)
    u = planar[height : height + quarter].reshape(half)
    v = planar[height + quarter :].reshape(half)
    return Canvas(planar[:height].copy(), u.copy(), v.copy())  # type: ignore[arg-type]


@cache
def dead_leaves(seed: int) -> Canvas:
    """Overlapping discs and boxes with sizes by r^-3, textured and lit from one side.

    This has the scale invariance, edges and 1/f spectrum of photographs (Lee, Mumford and Huang 2001, "Occlusion
    models for natural images").
    """
    rng = np.random.default_rng(seed)
    bgr = np.full((CANVAS_HEIGHT, CANVAS_WIDTH, 3), 120, np.uint8)
    for _ in range(1500):
        # The inverse of the distribution of r^-3 between 10 and 250 px
        radius = int(1 / math.sqrt(rng.uniform(1 / 250**2, 1 / 10**2)))
        x, y = int(rng.integers(CANVAS_WIDTH)), int(rng.integers(CANVAS_HEIGHT))
        level = float(np.clip(rng.normal(110, 55), 15, 240))
        tint = np.clip(level + rng.normal(0, 22, 3), 5, 250)
        color = [float(channel) for channel in tint]
        if rng.random() < 0.5:
            cv2.circle(bgr, (x, y), radius, color, -1, cv2.LINE_AA)
        else:
            box = ((x, y), (radius * 1.6, radius * 2.2), float(rng.uniform(0, 180)))
            cv2.fillPoly(bgr, [cv2.boxPoints(box).astype(np.int32)], color, cv2.LINE_AA)
    texture = np.zeros((CANVAS_HEIGHT, CANVAS_WIDTH), np.float32)
    for octave in range(2, 8):
        size = (CANVAS_WIDTH >> octave, CANVAS_HEIGHT >> octave)
        grain = rng.normal(0, 1.2 * octave**0.5, size[::-1]).astype(np.float32)
        texture += cv2.resize(grain, (CANVAS_WIDTH, CANVAS_HEIGHT), interpolation=cv2.INTER_CUBIC)
    light = np.linspace(0.8, 1.1, CANVAS_WIDTH, dtype=np.float32)
    lit = bgr * light[None, :, None] + texture[:, :, None]
    return _canvas_of(np.clip(cv2.GaussianBlur(lit, (0, 0), 0.8), 0, 255).astype(np.uint8))


@cache
def photograph() -> Canvas:
    """The portrait that ships with matplotlib, beside itself, on a wall."""
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    portrait = cv2.imread(str(path))
    assert portrait is not None
    wide = cv2.resize(portrait, (704, CANVAS_HEIGHT), interpolation=cv2.INTER_CUBIC)
    return _canvas_of(np.hstack([wide, wide[::-1, ::-1]]).astype(np.uint8))


def scene(seed: int) -> Canvas:
    """Seed 0 is the photograph, every other one a scene of its own."""
    return photograph() if seed == 0 else dead_leaves(seed)


@dataclass(slots=True)
class View:
    """The camera's position, light and focus in one frame."""

    # Pixels, degrees, share of size
    across: float = 0.0
    down: float = 0.0
    turn: float = 0.0
    zoom: float = 1.0
    # Of the light on the sensor, before its tone curve
    exposure: float = 1.0
    # Of the brightness, evenly and by row
    gain: float = 1.0
    rows: NDArray[np.float32] | None = None
    # Pixels of a Gaussian
    blur: float = 0.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens, and has to be seen."""

    at: float
    until: float


# Gets a canvas of its own
Draw = Callable[[float, np.random.Generator, Canvas], Canvas]
See = Callable[[float, np.random.Generator], View]


@dataclass(frozen=True, slots=True)
class Clip:
    """A recipe: nothing is made before `frames`."""

    name: str
    seconds: float
    seed: int = 1
    fps: int = 2
    noise: float = 2.0
    draw: Draw = lambda at, rng, canvas: canvas
    see: See = lambda at, rng: View()
    # Seconds between forced key frames; 0: none after the first
    key_frames: float = 0.0
    # Share of the light that this scene has
    light: float = 1.0
    events: tuple[Event, ...] = field(default=())


def frames(clip: Clip) -> Iterator[tuple[float, av.VideoFrame]]:
    """The clip as a server decodes it: seconds, frame."""
    decoder = av.CodecContext.create("vp8", "r")
    decoder.thread_count = 1
    for at, packet in _packets(clip):
        for decoded in decoder.decode(packet):
            yield at, decoded


# Most of a clip's cost; tests that compare two ways of watching one clip go through it twice.
@lru_cache(maxsize=1)
def _packets(clip: Clip) -> list[tuple[float, av.Packet[av.VideoStream]]]:
    """The clip as a browser sends it: seconds, packet."""
    sent = []
    rng = np.random.default_rng(1000 + clip.seed)
    base = scene(clip.seed)
    banks = _noise(clip.noise, rng)
    encoder = _encoder(clip.fps)
    every = round(clip.key_frames * clip.fps)
    for number in range(round(clip.seconds * clip.fps)):
        at = number / clip.fps
        planes = _seen(clip.draw(at, rng, base.copy()), clip.see(at, rng), clip.light)
        noisy = [_noised(plane, bank, rng) for plane, bank in zip(planes, banks, strict=True)]
        flat = np.concatenate([plane.ravel() for plane in noisy])
        image = av.VideoFrame.from_ndarray(flat.reshape(-1, WIDTH), format="yuv420p")
        image.pts = number
        image.time_base = Fraction(1, clip.fps)
        if every and number % every == 0:
            image.pict_type = av.video.frame.PictureType.I
        sent += [(at, packet) for packet in encoder.encode(image)]
    return sent


def _encoder(fps: int) -> av.VideoCodecContext:
    """libvpx as WebRTC sets it."""
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height = WIDTH, HEIGHT
    encoder.pix_fmt = "yuv420p"
    encoder.framerate = Fraction(fps)
    encoder.time_base = Fraction(1, fps)
    encoder.bit_rate = BIT_RATE[fps]
    encoder.gop_size = 3000
    encoder.thread_count = 1
    encoder.options = {
        "deadline": "realtime",
        # As browsers set it; above 0 it depends on how busy the machine is.
        "cpu-used": "-6" if fps == 30 else "8",
        "noise-sensitivity": "1",
        "static-thresh": "1",
        "lag-in-frames": "0",
        "minrate": str(BIT_RATE[fps]),
        "maxrate": str(BIT_RATE[fps]),
        "bufsize": str(BIT_RATE[fps]),
        "undershoot-pct": "100",
        "overshoot-pct": "15",
        "qmin": "2",
        "qmax": "56",
    }
    return encoder


def _noise(sigma: float, rng: np.random.Generator) -> list[I16]:
    """Luma, U and V noise of a sensor, larger than the picture: each frame reads another part."""
    sizes = ((HEIGHT + 96, WIDTH + 160), (HEIGHT // 2 + 96, WIDTH // 2 + 160))
    luma, chroma = (
        (rng.normal(0, 1, size) * s) for size, s in zip(sizes, (sigma, sigma / 2), strict=True)
    )
    rounded = np.rint(luma).astype(np.int16), np.rint(chroma).astype(np.int16)
    return [rounded[0], rounded[1], np.ascontiguousarray(rounded[1][::-1])]


def _noised(plane: U8, bank: I16, rng: np.random.Generator) -> U8:
    top, left = int(rng.integers(96)), int(rng.integers(160))
    part = bank[top : top + plane.shape[0], left : left + plane.shape[1]]
    if rng.random() < 0.5:
        part = cv2.flip(part, 1).astype(np.int16, copy=False)
    return np.asarray(cv2.add(plane, part, dtype=cv2.CV_8U), np.uint8)


def _seen(canvas: Canvas, view: View, light: float) -> list[U8]:
    """The planes of the picture (720, 1280), (360, 640), (360, 640) without noise."""
    planes: list[U8] = []
    still = not (view.across or view.down or view.turn) and view.zoom == 1.0
    for plane, share in ((canvas.y, 1.0), (canvas.u, 0.5), (canvas.v, 0.5)):
        width, height = round(WIDTH * share), round(HEIGHT * share)
        left, top = round(ACROSS * share), round(DOWN * share)
        if still:
            seen = plane[top : top + height, left : left + width]
        else:
            turned = cv2.getRotationMatrix2D((width / 2, height / 2), view.turn, view.zoom)
            across, down = view.across * share, view.down * share
            moved = turned @ np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
            moved += np.array([[0, 0, across], [0, 0, down]])
            seen = cv2.warpAffine(plane, moved, (width, height)).astype(np.uint8, copy=False)
        planes.append(seen)
    if view.blur > 0.2:
        planes = [
            cv2.GaussianBlur(plane, (0, 0), max(0.1, view.blur * share)).astype(
                np.uint8, copy=False
            )
            for plane, share in zip(planes, (1.0, 0.5, 0.5), strict=True)
        ]
    if view.exposure * light != 1.0:
        planes[0] = cv2.LUT(planes[0], _tones(view.exposure * light)).astype(np.uint8, copy=False)
    if view.rows is not None or view.gain != 1.0:
        gain: NDArray[np.float32] | float = view.gain
        if view.rows is not None:
            gain = (view.gain * view.rows)[:, None]
        planes[0] = np.clip(planes[0] * np.float32(1) * gain + 0.5, 0, 255).astype(np.uint8)
    return planes


def _tones(exposure: float) -> U8:
    """A camera's curve: gamma 2.2 with a soft shoulder, so more light is more than a gain."""
    level = np.arange(256) / 255
    linear = level**2.2 / (1.35 - 0.35 * level**2.2)
    lit = exposure * linear
    shown = (1.35 * lit / (1 + 0.35 * lit)).clip(0, 1) ** (1 / 2.2)
    return np.rint(255 * shown).astype(np.uint8)
