"""Brightness, sharpness and motion of drawn frames, read without converting them."""

from __future__ import annotations

from collections.abc import Callable

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.media.picture.planes import (
    SceneAnalyser,
    get_luma_plane,
    measure_edge_sharpness,
    shrink_luma,
)

Luma = NDArray[np.uint8]


def frame_of(luma: Luma, full_range: bool = False) -> av.VideoFrame:
    height, width = luma.shape
    frame = av.VideoFrame(width, height, "yuvj420p" if full_range else "yuv420p")
    plane = frame.planes[0]
    padded = np.full((plane.buffer_size // plane.line_size, plane.line_size), 255, np.uint8)
    padded[:height, :width] = luma
    plane.update(padded.tobytes())
    for chroma in frame.planes[1:]:
        chroma.update(bytes([128]) * chroma.buffer_size)
    return frame


def plain(level: int, width: int = 1280, height: int = 720) -> Luma:
    return np.full((height, width), level, np.uint8)


def page() -> Luma:
    """A printed page."""
    luma, text = plain(220), "Lorem ipsum 0123456789 dolor sit amet consectetur"
    for y in range(28, 720, 28):
        cv2.putText(luma, text, (10, y), 0, 0.55, 30, 1)
    return luma


def label() -> Luma:
    """One object with large letters before an even background."""
    luma = plain(120)
    cv2.rectangle(luma, (400, 250), (900, 450), 220, -1)
    cv2.putText(luma, "PASTA 500 g", (430, 370), 0, 2.0, 30, 5)
    return luma


def smoothed(luma: Luma, sigma: float) -> Luma:
    return np.asarray(cv2.GaussianBlur(luma, (0, 0), sigma), np.uint8)


def noisy(luma: Luma, sigma: float = 3.0) -> Luma:
    noise = np.random.default_rng(1).normal(0, sigma, luma.shape)
    return np.clip(luma + noise, 0, 255).astype(np.uint8)


def test_plane_is_read_in_place_without_its_padding() -> None:
    """A width that FFmpeg pads is read without the padding, and nothing can be written."""
    luma = np.arange(100 * 70, dtype=np.uint32).astype(np.uint8).reshape(70, 100)
    frame = frame_of(luma)
    assert frame.planes[0].line_size > 100
    read = get_luma_plane(frame)
    assert np.array_equal(read, luma)
    assert not read.flags.owndata
    assert not read.flags.writeable


@pytest.mark.parametrize("name", ["bgr24", "nv12"])
def test_formats_of_no_frame_are_refused(name: str) -> None:
    """The sentence names the format."""
    with pytest.raises(ValueError, match=name):
        get_luma_plane(av.VideoFrame(64, 64, name))


@pytest.mark.parametrize(
    ("width", "height", "small"),
    [
        (1280, 720, (90, 160)),
        (720, 1280, (90, 51)),
        (640, 480, (90, 120)),
        (1920, 1080, (90, 160)),
        (100, 40, (40, 100)),
        (4096, 21, (1, 160)),
        (2, 2, (2, 2)),
    ],
)
def test_small_picture_keeps_the_ratio(width: int, height: int, small: tuple[int, int]) -> None:
    assert shrink_luma(plain(7, width, height)).shape == small


@pytest.mark.parametrize("full", [False, True])
def test_brightness_follows_the_range(full: bool) -> None:
    """Black is 0 and white is 1 in limited and in full range."""
    black, white = (0, 255) if full else (16, 235)
    for level, expected in ((black, 0.0), (white, 1.0), ((black + white) // 2, 0.5)):
        scene = SceneAnalyser().read(frame_of(plain(level), full), 0.0)
        assert scene.brightness == pytest.approx(expected, abs=0.01)


def test_black_frame_is_dark_and_a_page_is_not() -> None:
    black = SceneAnalyser().read(frame_of(plain(16)), 0.0)
    assert (black.dark, black.blurred, black.sharpness) == (True, False, 0.0)
    assert not SceneAnalyser().read(frame_of(page()), 0.0).dark


def test_lit_screen_in_a_dark_room_is_not_dark() -> None:
    """A bright part that can be read counts more than the black around it."""
    luma = plain(18)
    luma[200:400, 300:600] = 200
    assert not SceneAnalyser().read(frame_of(luma), 0.0).dark


def test_dark_flag_does_not_flicker() -> None:
    """Between the two thresholds the flag stays what it was."""

    def at(brightness: float) -> av.VideoFrame:
        return frame_of(plain(16 + round(219 * brightness)))

    reader = SceneAnalyser()
    flags = [
        reader.read(at(brightness), float(n)).dark
        for n, brightness in enumerate((0.20, 0.12, 0.09, 0.12, 0.09, 0.16, 0.12))
    ]
    assert flags == [False, False, True, True, True, False, False]


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("draw", [page, label])
def test_sharp_and_blurred_are_told_apart(draw: Callable[[], Luma], noise: bool) -> None:
    """Small print and a single label, with and without sensor noise: sharp up to 1.5 px, blurred from 5 px."""
    luma = draw()
    for sigma, blurred in ((0.7, False), (1.0, False), (1.5, False), (5.0, True), (8.0, True)):
        seen = smoothed(luma, sigma)
        scene = SceneAnalyser().read(frame_of(noisy(seen) if noise else seen), 0.0)
        assert scene.blurred is blurred, f"{sigma} px read as {scene.sharpness:.2f}"


def test_sharpness_falls_with_blur_whatever_the_contrast() -> None:
    """It orders pictures of one scene, and faint print reads like strong print."""
    strong = page()
    faint = (120 + (strong.astype(np.int16) - 120) * 0.5).astype(np.uint8)
    values = []
    for sigma in (0.7, 1.0, 1.5, 2.0, 3.0, 4.0):
        pair = [
            measure_edge_sharpness(seen, shrink_luma(seen))
            for seen in (smoothed(strong, sigma), smoothed(faint, sigma))
        ]
        assert pair[0] is not None
        assert pair[1] == pytest.approx(pair[0], abs=0.06)
        values.append(pair[0])
    assert values == sorted(values, reverse=True)


def test_blurred_flag_does_not_flicker() -> None:
    """Between the two thresholds the flag stays what it was."""
    reader = SceneAnalyser()
    seen = []
    for n, sigma in enumerate((1.0, 2.4, 5.0, 2.4, 1.0)):
        seen.append(reader.read(frame_of(smoothed(label(), sigma)), float(n)))
    assert 0.32 < seen[1].sharpness == seen[3].sharpness < 0.40
    assert [scene.blurred for scene in seen] == [False, False, True, True, False]


def test_plain_wall_is_not_called_blurred() -> None:
    """Without an edge there is no telling."""
    shaded = np.tile(np.linspace(60, 200, 1280).astype(np.uint8), (720, 1))
    scene = SceneAnalyser().read(frame_of(noisy(shaded)), 0.0)
    assert (scene.blurred, scene.sharpness) == (False, 0.0)


def test_motion_is_measured_against_about_a_second_before() -> None:
    """None first; a change shows for a second and then no more."""
    reader = SceneAnalyser()
    grey, white = frame_of(plain(126)), frame_of(plain(235))
    assert reader.read(grey, 0.0).motion is None
    assert reader.read(grey, 0.1).motion == 0.0
    motions = [reader.read(white, 0.5 + n * 0.1).motion for n in range(12)]
    assert motions[0] == pytest.approx(0.5, abs=0.01)
    assert motions[9] == pytest.approx(0.5, abs=0.01)
    assert motions[11] == 0.0


def test_motion_forgets_when_the_camera_turns() -> None:
    """Another shape, a clock that jumps back or a long pause is a new beginning."""
    reader = SceneAnalyser()
    assert reader.read(frame_of(plain(126)), 5.0).motion is None
    assert reader.read(frame_of(plain(126, 720, 1280)), 5.5).motion is None
    assert reader.read(frame_of(plain(126, 720, 1280)), 6.0).motion == 0.0
    assert reader.read(frame_of(plain(126, 720, 1280)), 1.0).motion is None
    assert reader.read(frame_of(plain(235, 720, 1280)), 11.0).motion is not None
    assert reader.read(frame_of(plain(235, 720, 1280)), 30.0).motion is None


@pytest.mark.parametrize(("width", "height"), [(2, 2), (16, 16), (63, 65), (200, 20), (4096, 24)])
def test_tiny_and_odd_frames_are_read(width: int, height: int) -> None:
    luma = np.random.default_rng(2).integers(0, 255, (height, width)).astype(np.uint8)
    scene = SceneAnalyser().read(frame_of(luma), 0.0)
    assert 0 <= scene.brightness <= 1
    assert 0 <= scene.sharpness <= 1


def lit(level: int, side: int) -> Luma:
    """A dark frame with a lit square."""
    luma = plain(17)
    luma[300 : 300 + side, 600 : 600 + side] = level
    return luma


@pytest.mark.parametrize(
    ("name", "luma", "black"),
    [
        ("a covered lens", plain(17), True),
        ("a finger before it, with light around", plain(30), True),
        ("a covered lens with noise", noisy(plain(20), 6.0), True),
        ("a small lamp in the dark", lit(220, 24), False),
        ("a screen in the dark", lit(120, 200), False),
        ("a page in the dark", (page() // 12 + 16).astype(np.uint8), True),
        ("a page with little light", (page() // 6 + 16).astype(np.uint8), False),
        ("a gray wall", plain(120), False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_black_is_where_nothing_can_be_seen(name: str, luma: Luma, black: bool) -> None:
    """Not where a lamp, a display or any edge is; dark is more than that."""
    scene = SceneAnalyser().read(frame_of(luma), 1.0)
    assert scene.black is black
    assert scene.dark or not black
