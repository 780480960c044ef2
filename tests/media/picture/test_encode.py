"""JPEGs and thumbnails within their bounds."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.media.picture import encode
from server.media.picture.encode import (
    MAX_FRAMES,
    MIN_FRAMES,
    THUMBNAIL_BYTES,
    data_url,
    jpeg,
    smart_nframes,
    thumbnail,
)

Bgr = NDArray[np.uint8]


def noise(height: int, width: int) -> Bgr:
    """Create a picture that JPEG compresses worst."""
    return np.random.default_rng(4).integers(0, 256, (height, width, 3)).astype(np.uint8)


def decoded(data: bytes) -> Bgr:
    picture = encode.decoded(data)
    assert picture is not None
    return picture


def test_jpeg_gives_the_picture_back() -> None:
    """Same size, and colours in the right order."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = (200, 30, 60)
    picture[:, 32:] = (20, 180, 90)
    back = decoded(jpeg(picture))
    assert back.shape == picture.shape
    assert np.abs(back.astype(int) - picture).mean() < 6


def test_same_picture_gives_the_same_bytes() -> None:
    """The model server's prefix cache counts a picture by its bytes."""
    picture = noise(100, 100)
    assert jpeg(picture) == jpeg(picture.copy())


def test_padded_rows_are_taken() -> None:
    """A view on a wider buffer encodes like a copy of it."""
    view = noise(40, 100)[:, :70]
    assert jpeg(view) == jpeg(np.ascontiguousarray(view))


@pytest.mark.parametrize("shape", [(0, 10, 3), (10, 0, 3), (4, 4, 7)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        jpeg(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (720, 1280, (180, 320)),
        (1280, 720, (320, 180)),
        (100, 100, (100, 100)),
        (320, 321, (319, 320)),
        (1, 4096, (1, 320)),
        (1, 1, (1, 1)),
    ],
)
def test_thumbnail_keeps_the_ratio(height: int, width: int, expected: tuple[int, int]) -> None:
    """Small pictures stay as they are."""
    assert decoded(thumbnail(np.full((height, width, 3), 90, np.uint8))).shape[:2] == expected


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (320, 320), (2048, 2048)])
def test_thumbnail_never_exceeds_24_kib(height: int, width: int) -> None:
    data = thumbnail(noise(height, width))
    assert len(data) <= THUMBNAIL_BYTES
    assert max(decoded(data).shape) <= 320


def test_data_url_holds_the_bytes() -> None:
    head, _, body = data_url(b"\xff\xd8 bytes").partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(body) == b"\xff\xd8 bytes"


# Frames of a video, against the published rules (qwen-vl-utils 0.0.14)


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
