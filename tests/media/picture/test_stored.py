"""A stored picture in a model's size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from server.core.frames import Geometry
from server.features.recall.memory import SIZE, Kept
from server.media.picture import encode
from server.media.picture.prepare import stored_picture
from server.models.geometry import QWEN2_VL, QWEN3_VL


def of(jpeg: bytes, captured_sender: float | None = None) -> Kept:
    grid = np.zeros(SIZE, np.uint8)
    return Kept("f7", 12.5, captured_sender, 1280, 720, jpeg, 10.0, grid)


def kept(width: int = 640, height: int = 360) -> Kept:
    bgr = np.zeros((height, width, 3), np.uint8)
    bgr[:, : width // 2] = (0, 0, 255)
    return of(encode.still(bgr), 1000.5)


@pytest.mark.parametrize(
    ("geometry", "tokens"),
    [(QWEN2_VL, 64), (QWEN2_VL, 128), (QWEN2_VL, 256), (QWEN3_VL, 128), (QWEN3_VL, 256)],
)
def test_it_costs_at_most_its_tokens(geometry: Geometry, tokens: int) -> None:
    """In a size that the model does not change, with its frame's facts, and the same picture."""
    picture = stored_picture(kept(), geometry, tokens)
    assert picture.visual_tokens <= tokens
    assert picture.width % geometry.factor == picture.height % geometry.factor == 0
    assert (picture.frame_id, picture.captured, picture.captured_sender) == ("f7", 12.5, 1000.5)
    assert (picture.source_width, picture.source_height) == (1280, 720)
    assert picture.jpeg is not None
    bgr = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    assert bgr.shape == (picture.height, picture.width, 3)
    assert bgr[5, 5, 2] > 200
    assert bgr[5, -5].max() < 50
    assert picture.thumbnail is None


def test_an_engine_that_counts_no_tokens_gets_it_whole() -> None:
    """Of one pixel a token, as the built-in engine's are, some hundred tokens would be a stamp."""
    picture = stored_picture(kept(), Geometry(1, 1, 4096 * 4096), None)
    assert (picture.width, picture.height, picture.visual_tokens) == (640, 360, 0)


def test_a_small_picture_comes_with_it() -> None:
    """At most 240 pixels and 10 KiB, so that a message can have eight of them."""
    noise = np.random.default_rng(1).integers(0, 255, (360, 640, 3), np.uint8)
    one = of(encode.jpeg(noise))
    small = stored_picture(one, QWEN2_VL, 128, thumbnail=True).thumbnail
    assert small is not None
    assert len(small) <= 10 * 1024
    bgr = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    assert max(bgr.shape[:2]) <= 240


def test_a_broken_picture_is_an_error() -> None:
    """It is ours, so this is a fault of the program."""
    with pytest.raises(ValueError, match="cannot be decoded"):
        stored_picture(of(b"no"), QWEN2_VL, 64)
