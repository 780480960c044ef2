"""The classes of clips: still ones where nothing happens, busy ones, and those where something does."""

from __future__ import annotations

import math

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
    canvas = canvas.copy()
    middle = (ACROSS + 1000, DOWN + 160)
    cv2.circle(canvas.y, middle, 50, 210, -1, cv2.LINE_AA)
    angle = int(at) * math.pi / 30
    end = (round(middle[0] + 42 * math.sin(angle)), round(middle[1] - 42 * math.cos(angle)))
    cv2.line(canvas.y, middle, end, 60, 1, cv2.LINE_AA)
    return canvas


def still_clips(seconds: float, seeds: tuple[int, ...], fps: int = 2) -> list[Clip]:
    """Each class once for each seed."""

    def clip(name: str, seed: int, **what: object) -> Clip:
        return Clip(name, seconds, seed, fps, **what)  # type: ignore[arg-type]

    return [
        each
        for seed in seeds
        for each in (
            clip("noise 2", seed),
            clip("noise 5", seed, noise=5.0),
            clip("noise 10", seed, noise=10.0),
            clip("noise 15, dark", seed, noise=15.0, light=0.08),
            clip("flicker 3 %", seed, see=_flicker(0.03)),
            clip("flicker 8 %", seed, see=_flicker(0.08)),
            clip("bands", seed, see=_bands),
            clip("shake 1 px", seed, see=_shaken(1)),
            clip("shake 4 px", seed, see=_shaken(4)),
            clip("shake 12 px, 0.4 degrees", seed, see=_shaken(12, 0.4)),
            clip("focus", seed, see=_focus),
            clip("clock", seed, draw=_clock),
            clip("daylight", seed, see=_daylight),
            clip("held", seed, see=_held),
            clip("key frames", seed, noise=4.0, key_frames=4.0),
            clip("exposure steps", seed, see=_steps),
            clip("exposure drift", seed, see=_exposure_drift),
            clip("light drift", seed, see=light_drift),
        )
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
    clips = [clip for clip in still_clips(seconds, (seed,)) if clip.name.startswith(usual)]
    clips.append(Clip("exposure 5 %", seconds, seed, noise=3.0, see=_near_exposure))
    clips.append(Clip("sway, flicker, exposure", seconds, seed, noise=5.0, see=tripod))
    return clips


# Much moves, nothing happens


def _television(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
    """1 % of the picture shows another scene, cut every two seconds."""
    canvas = canvas.copy()
    other = scene(90 + int(at // 2) % 3)
    width, height = 128, 72
    top, left = DOWN + 100, ACROSS + 700
    step = int(at * 20) % 300
    shown = other.y[top : top + height * 4 : 4, left - step : left - step + width * 4 : 4]
    canvas.y[top : top + height, left : left + width] = shown
    return canvas


def _leaves(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
    """6 % of the picture sways by up to 8 px."""
    canvas = canvas.copy()
    width, height = 300, 184
    top, left = DOWN + 80, ACROSS + 150
    sway = 5 * math.sin(at * 3.1) + rng.normal(0, 1.5)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    # Not at the border
    fall = np.sin(np.pi * x / width) * np.sin(np.pi * y / height)
    part = canvas.y[top : top + height, left : left + width].copy()
    moved = cv2.remap(part, (x + sway * fall).astype(np.float32), y, cv2.INTER_LINEAR)
    canvas.y[top : top + height, left : left + width] = moved
    return canvas


def _shadow(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
    """A soft shadow of 30 % on 10 % of the picture crosses it within 40 s."""
    mask = np.zeros((HEIGHT // 4, WIDTH // 4), np.float32)
    middle = (round((at * 8) % (WIDTH // 4 + 80)) - 40, 90)
    cv2.ellipse(mask, middle, (38, 48), 0, 0, 360, 0.3, -1)
    return _shaded(canvas, -cv2.GaussianBlur(mask, (0, 0), 6).astype(np.float32), gain=True)


def busy_clips(seconds: float, seeds: tuple[int, ...], fps: int = 2) -> list[Clip]:
    ways = (("television", _television), ("leaves", _leaves), ("shadow", _shadow))
    return [Clip(n, seconds, seed, fps, draw=draw) for seed in seeds for n, draw in ways]


# Something happens


def _shaded(canvas: Canvas, mask: F32, *, gain: bool = False) -> Canvas:
    """Add a mask of the picture's ratio to the luma, in grey levels, or as a gain."""
    canvas = canvas.copy()
    wide = cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    view = canvas.y[DOWN : DOWN + HEIGHT, ACROSS : ACROSS + WIDTH]
    lit = view * (1 + wide) if gain else view + wide
    view[:] = np.clip(lit + 0.5, 0, 255).astype(np.uint8)
    return canvas


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


def _events(count: int, what: str, area: float, contrast: float) -> tuple[Event, ...]:
    """Coming and going in turn."""
    begin = WARM_UP + 1
    times = [begin + number * APART for number in range(count)]
    return tuple(Event(at, at + SEEN_WITHIN, what, area, contrast) for at in times)


def _shown(at: float, count: int) -> int | None:
    """Number of the object that is there: every other interval shows one."""
    number = int((at - WARM_UP - 1) // APART)
    return number // 2 if at >= WARM_UP + 1 and number < count and number % 2 == 0 else None


def object_clip(
    area: float, contrast: float, seed: int, *, count: int = 4, see: See | None = None
) -> Clip:
    """Objects of a size and a contrast appear and go."""
    boxes = np.random.default_rng(seed * 977 + int(area * 1e4) + int(contrast))
    where = [_box(area, boxes) for _ in range(count)]

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        number = _shown(at, count)
        if number is None:
            return canvas
        canvas = canvas.copy()
        _placed(canvas, where[number], contrast)
        return canvas

    name = f"object {area:.1%} {contrast:g}"
    events = _events(count, "object", area, contrast)
    seconds = WARM_UP + 1 + count * APART
    return Clip(name, seconds, seed, draw=draw, see=see or (lambda at, rng: View()), events=events)


def slow_clip(seed: int) -> Clip:
    """An object of 5 % at contrast 40 comes within ten seconds."""
    box = _box(0.05, np.random.default_rng(seed))

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        share = min(1.0, (at - WARM_UP - 1) / 10)
        if share <= 0:
            return canvas
        there = canvas.copy()
        _placed(there, box, 40)
        there.y = cv2.addWeighted(there.y, share, canvas.y, 1 - share, 0).astype(np.uint8)
        return there

    begin = WARM_UP + 1
    return Clip("slow", begin + 12, seed, draw=draw, events=(Event(begin, begin + 10, "slow"),))


def _shift(part: NDArray[np.uint8], levels: int) -> None:
    part[:] = np.clip(part.astype(np.int16) + levels, 0, 255)


def color_clip(seed: int, area: float = 0.02) -> Clip:
    """Something of 2 % changes its color, and not its brightness."""
    count = 4
    boxes = np.random.default_rng(seed * 31)
    where = [_box(area, boxes) for _ in range(count)]

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        number = _shown(at, count)
        if number is None:
            return canvas
        canvas = canvas.copy()
        left, top, width, height = (side // 2 for side in where[number])
        rows = slice(DOWN // 2 + top, DOWN // 2 + top + height)
        columns = slice(ACROSS // 2 + left, ACROSS // 2 + left + width)
        _shift(canvas.u[rows, columns], -18)
        _shift(canvas.v[rows, columns], 25)
        return canvas

    seconds = WARM_UP + 1 + count * APART
    return Clip("color", seconds, seed, draw=draw, events=_events(count, "color", area, 0))


def scene_clip(seed: int) -> Clip:
    """Another scene, and back."""

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        return canvas if _shown(at, 4) is None else scene(seed + 40)

    seconds = WARM_UP + 1 + 4 * APART
    return Clip("other scene", seconds, seed, draw=draw, events=_events(4, "other scene", 1, 0))


def moved_clip(seed: int) -> Clip:
    """An object of 3 % goes to another place, and back."""
    box = _box(0.03, np.random.default_rng(seed * 13))
    left, top, width, height = box
    other = (left + width // 2 if left < WIDTH // 2 else left - width // 2, top, width, height)

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        canvas = canvas.copy()
        _placed(canvas, box if _shown(at, 4) is None else other, 40)
        return canvas

    seconds = WARM_UP + 1 + 4 * APART
    return Clip("moved", seconds, seed, draw=draw, events=_events(4, "moved", 0.03, 40))


def person_clip(seed: int) -> Clip:
    """Somebody walks in, stands and goes."""

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        if _shown(at, 2) is None:
            return canvas
        canvas = canvas.copy()
        x = round(min(1.0, (at - WARM_UP - 1) / 1.5) * 500) // 2 * 2
        _placed(canvas, (60 + x, 160, 190, 520), 35)
        return canvas

    seconds = WARM_UP + 1 + 2 * APART
    return Clip("person", seconds, seed, draw=draw, events=_events(2, "person", 0.1, 35))


def display_clip(seed: int) -> Clip:
    """Other words on a bright display of 6 %, as many as before."""
    words = ("ROOM 214 OPEN", "GATE 53 CLOSED")

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        canvas = canvas.copy()
        left, top = ACROSS + 500, DOWN + 240
        cv2.rectangle(canvas.y, (left, top), (left + 300, top + 190), 190, -1)
        text = words[_shown(at, 4) is not None]
        for row in range(5):
            at_row = (left + 14, top + 34 + row * 34)
            cv2.putText(canvas.y, text[row:] + text[:row], at_row, 0, 0.9, 70, 2, cv2.LINE_AA)
        return canvas

    seconds = WARM_UP + 1 + 4 * APART
    return Clip("display", seconds, seed, draw=draw, events=_events(4, "display", 0.06, 0))


def digit_clip(contrast: int, seed: int, *, size: float = 0.9) -> Clip:
    """One other digit on a display of 120×60 px, and back. `size`: 1 is 21 px high."""

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        canvas = canvas.copy()
        left, top = ACROSS + 500, DOWN + 240
        cv2.rectangle(canvas.y, (left, top), (left + 120, top + 60), 150, -1)
        text = "21.7" if _shown(at, 4) is None else "21.1"
        at_text = (left + 14, top + 40)
        cv2.putText(canvas.y, text, at_text, 0, size, 150 - contrast, 2, cv2.LINE_AA)
        return canvas

    seconds = WARM_UP + 1 + 4 * APART
    events = _events(4, "digit", 0.0008, contrast)
    return Clip(f"digit {contrast}, {21 * size:.0f} px", seconds, seed, draw=draw, events=events)


def lamp_clip(seed: int) -> Clip:
    """A lamp of 0.1 % goes on."""
    rng = np.random.default_rng(seed * 7)
    where = [
        (int(rng.integers(60, WIDTH - 60)), int(rng.integers(60, HEIGHT - 60))) for _ in range(2)
    ]

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        number = _shown(at, 4)
        canvas = canvas.copy()
        for lamp, (x, y) in enumerate(where):
            lit = 250 if lamp == number else 40
            cv2.circle(canvas.y, (ACROSS + x, DOWN + y), 17, lit, -1, cv2.LINE_AA)
        return canvas

    seconds = WARM_UP + 1 + 4 * APART
    events = _events(4, "lamp", 0.001, 200)[::2]
    return Clip("lamp", seconds, seed, draw=draw, events=events)
