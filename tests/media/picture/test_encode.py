"""JPEGs and thumbnails within their bounds."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from numpy.typing import NDArray

from server.media.picture import encode
from server.media.picture.encode import (
    THUMBNAIL_BYTES,
    encode_jpeg,
    encode_thumbnail,
    to_data_url,
)

Bgr = NDArray[np.uint8]


def noise(height: int, width: int) -> Bgr:
    """Create a picture that JPEG compresses worst."""
    return np.random.default_rng(4).integers(0, 256, (height, width, 3)).astype(np.uint8)


def decoded(data: bytes) -> Bgr:
    picture = encode.decode(data)
    assert picture is not None
    return picture


def test_jpeg_gives_the_picture_back() -> None:
    """Same size, and colours in the right order."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = (200, 30, 60)
    picture[:, 32:] = (20, 180, 90)
    back = decoded(encode_jpeg(picture))
    assert back.shape == picture.shape
    assert np.abs(back.astype(int) - picture).mean() < 6


def test_same_picture_gives_the_same_bytes() -> None:
    """The model server's prefix cache counts a picture by its bytes."""
    picture = noise(100, 100)
    assert encode_jpeg(picture) == encode_jpeg(picture.copy())


def test_padded_rows_are_taken() -> None:
    """A view on a wider buffer encodes like a copy of it."""
    view = noise(40, 100)[:, :70]
    assert encode_jpeg(view) == encode_jpeg(np.ascontiguousarray(view))


@pytest.mark.parametrize("shape", [(0, 10, 3), (10, 0, 3), (4, 4, 7)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        encode_jpeg(np.zeros(shape, np.uint8))


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
    assert (
        decoded(encode_thumbnail(np.full((height, width, 3), 90, np.uint8))).shape[:2] == expected
    )


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (320, 320), (2048, 2048)])
def test_thumbnail_never_exceeds_24_kib(height: int, width: int) -> None:
    data = encode_thumbnail(noise(height, width))
    assert len(data) <= THUMBNAIL_BYTES
    assert max(decoded(data).shape) <= 320


def test_data_url_holds_the_bytes() -> None:
    head, _, body = to_data_url(b"\xff\xd8 bytes").partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(body) == b"\xff\xd8 bytes"
