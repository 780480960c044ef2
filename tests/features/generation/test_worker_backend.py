"""Outputs of pipelines and models in any form become frames and samples; needs no model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from server.features.generation.worker.backend import (
    BackendError,
    convert_rgb_frames,
    to_sound,
    to_uint8,
)

# Three frames of 4x6 pixels: red, green, blue.
VIDEO = np.zeros((3, 4, 6, 3), np.float32)
for _at in range(3):
    VIDEO[_at, ..., _at] = 1.0


class Tensor:
    """As torch has it."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __getattr__(self, name: str) -> Callable[[], Any]:
        if name in ("detach", "cpu", "float"):
            return lambda: self
        if name == "numpy":
            return lambda: self._array
        raise AttributeError(name)


@pytest.mark.parametrize(
    "made",
    [
        VIDEO,
        VIDEO[None],
        [VIDEO],
        list(VIDEO),
        [list(VIDEO)],
        (VIDEO * 255).astype(np.uint8),
        [Image.fromarray((one * 255).astype(np.uint8)) for one in VIDEO],
        np.moveaxis(VIDEO, -1, 1),
        np.moveaxis(VIDEO, -1, 0),
        Tensor(np.moveaxis(VIDEO, -1, 1)[None]),
        [Tensor(np.moveaxis(one, -1, 0)) for one in VIDEO],
        np.concatenate([VIDEO, np.ones((3, 4, 6, 1), np.float32)], -1),
    ],
)
def test_frames_of_every_form(made: Any) -> None:
    """Arrays, tensors, pictures, lists, channels first or last: three frames of RGB."""
    frames = list(convert_rgb_frames(made))
    assert [frame.shape for frame in frames] == [(4, 6, 3)] * 3
    assert [tuple(frame[0, 0]) for frame in frames] == [*((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    assert all(frame.flags.c_contiguous and frame.dtype == np.uint8 for frame in frames)


@pytest.mark.parametrize("made", ["a path", None, np.zeros((2, 2)), np.zeros((2, 5, 6, 7))])
def test_what_is_no_video(made: Any) -> None:
    """Said, not shown as noise."""
    with pytest.raises(BackendError, match="did not return a video"):
        list(convert_rgb_frames(made))


def test_pictures_that_are_no_numbers() -> None:
    """NaN is refused with a reason; values a little out of range are clipped."""
    with pytest.raises(BackendError, match="NaN"):
        to_uint8(np.full((2, 2, 3), np.nan, np.float32))
    assert to_uint8(np.full((1, 1, 3), 1.2, np.float32)).max() == 255


def test_samples_of_every_form() -> None:
    """One channel or two, with ones in front: 16 bit, channels in turn."""
    wave = np.asarray([0.0, 0.5, -1.0, 2.0], np.float32)
    for made in (wave, wave[None], [Tensor(wave[None, None])]):
        sound = to_sound(made, 8000)
        assert (sound.rate, sound.channels) == (8000, 1)
        assert np.frombuffer(sound.pcm, "<i2").tolist() == [0, 16384, -32767, 32767]
    both = to_sound(np.stack([wave, -wave]), 8000)
    assert both.channels == 2
    assert np.frombuffer(both.pcm, "<i2").tolist()[:4] == [0, 0, 16384, -16384]
    for bad, words in (
        (np.zeros((5, 9)), "did not return audio"),
        ([], "did not return audio"),
        (np.asarray([np.nan]), "NaN"),
    ):
        with pytest.raises(BackendError, match=words):
            to_sound(bad, 8000)
