"""Frames of a video, against the published rules (qwen-vl-utils 0.0.14)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.media.picture.encode import MAX_FRAMES, MIN_FRAMES, smart_nframes


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
