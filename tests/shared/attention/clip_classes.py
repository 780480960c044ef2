"""The classes of clips: still ones where nothing happens, busy ones, and those where something does."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.shared.attention.clips import (
    ACROSS,
    DOWN,
    HEIGHT,
    WARM_UP,
    WIDTH,
    Canvas,
    Clip,
    Draw,
    Event,
    See,
    View,
    scene,
)

# Seconds from one event to the next, and those within which it has to be seen
APART = 4.0
SEEN_WITHIN = 3.0
F32 = NDArray[np.float32]


# Nothing happens


def _shaken(pixels: float, degrees: float = 0.0) -> See:
    """Each frame elsewhere, by up to so much."""

    def see(at: float, rng: np.random.Generator) -> View:
        across, down, turn = rng.uniform(-1, 1, 3)
        return View(across * pixels, down * pixels, turn * degrees)

    return see


def _flicker(share: float) -> See:
    """Mains light against the frame rate: each frame another brightness."""
    return lambda at, rng: View(gain=1 + share * math.sin(rng.uniform(0, 2 * math.pi)))


def _bands(at: float, rng: np.random.Generator) -> View:
    """Mains light and a rolling shutter: three bands of 4 %, each frame elsewhere."""
    phase = rng.uniform(0, 2 * math.pi)
    rows = 1 + 0.04 * np.sin(np.linspace(0, 6 * math.pi, HEIGHT) + phase)
    return View(rows=rows.astype(np.float32))


def _focus(at: float, rng: np.random.Generator) -> View:
    breath = 0.5 + 0.5 * math.sin(at * 1.1)
    return View(blur=1.2 * breath, zoom=1 + 0.003 * breath)


def _steps(at: float, rng: np.random.Generator) -> View:
    """Automatic exposure goes elsewhere every five seconds."""
    return View(exposure=(1.0, 0.85, 1.2, 0.95)[int(at // 5) % 4])


def _exposure_drift(at: float, rng: np.random.Generator) -> View:
    return View(exposure=1 + 0.25 * math.sin(at / 8))


def light_drift(at: float, rng: np.random.Generator) -> View:
    """The light comes and goes by a fifth in 40 s; what is white is cut off when it is full."""
    return View(gain=1 + 0.2 * math.sin(2 * math.pi * at / 40))


def _daylight(at: float, rng: np.random.Generator) -> View:
    """Clouds: brightness from one side, within half a minute."""
    slope = np.linspace(-0.5, 0.5, HEIGHT) * 0.10 * math.sin(at / 7)
    return View(gain=1 + 0.12 * math.sin(at / 10), rows=(1 + slope).astype(np.float32))


def _held(at: float, rng: np.random.Generator) -> View:
    """In a hand, under mains light, with automatic exposure."""
    across, down, turn, phase = rng.normal(0, 1, 4)
    return View(
        across * 3,
        down * 3,
        turn * 0.1,
        exposure=(1.0, 0.92)[int(at // 7) % 2],
        gain=1 + 0.02 * math.sin(phase * 6),
    )


def _clock(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
    """On a wall: a dial of 100 px with a thin second hand."""
    middle = (ACROSS + 1000, DOWN + 160)
    cv2.circle(canvas.y, middle, 50, 210, -1, cv2.LINE_AA)
    angle = int(at) * math.pi / 30
    end = (round(middle[0] + 42 * math.sin(angle)), round(middle[1] - 42 * math.cos(angle)))
    cv2.line(canvas.y, middle, end, 60, 1, cv2.LINE_AA)
    return canvas


def still_clips(seconds: float, seed: int, fps: int = 2) -> list[Clip]:
    """One of each class."""

    def clip(name: str, **what: object) -> Clip:
        return Clip(name, seconds, seed, fps, **what)  # type: ignore[arg-type]

    return [
        clip("noise 2"),
        clip("noise 5", noise=5.0),
        clip("noise 10", noise=10.0),
        clip("noise 15, dark", noise=15.0, light=0.08),
        clip("flicker 3 %", see=_flicker(0.03)),
        clip("flicker 8 %", see=_flicker(0.08)),
        clip("bands", see=_bands),
        clip("shake 1 px", see=_shaken(1)),
        clip("shake 4 px", see=_shaken(4)),
        clip("shake 12 px, 0.4 degrees", see=_shaken(12, 0.4)),
        clip("focus", see=_focus),
        clip("clock", draw=_clock),
        clip("daylight", see=_daylight),
        clip("held", see=_held),
        clip("key frames", noise=4.0, key_frames=4.0),
        clip("exposure steps", see=_steps),
        clip("exposure drift", see=_exposure_drift),
        clip("light drift", see=light_drift),
    ]


def tripod(at: float, rng: np.random.Generator) -> View:
    """A floor that gives way by 1.5 px, mains light of 3 %, and exposure within 5 %."""
    return View(
        1.5 * math.sin(at * 1.3),
        1.5 * math.cos(at * 0.9),
        gain=1 + 0.03 * math.sin(rng.uniform(0, 2 * math.pi)),
        exposure=1 + 0.05 * math.sin(at * 0.7),
    )


def _near_exposure(at: float, rng: np.random.Generator) -> View:
    return View(exposure=1 + 0.05 * math.sin(at * 0.7))


def tripod_clips(seconds: float, seed: int) -> list[Clip]:
    """Pictures of a camera on a tripod before a scene in which nothing happens."""
    usual = ("noise", "flicker 3", "bands", "key", "shake 1 px")
    clips = [clip for clip in still_clips(seconds, seed) if clip.name.startswith(usual)]
    clips.append(Clip("exposure 5 %", seconds, seed, noise=3.0, see=_near_exposure))
    clips.append(Clip("sway, flicker, exposure", seconds, seed, noise=5.0, see=tripod))
    return clips


# Something happens


def shadow_clip(seconds: float) -> Clip:
    """A soft shadow of 30 % on 10 % of the picture crosses it within 40 s."""

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        mask = np.zeros((HEIGHT // 4, WIDTH // 4), np.float32)
        middle = (round((at * 8) % (WIDTH // 4 + 80)) - 40, 90)
        cv2.ellipse(mask, middle, (38, 48), 0, 0, 360, 0.3, -1)
        soft = cv2.GaussianBlur(mask, (0, 0), 6).astype(np.float32)
        wide = cv2.resize(-soft, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        view = canvas.y[DOWN : DOWN + HEIGHT, ACROSS : ACROSS + WIDTH]
        view[:] = np.clip(view * (1 + wide) + 0.5, 0, 255).astype(np.uint8)
        return canvas

    return Clip("shadow", seconds, draw=draw)


def _box(area: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """left, top, width, height of a box of that share of the picture, somewhere in it; even, for the chroma."""
    height = math.sqrt(area * WIDTH * HEIGHT / 1.3)
    width, tall = round(height * 0.65) * 2, round(height / 2) * 2
    left = int(rng.integers(30, WIDTH - width - 30)) // 2 * 2
    top = int(rng.integers(30, HEIGHT - tall - 30)) // 2 * 2
    return left, top, width, tall


def _placed(canvas: Canvas, box: tuple[int, int, int, int], contrast: float) -> None:
    """Put an object before the scene: its surface has the mean of what it hides, and the contrast."""
    left, top, width, height = box
    view = canvas.y[DOWN + top : DOWN + top + height, ACROSS + left : ACROSS + left + width]
    mean = float(view.mean())
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 2, height // 2), 0, 0, 360, 1.0, -1)
    cv2.rectangle(mask, (0, height // 2), (width, height), 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 1.2).astype(np.float32)
    # A quarter of what lies elsewhere gives it a surface.
    texture = canvas.y[:height, :width].astype(np.float32)
    texture = (texture - texture.mean()) / 4
    surface = mean + (contrast if mean < 128 else -contrast) + texture
    view[:] = np.clip(view + mask * (surface - view) + 0.5, 0, 255).astype(np.uint8)


def _in_turn(name: str, seed: int, draw: Draw, count: int = 4) -> Clip:
    """A clip in which something comes and goes in turn."""
    begin = WARM_UP + 1
    times = [begin + number * APART for number in range(count)]
    events = tuple(Event(at, at + SEEN_WITHIN) for at in times)
    return Clip(name, begin + count * APART, seed, draw=draw, events=events)


def _shown(at: float, count: int = 4) -> int | None:
    """Number of the object that is there: every other interval shows one."""
    number = int((at - WARM_UP - 1) // APART)
    return number // 2 if at >= WARM_UP + 1 and number < count and number % 2 == 0 else None


def object_clip(area: float, contrast: float, seed: int, *, count: int = 4) -> Clip:
    """Objects of a size and a contrast appear and go."""
    boxes = np.random.default_rng(seed * 977 + int(area * 1e4) + int(contrast))
    where = [_box(area, boxes) for _ in range(count)]

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        number = _shown(at, count)
        if number is not None:
            _placed(canvas, where[number], contrast)
        return canvas

    return _in_turn(f"object {area:.1%} {contrast:g}", seed, draw, count)


def slow_clip(seed: int) -> Clip:
    """An object of 5 % at contrast 40 comes within ten seconds."""
    box = _box(0.05, np.random.default_rng(seed))

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        share = min(1.0, (at - WARM_UP - 1) / 10)
        if share <= 0:
            return canvas
        before = canvas.y.copy()
        _placed(canvas, box, 40)
        canvas.y = cv2.addWeighted(canvas.y, share, before, 1 - share, 0).astype(np.uint8)
        return canvas

    begin = WARM_UP + 1
    return Clip("slow", begin + 12, seed, draw=draw, events=(Event(begin, begin + 10),))


def _shift(part: NDArray[np.uint8], levels: int) -> None:
    part[:] = np.clip(part.astype(np.int16) + levels, 0, 255)


def color_clip(seed: int) -> Clip:
    """Something of 2 % changes its color, and not its brightness."""
    boxes = np.random.default_rng(seed * 31)
    where = [_box(0.02, boxes) for _ in range(4)]

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        number = _shown(at)
        if number is None:
            return canvas
        left, top, width, height = (side // 2 for side in where[number])
        rows = slice(DOWN // 2 + top, DOWN // 2 + top + height)
        columns = slice(ACROSS // 2 + left, ACROSS // 2 + left + width)
        _shift(canvas.u[rows, columns], -18)
        _shift(canvas.v[rows, columns], 25)
        return canvas

    return _in_turn("color", seed, draw)


def scene_clip(seed: int) -> Clip:
    """Another scene, and back."""

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        return canvas if _shown(at) is None else scene(seed + 40)

    return _in_turn("other scene", seed, draw)


def moved_clip(seed: int) -> Clip:
    """An object of 3 % goes to another place, and back."""
    box = _box(0.03, np.random.default_rng(seed * 13))
    left, top, width, height = box
    other = (left + width // 2 if left < WIDTH // 2 else left - width // 2, top, width, height)

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        _placed(canvas, box if _shown(at) is None else other, 40)
        return canvas

    return _in_turn("moved", seed, draw)


def person_clip(seed: int) -> Clip:
    """Somebody walks in, stands and goes."""

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        if _shown(at, 2) is not None:
            x = round(min(1.0, (at - WARM_UP - 1) / 1.5) * 500) // 2 * 2
            _placed(canvas, (60 + x, 160, 190, 520), 35)
        return canvas

    return _in_turn("person", seed, draw, 2)


def display_clip(seed: int) -> Clip:
    """Other words on a bright display of 6 %, as many as before."""
    words = ("ROOM 214 OPEN", "GATE 53 CLOSED")

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        left, top = ACROSS + 500, DOWN + 240
        cv2.rectangle(canvas.y, (left, top), (left + 300, top + 190), 190, -1)
        text = words[_shown(at) is not None]
        for row in range(5):
            at_row = (left + 14, top + 34 + row * 34)
            cv2.putText(canvas.y, text[row:] + text[:row], at_row, 0, 0.9, 70, 2, cv2.LINE_AA)
        return canvas

    return _in_turn("display", seed, draw)


def digit_clip(contrast: int, seed: int, *, size: float = 0.9) -> Clip:
    """One other digit on a display of 120×60 px, and back. `size`: 1 is 21 px high."""

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        left, top = ACROSS + 500, DOWN + 240
        cv2.rectangle(canvas.y, (left, top), (left + 120, top + 60), 150, -1)
        text = "21.7" if _shown(at) is None else "21.1"
        at_text = (left + 14, top + 40)
        cv2.putText(canvas.y, text, at_text, 0, size, 150 - contrast, 2, cv2.LINE_AA)
        return canvas

    return _in_turn(f"digit {contrast}, {21 * size:.0f} px", seed, draw)


def lamp_clip(seed: int) -> Clip:
    """A lamp of 0.1 % goes on."""
    rng = np.random.default_rng(seed * 7)
    where = [
        (int(rng.integers(60, WIDTH - 60)), int(rng.integers(60, HEIGHT - 60))) for _ in range(2)
    ]

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        number = _shown(at)
        for lamp, (x, y) in enumerate(where):
            lit = 250 if lamp == number else 40
            cv2.circle(canvas.y, (ACROSS + x, DOWN + y), 17, lit, -1, cv2.LINE_AA)
        return canvas

    clip = _in_turn("lamp", seed, draw)
    return replace(clip, events=clip.events[::2])
