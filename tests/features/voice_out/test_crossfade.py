"""Borders between the chunks of a voice: no step where there was one, and no change where there was none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.features.voice_out.speaking import FADE, CrossFade

RATE = 24_000


def tone(frequency: float, count: int, phase: float = 0.0, loud: float = 9000) -> NDArray[np.int16]:
    return np.rint(loud * np.sin(2 * np.pi * frequency * np.arange(count) / RATE + phase)).astype(
        np.int16
    )


def joined(chunks: list[NDArray[np.int16]]) -> NDArray[np.int16]:
    fade = CrossFade()
    return np.concatenate([*(fade.add(chunk) for chunk in chunks), fade.end()])


def steepest(samples: NDArray[np.int16]) -> int:
    """Return the largest step from one sample to the next: a click is one."""
    return int(np.abs(np.diff(samples.astype(np.int32))).max())


@given(
    st.lists(
        st.tuples(st.floats(80, 500), st.integers(200, 2000), st.floats(0, 6.3)),
        min_size=2,
        max_size=6,
    )
)
def test_no_border_has_a_step(parts: list[tuple[float, int, float]]) -> None:
    """Chunks that have nothing to do with each other follow each other without a click."""
    chunks = [tone(*part) for part in parts]
    result = joined(chunks)
    assert len(result) == sum(len(chunk) for chunk in chunks)
    # To bend the largest step that there may be, over 4 ms, takes 300 a sample.
    assert steepest(result) <= max(steepest(chunk) for chunk in chunks) + 320


def test_a_step_would_have_been_found() -> None:
    """By the same measure, without the cross-fade."""
    chunks = [tone(100, 1260), tone(100, 1000, phase=4.7)]
    assert steepest(np.concatenate(chunks)) > 15_000
    assert steepest(joined(chunks)) < 600


@pytest.mark.parametrize("frequency", [100, 440, 3000, 7000])
def test_sound_that_goes_on_is_left_alone(frequency: float) -> None:
    """A network cuts anywhere: such chunks come out bit for bit, but for the beginning and the end."""
    whole = tone(frequency, 6000)
    result = joined(np.split(whole, [1, 3, 480, 481, 2000, 5990]))
    assert np.array_equal(result[FADE:-FADE], whole[FADE:-FADE])


def test_an_utterance_begins_and_ends_in_silence() -> None:
    result = joined([np.full(3000, 8000, np.int16)])
    assert abs(int(result[0])) < 200
    assert abs(int(result[-1])) < 200
    assert np.all(result[FADE:-FADE] == 8000)


def test_little_is_held_back() -> None:
    """4 ms, so that the first sound is not late."""
    fade = CrossFade()
    assert len(fade.add(tone(200, 480))) == 480 - FADE
    assert len(fade.add(np.zeros(0, np.int16))) == 0
    assert len(fade.end()) == FADE
    assert len(fade.end()) == 0


def test_loud_borders_do_not_wrap_around() -> None:
    """Bent samples stay within 16 bits."""
    result = joined([np.full(500, 32_767, np.int16), np.full(500, -32_768, np.int16)])
    assert np.all(np.abs(np.diff(result.astype(np.int32))) < 3000)
