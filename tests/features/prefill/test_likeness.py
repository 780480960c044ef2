"""Scenes that still show the same in every detail, and others, on clips through a true VP8 encoder."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from server.features.prefill.likeness import SAMPLES, FrameSample, Likeness
from server.shared.attention.planes import BufferPool
from tests.shared.attention.clip_classes import (
    color_clip,
    digit_clip,
    display_clip,
    lamp_clip,
    object_clip,
    person_clip,
    scene_clip,
    tripod,
    tripod_clips,
)
from tests.shared.attention.clips import ACROSS, DOWN, HEIGHT, WIDTH, Canvas, Clip, View, frames
from tests.support.rooms import make_frame

SECONDS = 10.0
# The encoder has settled by then.
SETTLED = 4.0
SCRATCH = BufferPool()


def looks_of(clip: Clip) -> Iterator[tuple[float, list[FrameSample]]]:
    """The newest looks at each time, as many as a scene is known by, ten a second at most."""
    newest: deque[FrameSample] = deque(maxlen=SAMPLES)
    for number, (at, image) in enumerate(frames(clip)):
        if number % max(1, clip.fps // 10):
            continue
        newest.append(FrameSample(image, SCRATCH))
        if len(newest) == SAMPLES:
            yield at, list(newest)


def found_alike(clip: Clip, since: float = 0.0) -> list[tuple[float, bool]]:
    """Compare each later time with the first one from `since` on, when the encoder has settled."""
    since = since or SETTLED + SAMPLES / clip.fps
    settled = [(at, looks) for at, looks in looks_of(clip) if at >= since]
    kept = Likeness(settled[0][1], SCRATCH)
    return [(at, kept.is_match(looks, SCRATCH)) for at, looks in settled[1:]]


# A living scene: things that change in turn, each in a place of its own

# Seconds until the next change, and of these those in which the encoder shows it
APART, ENCODES = 1.4, 0.6
FIRST = 2.0
# Things on a grid of so many rows and columns
ROWS, COLUMNS = 3, 4
WORDS = ("OPEN", "SHUT", "STOP", "EXIT", "SALE", "FREE")


@dataclass(frozen=True)
class Thing:
    """What changes: a digit, a word, a thing that comes, or the colour of one."""

    kind: str
    seed: int
    number: int

    def draw(self, canvas: Canvas, changed: bool) -> None:
        rng = np.random.default_rng([self.seed, self.number])
        row, column = divmod(self.number, COLUMNS)
        left = column * WIDTH // COLUMNS + int(rng.integers(30, 150)) // 2 * 2
        top = row * HEIGHT // ROWS + int(rng.integers(30, 150)) // 2 * 2
        x, y = ACROSS + left, DOWN + top
        # 16 to 19 px high: what a model may read in its smaller picture
        contrast, size = int(rng.choice([50, 70, 100])), float(rng.choice([0.75, 0.9]))
        first, other = rng.choice(10, 2, replace=False)
        word, another = rng.choice(len(WORDS), 2, replace=False)
        if self.kind in ("digit", "word"):
            texts = f"21.{first}", f"21.{other}"
            if self.kind == "word":
                texts = WORDS[word], WORDS[another]
            cv2.rectangle(canvas.y, (x, y), (x + 120, y + 60), 150, -1)
            at, level = (x + 14, y + 40), 150 - contrast
            cv2.putText(canvas.y, texts[changed], at, 0, size, level, 2, cv2.LINE_AA)
        elif changed and self.kind == "thing":
            # 24 to 48 px, half as wide
            height = int(rng.integers(12, 25)) * 2
            around = canvas.y[y : y + height, x : x + height // 2]
            around[:] = np.clip(around + contrast * (1 if around.mean() < 128 else -1.0), 0, 255)
        elif changed:
            part = slice(y // 2, y // 2 + 20), slice(x // 2, x // 2 + 16)
            for plane, shift in ((canvas.u, -18), (canvas.v, 25)):
                plane[part] = np.clip(plane[part].astype(np.int16) + shift, 0, 255)


def alive(at: float, rng: np.random.Generator) -> View:
    """A floor that gives way by 1.5 px, and light that flickers by 3 %."""
    light = 1 + 0.03 * math.sin(rng.uniform(0, 2 * math.pi))
    return View(1.5 * math.sin(at * 1.3), 1.5 * math.cos(at * 0.9), gain=light)


def living(seed: int, changes: int) -> tuple[list[Thing], Clip]:
    """A scene with noise, light that flickers and a floor that gives way, in which so many things change in turn."""
    kinds = ("digit", "word", "thing", "color")
    things = [Thing(kinds[number % 4], seed, number) for number in range(changes)]

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        for number, thing in enumerate(things):
            thing.draw(canvas, changed=at >= FIRST + (2 * number + 1) * APART - 0.001)
        return canvas

    seconds = FIRST + (2 * changes + 1) * APART
    return things, Clip(f"living {seed}", seconds, seed, 30, 7.0, draw, alive)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("seeds", "changes"),
    [(range(1, 2), 5), pytest.param(range(1, 11), 12, marks=pytest.mark.night)],
)
def test_living_scenes(seeds: range, changes: int) -> None:
    """At least four of five times they are alike while nothing changes, and never after a change."""
    found: list[bool] = []
    missed: list[Thing] = []
    for seed in seeds:
        things, clip = living(seed, changes)
        # The last looks of each stretch without a change; times are rounded.
        ends: dict[int, list[FrameSample]] = {}
        for at, looks in looks_of(clip):
            ends[int((at - FIRST + 0.001) // APART)] = looks
        steps = [ends[number] for number in range(2 * changes + 1)]
        alike = [
            Likeness(before, SCRATCH).is_match(after, SCRATCH) for before, after in pairwise(steps)
        ]
        missed += [thing for thing, same in zip(things, alike[::2], strict=True) if same]
        found += alike[1::2]
    assert missed == []
    assert sum(found) >= 0.8 * len(found)


# The others have as much noise, or more than these, and something else; one has most of it together.
AT_NIGHT = ("noise 2", "noise 10", "exposure 5 %", "flicker 3 %", "shake 1 px")


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param(clip, id=clip.name, marks=[pytest.mark.night] * (clip.name in AT_NIGHT))
        for clip in tripod_clips(SECONDS, 1)
        if "dark" not in clip.name
    ],
)
def test_a_tripod_before_a_still_scene(clip: Clip) -> None:
    """Noise, mains light, exposure, key frames and a few pixels of sway are no difference. In the dark there is more noise."""
    found = [alike for _, alike in found_alike(clip)]
    assert sum(found) >= 0.8 * len(found)


def test_a_camera_that_moves_is_not_alike() -> None:
    """By 1 % of the picture each second, seen from where it was."""
    clip = Clip("pan", SECONDS, 1, see=lambda at, rng: View(13 * (at - SETTLED - 1)))
    found = found_alike(clip)
    assert [at for at, alike in found if alike and at > SETTLED + 1] == []


def test_another_light_is_not_alike() -> None:
    clip = Clip("light", SECONDS, 1, see=lambda at, rng: View(gain=1.0 if at < 7 else 0.85))
    assert all(alike == (at < 7) for at, alike in found_alike(clip))


def test_a_picture_that_became_sharp_is_new() -> None:
    """What was out of focus may be read now; the other way round nothing is gained."""
    late = Clip("sharp", SECONDS, 1, see=lambda at, rng: View(blur=2.0 if at < 7 else 0.0))
    # The encoder takes a moment to give the new detail its bits.
    assert [at for at, alike in found_alike(late) if alike and at >= 8.5] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clip", "swaying"),
    [
        pytest.param(
            clip,
            swaying,
            id=f"{clip.name}-{'swaying' if swaying else 'standing'}",
            # One way of most in every run
            marks=[] if swaying is daily else pytest.mark.night,
        )
        for clip, daily in [
            (digit_clip(30, 1), None),
            (digit_clip(50, 2), None),
            (digit_clip(100, 3, size=0.6), True),
            (display_clip(2), False),
            (object_clip(0.02, 25, 1), True),
            (color_clip(3), True),
            (object_clip(0.005, 25, 1), False),
            (scene_clip(1), None),
            (person_clip(1), None),
        ]
        for swaying in (False, True)
    ],
)
def test_no_change_is_missed(clip: Clip, swaying: bool) -> None:
    """Not in the first looks after it, but for the one in which a faint digit is encoded, nor while older ones are among the eight."""
    if swaying:
        clip = replace(clip, see=tripod, noise=5.0)
    shown = list(looks_of(clip))
    ends = [*(event.at for event in clip.events[1:]), clip.seconds]
    for event, end in zip(clip.events, ends, strict=True):
        kept = Likeness([looks for at, looks in shown if at < event.at][-1], SCRATCH)
        after = [looks for at, looks in shown if event.at + 0.5 <= at < end]
        assert after
        assert not any(kept.is_match(looks, SCRATCH) for looks in after)


@pytest.mark.slow
def test_a_lamp_is_seen() -> None:
    """One of 0.1 % goes on, another one, and both are off again."""
    clip = lamp_clip(2)
    found = found_alike(clip, clip.events[0].at - 0.5)
    for event in clip.events:
        assert not any(alike for at, alike in found if event.at <= at < event.until)


def test_another_size_is_another_picture() -> None:
    small, large = make_frame(scene=1), make_frame(scene=1, width=640, height=480)
    one, other = (FrameSample(frame.image, SCRATCH) for frame in (small, large))
    assert not Likeness([one], SCRATCH).is_match([other], SCRATCH)
    assert not Likeness([one, other], SCRATCH).is_match([one], SCRATCH)


def test_a_frame_is_like_itself_at_any_size() -> None:
    for width, height in ((2, 2), (16, 16), (320, 240), (240, 320), (1920, 1080)):
        look = FrameSample(make_frame(scene=1, width=width, height=height).image, SCRATCH)
        assert Likeness([look], SCRATCH).is_match([look], SCRATCH)
