"""Frames of a video, against the published rules (qwen-vl-utils 0.0.14)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.catalogue.geometry import QWEN2_VL, QWEN3_VL
from server.core.frames import Geometry
from server.vision.media import (
    FRAME_MAX_TOKENS,
    FRAME_MIN_TOKENS,
    MAX_FRAMES,
    MIN_FRAMES,
    frame_indices,
    frame_size,
    smart_nframes,
    video_tokens,
)


@pytest.mark.parametrize(
    ("total", "video_fps", "fps", "count"),
    [
        (100, 25, None, 8),
        (250, 30, None, 16),
        (3_000, 30, None, 200),
        (100_000, 30, None, 768),
        (7, 30, None, 4),
        (100, 25, 30, 100),
        (101, 25, 30, 100),
    ],
)
def test_published_numbers_of_frames(
    total: int, video_fps: float, fps: float | None, count: int
) -> None:
    """Two a second unless told otherwise, between 4 and 768, even."""
    assert smart_nframes(total, video_fps, fps=fps) == count


@given(
    st.integers(MIN_FRAMES, 100_000),
    st.floats(0.1, 1_000),
    st.none() | st.floats(0.01, 1_000),
    st.integers(MIN_FRAMES, MAX_FRAMES),
)
def test_the_number_is_even_and_bounded(
    total: int, video_fps: float, fps: float | None, most: int
) -> None:
    """Whatever the video: at least 4, no more than there are or than were allowed, pairs."""
    count = smart_nframes(total, video_fps, fps=fps, max_frames=most)
    assert MIN_FRAMES <= count <= min(total, most)
    assert count % 2 == 0
    indices = frame_indices(total, count)
    assert (indices[0], indices[-1], len(indices)) == (0, total - 1, count)
    assert list(indices) == sorted(set(indices))


def test_a_number_that_is_asked_for_is_made_even() -> None:
    """To the nearest, halves to the even half, as published."""
    assert [smart_nframes(100, 30, nframes=n) for n in (4, 5, 6, 7, 9, 100)] == [4, 4, 6, 8, 8, 100]


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((3, 30), {}, "a video of 3 frames was given; at least 4 are needed"),
        ((-1, 30), {}, "a video of -1 frames"),
        ((100, 0), {}, "a video with 0 frames a second was given; more than 0 and at most 1000"),
        ((100, float("nan")), {}, "a video with nan frames a second"),
        ((100, 30), {"fps": -1}, "a rate of -1 frames a second was given"),
        ((100, 30), {"fps": 1, "nframes": 8}, "were both asked for; give one of them"),
        ((100, 30), {"nframes": 200}, "200 frames of a video of 100 were asked for; 4 to 100"),
        ((9, 30), {"nframes": 9}, None),
        ((9, 30), {"nframes": 3}, None),
        ((9, 30), {"nframes": 2}, "2 frames of a video of 9 were asked for; 4 to 8 are allowed"),
        ((100, 30), {"max_frames": 769}, "4 to 769 frames were asked for; 4 to 768 are allowed"),
        ((100, 30), {"min_frames": 2}, "2 to 768 frames"),
        ((100, 30), {"min_frames": 9, "max_frames": 8}, "9 to 8 frames"),
    ],
)
def test_what_can_not_be_is_refused_with_what_is_allowed(
    arguments: tuple[int, float], options: dict[str, int], says: str | None
) -> None:
    """Each sentence has what was given and what is allowed."""
    if says is None:
        assert smart_nframes(*arguments, **options) in (4, 8)
        return
    with pytest.raises(ValueError, match=says):
        smart_nframes(*arguments, **options)


def test_which_frames() -> None:
    """The ends are always among them."""
    assert frame_indices(10, 4) == (0, 3, 6, 9)
    assert frame_indices(4, 4) == (0, 1, 2, 3)
    assert frame_indices(9, 1) == (0,)
    for total, count in ((4, 5), (0, 0), (4, 0)):
        with pytest.raises(ValueError, match=f"{count} of {total} frames were asked for"):
            frame_indices(total, count)


@pytest.mark.parametrize(
    ("height", "width", "count", "geometry", "size"),
    [
        (720, 1280, 8, QWEN2_VL, (560, 1008)),
        (720, 1280, 768, QWEN2_VL, (336, 644)),
        (480, 640, 4, QWEN2_VL, (476, 644)),
        (90, 160, 8, QWEN2_VL, (252, 448)),
        (1080, 1920, 16, QWEN3_VL, (640, 1152)),
        (720, 1280, 400, QWEN3_VL, (576, 1024)),
        # Here a fraction of a pixel decides.
        (1400, 1449, 414, QWEN3_VL, (736, 768)),
    ],
)
def test_published_sizes_of_frames(
    height: int, width: int, count: int, geometry: Geometry, size: tuple[int, int]
) -> None:
    """The more frames, the smaller each."""
    assert frame_size(height, width, count, geometry) == size


@given(
    st.integers(100, 4_000),
    st.integers(100, 4_000),
    st.integers(2, MAX_FRAMES),
    st.sampled_from([QWEN2_VL, QWEN3_VL]),
    st.integers(1_000, 120_000),
)
def test_a_video_costs_what_was_allowed(
    height: int, width: int, count: int, geometry: Geometry, tokens: int
) -> None:
    """Or the least that frames can have, where there are too many for it."""
    high, wide = frame_size(height, width, count, geometry, tokens=tokens)
    assert high % geometry.factor == wide % geometry.factor == 0
    rows, columns = high // geometry.factor, wide // geometry.factor
    assert rows * columns <= FRAME_MAX_TOKENS
    # A picture enlarged to the minimum is rounded up on both sides.
    least = (rows - 1) * (columns - 1) < FRAME_MIN_TOKENS
    assert least or rows * columns <= tokens / count * 2


def test_tokens_go_by_pairs() -> None:
    """An odd last frame counts as a pair: measured with vLLM, 448x252 is 144 a pair."""
    assert [video_tokens(252, 448, count, QWEN2_VL) for count in (1, 2, 3, 8)] == [
        144,
        144,
        288,
        576,
    ]


def test_nonsense_sizes_are_refused() -> None:
    """With what was given."""
    with pytest.raises(ValueError, match="0 frames for 5 tokens were asked for"):
        frame_size(10, 10, 0, QWEN2_VL, tokens=5)
    with pytest.raises(ValueError, match="each side must be at least 1"):
        frame_size(0, 10, 4, QWEN2_VL)
