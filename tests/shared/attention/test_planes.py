"""Small planes of frames of every shape."""

from __future__ import annotations

import av
import numpy as np
import pytest

from server.shared.attention.planes import BufferPool, Planes


def ramp(width: int, height: int) -> av.VideoFrame:
    """Brighter from left to right, U from top to bottom."""
    luma = np.tile(np.linspace(20, 230, width), (height, 1))
    u = np.tile(np.linspace(60, 200, height // 2)[:, None], (1, width // 2))
    v = np.full_like(u, 90)
    flat = np.concatenate([plane.ravel() for plane in (luma, u, v)]).astype(np.uint8)
    return av.VideoFrame.from_ndarray(flat.reshape(-1, width), format="yuv420p")


@pytest.mark.parametrize(
    ("width", "height"),
    [(1280, 720), (640, 480), (1920, 1080), (320, 240), (160, 90), (64, 36), (2560, 1440)],
)
def test_means_of_any_size(width: int, height: int) -> None:
    """160×90 blocks from left to right, whatever the camera."""
    planes = Planes()
    planes.read(ramp(width, height), BufferPool())
    assert not planes.turned
    assert planes.ratio == pytest.approx(height / width * 16 / 9)
    across = planes.luma.mean(0)
    assert across == pytest.approx(np.linspace(20, 230, 160), abs=3)
    assert planes.fine.mean(0) == pytest.approx(np.linspace(20, 230, 320), abs=4)
    assert planes.chroma[0].mean(1) == pytest.approx(np.linspace(60, 200, 45), abs=5)
    assert planes.chroma[1] == pytest.approx(90, abs=1)
    assert planes.upright() is planes.luma


@pytest.mark.parametrize(("width", "height"), [(720, 1280), (480, 640), (1080, 1920)])
def test_upright_pictures_lie_on_their_side(width: int, height: int) -> None:
    """The longer side is always the wider one, so that blocks are about square."""
    planes = Planes()
    planes.read(ramp(width, height), BufferPool())
    assert planes.turned
    assert planes.luma.mean(1) == pytest.approx(np.linspace(20, 230, 90), abs=4)
    assert planes.chroma[0].mean(0) == pytest.approx(np.linspace(60, 200, 80), abs=4)
    assert planes.upright().shape == (160, 90)
    assert planes.upright().mean(0) == pytest.approx(np.linspace(20, 230, 90), abs=4)


def test_copies_stay() -> None:
    """The next look does not overwrite a copy of the planes."""
    planes = Planes()
    planes.read(ramp(1280, 720), BufferPool())
    kept = Planes()
    kept.copy_from(planes)
    assert kept.has_same_shape(planes)
    planes.read(ramp(720, 1280), BufferPool())
    assert not kept.has_same_shape(planes)
    assert kept.luma.mean(0) == pytest.approx(np.linspace(20, 230, 160), abs=3)
