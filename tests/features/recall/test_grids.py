"""Coarse grids of pictures: what counts as another scene, and what does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.features.recall.memory import SIZE, Compared, Usual, differ, grid_of
from server.media.picture import encode


def scene(seed: int = 0) -> NDArray[np.uint8]:
    """A (360, 640, 3) BGR picture with soft texture."""
    ground = np.random.default_rng(seed).integers(60, 190, (12, 20, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(ground, (640, 360), interpolation=cv2.INTER_CUBIC), np.uint8)


def shown(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return grid_of(encode.still(bgr))


def with_thing(
    bgr: NDArray[np.uint8], share: float, color: tuple[int, int, int]
) -> NDArray[np.uint8]:
    side = int((share * 640 * 360) ** 0.5)
    found = bgr.copy()
    cv2.rectangle(found, (300, 150), (300 + side, 150 + side), color, -1)
    return found


def test_a_thing_is_another_scene() -> None:
    """From 1 % of the picture on; of the same lightness, by its color."""
    plain = scene()
    for share, color in ((0.01, (0, 0, 0)), (0.03, (40, 40, 230)), (0.2, (250, 250, 250))):
        assert differ(shown(plain), shown(with_thing(plain, share, color))) == 1.0
    assert shown(plain).shape == (SIZE,)


@pytest.mark.parametrize(
    "change",
    [
        lambda bgr: np.clip(bgr.astype(np.int16) + 25, 0, 255).astype(np.uint8),
        lambda bgr: cv2.warpAffine(
            bgr,
            np.array([[1, 0, 7], [0, 1, -6]], np.float32),
            (640, 360),
            borderMode=cv2.BORDER_REFLECT,
        ),
        lambda bgr: np.clip(bgr + np.random.default_rng(3).normal(0, 12, bgr.shape), 0, 255).astype(
            np.uint8
        ),
    ],
    ids=["lighter", "moved a little", "noise"],
)
def test_light_sway_and_noise_are_no_other_scene(change) -> None:  # type: ignore[no-untyped-def]
    assert differ(shown(scene()), shown(change(scene()))) < 0.5


def test_many_are_compared_at_once() -> None:
    grids = [shown(scene(0)), shown(scene(1)), shown(with_thing(scene(0), 0.05, (0, 0, 0)))]
    assert list(Compared(grids).differ(grids[0])) == [0.0, 1.0, 1.0]


def test_what_moves_all_the_time_is_usual() -> None:
    """A thing that comes is not."""
    rng = np.random.default_rng(2)

    def restless() -> NDArray[np.uint8]:
        bgr = scene()
        bgr[:80] = cv2.resize(rng.integers(0, 255, (4, 20, 3)).astype(np.uint8), (640, 80))
        return bgr

    usual = Usual([shown(restless()) for _ in range(20)])
    again = Compared([shown(restless()) for _ in range(20)])
    assert float(np.median(usual.unlike(again))) < 0.5
    thing = Compared([shown(with_thing(restless(), 0.05, (0, 0, 255)))])
    assert usual.unlike(thing)[0] > 0.9


def test_a_broken_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be decoded"):
        grid_of(b"no picture")
