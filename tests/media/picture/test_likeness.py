"""Two frames that show the same in every detail, on clips through a true VP8 encoder."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.media.picture.likeness import Likeness
from server.media.picture.planes import BufferPool
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
from tests.shared.attention.clips import Clip, View, frames
from tests.support.rooms import make_frame

SECONDS = 12.0
# The encoder has settled by then.
SETTLED = 4.0


def found_alike(clip: Clip) -> list[tuple[float, bool]]:
    """Compare each settled frame with the first of them."""
    scratch = BufferPool()
    kept: Likeness | None = None
    found = []
    for at, image in frames(clip):
        if at < SETTLED:
            continue
        one = Likeness(image, scratch)
        if kept is None:
            kept = one
        else:
            found.append((at, kept.alike(one, scratch)))
    return found


# The others have as much noise, or more than these, and something else.
AT_NIGHT = ("noise 2", "noise 10")


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param(clip, id=clip.name, marks=[pytest.mark.night] * (clip.name in AT_NIGHT))
        for clip in tripod_clips(SECONDS, 1)
    ],
)
def test_a_tripod_before_a_still_scene(clip: Clip) -> None:
    """Noise, darkness, mains light, exposure, key frames and a few pixels of sway are no difference."""
    found = [alike for _, alike in found_alike(clip)]
    assert sum(found) >= 0.7 * len(found)


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
            # One way of each in every run
            marks=[] if swaying is daily else pytest.mark.night,
        )
        for clip, daily in [
            (digit_clip(30, 1), False),
            (digit_clip(50, 2), None),
            (digit_clip(100, 3, size=0.6), True),
            (display_clip(2), False),
            (object_clip(0.02, 25, 1), True),
            (color_clip(3), True),
        ]
        for swaying in (False, True)
    ],
)
def test_no_change_is_missed(clip: Clip, swaying: bool) -> None:
    """From the frame before it until the next one, but for the first, which a faint digit needs to be encoded."""
    if swaying:
        clip = replace(clip, see=tripod, noise=5.0)
    scratch = BufferPool()
    shown = [(at, Likeness(image, scratch)) for at, image in frames(clip)]
    ends = [*(event.at for event in clip.events[1:]), clip.seconds]
    for event, end in zip(clip.events, ends, strict=True):
        kept = [one for at, one in shown if at < event.at][-1]
        after = [one for at, one in shown if event.at + 0.5 <= at < end]
        assert after
        assert not any(kept.alike(one, scratch) for one in after)


@pytest.mark.slow
@pytest.mark.parametrize(
    "clip",
    [display_clip(1), object_clip(0.005, 25, 1), color_clip(2), scene_clip(1), person_clip(1)],
    ids=lambda clip: clip.name,
)
def test_changes_are_seen(clip: Clip) -> None:
    """Something comes with every other event, and goes with the next one: then the frames are alike again."""
    found = found_alike(clip)
    steps = [event.at for event in clip.events]
    for number, (begin, end) in enumerate(pairwise([SETTLED, *steps, clip.seconds])):
        within = [alike for at, alike in found if begin <= at < end]
        assert within
        assert all(alike == (number % 2 == 0) for alike in within), (number, within)


@pytest.mark.slow
def test_a_lamp_is_seen() -> None:
    """One of 0.1 % goes on, another one, and both are off again."""
    found = found_alike(clip := lamp_clip(2))
    first = clip.events[0].at
    assert all(alike for at, alike in found if at < first)
    for event in clip.events:
        assert not any(alike for at, alike in found if event.at <= at < event.until)


@pytest.mark.parametrize("height", [9, 12, 16])
def test_a_small_digit_is_seen_in_detail(height: int) -> None:
    """One of 128.50 and 126.50, a few pixels high, with a camera's noise."""
    noise, scratch = np.random.default_rng(5), BufferPool()

    def shown(text: str) -> av.VideoFrame:
        planes = np.full((720 * 3 // 2, 1280), 128, np.uint8)
        planes[:720] = 180
        cv2.putText(planes[:720], text, (500, 400), 0, height / 21, 40, 1, cv2.LINE_AA)
        noisy = planes[:720] + noise.normal(0, 3, (720, 1280))
        planes[:720] = np.clip(noisy, 0, 255)
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")

    for _ in range(5):
        first, other = (
            Likeness(shown(text), scratch, detail=True) for text in ("128.50", "126.50")
        )
        assert not first.alike(other, scratch)


def test_another_size_is_another_picture() -> None:
    small, large = make_frame(scene=1), make_frame(scene=1, width=640, height=480)
    scratch = BufferPool()
    one = Likeness(small.image, scratch)
    assert not one.alike(Likeness(large.image, scratch), scratch)
    assert not one.alike(Likeness(small.image, scratch, detail=True), scratch)


def test_a_frame_is_like_itself_at_any_size() -> None:
    scratch = BufferPool()
    for width, height in ((2, 2), (16, 16), (320, 240), (240, 320), (1920, 1080)):
        image = make_frame(scene=1, width=width, height=height).image
        assert Likeness(image, scratch).alike(Likeness(image, scratch), scratch)


def test_thin_color_alone_is_seen() -> None:
    """A coloured mark without a difference in brightness."""
    frame = make_frame(scene=1, width=640, height=480)
    planes: NDArray[Any] = frame.image.to_ndarray()
    planes[480:][20:60, :] = 200
    other = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    scratch = BufferPool()
    assert not Likeness(frame.image, scratch).alike(Likeness(other, scratch), scratch)
