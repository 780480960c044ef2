"""Two frames that show the same in every detail, on clips through a true VP8 encoder."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.attention.likeness import Likeness
from tests.attention.clip_classes import (
    color_clip,
    display_clip,
    lamp_clip,
    object_clip,
    person_clip,
    scene_clip,
    still_clips,
)
from tests.attention.clips import ACROSS, DOWN, Canvas, Clip, frames
from tests.support.rooms import make_frame

SECONDS = 12.0
# The encoder has settled by then.
SETTLED = 4.0


def lcd(contrast: int) -> Clip:
    """Another digit on a small display, 4 s on and 4 s off."""

    def draw(at: float, rng: np.random.Generator, canvas: Canvas) -> Canvas:
        canvas = canvas.copy()
        left, top = ACROSS + 500, DOWN + 240
        cv2.rectangle(canvas.y, (left, top), (left + 120, top + 60), 150, -1)
        text = "21.7" if at % 8 < 4 else "21.1"
        cv2.putText(canvas.y, text, (left + 14, top + 40), 0, 0.9, 150 - contrast, 2, cv2.LINE_AA)
        return canvas

    return Clip(f"digit, contrast {contrast}", 14.0, 1, 2, draw=draw)


def found_alike(clip: Clip) -> list[tuple[float, bool]]:
    """Compare each settled frame with the first of them."""
    kept: Likeness | None = None
    found = []
    for at, image in frames(clip):
        if at < SETTLED:
            continue
        if kept is None:
            kept = Likeness(image)
        else:
            found.append((at, Likeness(image).alike(kept)))
    return found


@pytest.mark.parametrize(
    "clip",
    [c for c in still_clips(SECONDS, (1,)) if c.name.startswith(("noise", "key"))],
    ids=lambda clip: clip.name,
)
def test_a_still_camera_before_a_still_scene(clip: Clip) -> None:
    """Noise, darkness and key frames are no difference."""
    assert [at for at, alike in found_alike(clip) if not alike] == []


@pytest.mark.parametrize(
    "clip",
    [c for c in still_clips(SECONDS, (1,)) if c.name.startswith(("shake 4", "shake 12", "held"))],
    ids=lambda clip: clip.name,
)
def test_a_moving_camera_is_never_alike(clip: Clip) -> None:
    assert [at for at, alike in found_alike(clip) if alike] == []


@pytest.mark.parametrize("contrast", [30, 50, 100])
def test_one_other_digit_is_seen(contrast: int) -> None:
    """While the digit is the other one, each frame differs; else none does. A faint one takes the encoder two frames."""
    found = [(at, alike) for at, alike in found_alike(lcd(contrast)) if at % 4 > 0.9]
    kept_shows_the_first = SETTLED % 8 < 4
    assert [alike for _, alike in found] == [
        (at % 8 < 4) == kept_shows_the_first for at, _ in found
    ]


@pytest.mark.parametrize(
    "clip",
    [
        display_clip(1),
        object_clip(0.005, 25, 1),
        color_clip(2),
        scene_clip(1),
        person_clip(1),
    ],
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
    noise = np.random.default_rng(5)

    def shown(text: str) -> av.VideoFrame:
        planes = np.full((720 * 3 // 2, 1280), 128, np.uint8)
        planes[:720] = 180
        cv2.putText(planes[:720], text, (500, 400), 0, height / 21, 40, 1, cv2.LINE_AA)
        noisy = planes[:720] + noise.normal(0, 3, (720, 1280))
        planes[:720] = np.clip(noisy, 0, 255)
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")

    for _ in range(5):
        first, other = (Likeness(shown(text), detail=True) for text in ("128.50", "126.50"))
        assert not first.alike(other)


def test_another_size_is_another_picture() -> None:
    small, large = make_frame(scene=1), make_frame(scene=1, width=640, height=480)
    assert not Likeness(small.image).alike(Likeness(large.image))
    assert not Likeness(small.image).alike(Likeness(small.image, detail=True))


def test_a_frame_is_like_itself_at_any_size() -> None:
    for width, height in ((2, 2), (16, 16), (320, 240), (240, 320), (1920, 1080)):
        image = make_frame(scene=1, width=width, height=height).image
        assert Likeness(image).alike(Likeness(image))


def test_thin_color_alone_is_seen() -> None:
    """A coloured mark without a difference in brightness."""
    frame = make_frame(scene=1, width=640, height=480)
    planes: NDArray[Any] = frame.image.to_ndarray()
    planes[480:][20:60, :] = 200
    other = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    assert not Likeness(frame.image).alike(Likeness(other))
