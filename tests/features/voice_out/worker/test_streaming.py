"""The moments at which frames are decoded, and how their sound is joined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.features.voice_out.worker.__main__ import compute_exclusive_times, measure_lateness
from server.features.voice_out.worker.streaming import Overlap, SynthesisOptions, Window, Windows

UPSAMPLE = 1920


def sound(begin: int, end: int) -> NDArray[np.float32]:
    """The sound of frames as a whole has it: each sample is known by its value."""
    return np.arange(begin * UPSAMPLE, end * UPSAMPLE, dtype=np.float32)


def windows(options: SynthesisOptions, frames: int) -> list[Window]:
    made = Windows(options)
    found = [window for _ in range(frames) if (window := made.add()) is not None]
    last = made.end()
    assert made.end() is None
    return [*found, last] if last is not None else found


def test_a_number_out_of_range_is_told_with_the_range() -> None:
    with pytest.raises(ValueError, match=r"overlap_samples is -1. Allowed: 0 to [\d,]+"):
        SynthesisOptions.read("overlap_samples=-1")


def test_the_first_chunk_is_smaller() -> None:
    found = windows(SynthesisOptions(), 20)
    assert [window.new for window in found] == [2, 8, 8, 2]
    assert found[2] == Window(0, 18, 8)


@given(
    st.builds(
        SynthesisOptions,
        emit_every_frames=st.integers(1, 30),
        first_chunk_frames=st.integers(1, 30),
        decode_window_frames=st.integers(30, 90),
        overlap_samples=st.integers(0, 4800),
    ),
    st.integers(0, 200),
)
def test_all_sound_comes_once_and_in_order(options: SynthesisOptions, frames: int) -> None:
    overlap = Overlap(options.overlap_samples)
    parts = [
        overlap.add(sound(window.begin, window.end), window.new * UPSAMPLE)
        for window in windows(options, frames)
    ]
    whole = np.concatenate([np.zeros(0, np.float32), *parts, overlap.end()])
    # Windows that agree are blended with themselves.
    assert len(whole) == frames * UPSAMPLE
    assert np.allclose(whole, sound(0, frames), rtol=1e-6)


@given(st.integers(1, 300))
def test_no_window_is_longer_than_allowed(frames: int) -> None:
    options = SynthesisOptions(emit_every_frames=7, decode_window_frames=20)
    for window in windows(options, frames):
        assert window.end - window.begin <= 20
        assert window.new <= window.end - window.begin


def test_chunks_that_do_not_meet_are_blended() -> None:
    overlap = Overlap(100)
    first = overlap.add(np.zeros(500, np.float32), 500)
    second = overlap.add(np.ones(600, np.float32), 400)
    joined = np.concatenate([first, second, overlap.end()])
    assert len(joined) == 900
    assert np.abs(np.diff(joined)).max() < 0.02


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("emit_every_frames=0", "emit_every_frames is 0. Allowed: 1 to 1,000"),
        ("overlap_samples=99999", "overlap_samples is 99999"),
        ("emit_every_frames=90", "decode_window_frames is 80, but a chunk has up to 90"),
        ("compile_mode=fast", 'compile_mode is "fast". Allowed: default, reduce-overhead'),
        ("use_compile=perhaps", 'use_compile is "perhaps". Allowed: on, off'),
        ("max_frames=many", 'max_frames is "many", which is not an integer'),
        ("speed=2", '"speed" is not an option of a local voice. Available: emit_every_frames'),
    ],
)
def test_options_that_cannot_be_are_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="^" + words.replace(".", r"\.")):
        SynthesisOptions.read(text)


def test_options_are_read_as_they_are_written() -> None:
    assert SynthesisOptions.read("") == SynthesisOptions()
    read = SynthesisOptions.read("emit_every_frames=4, use_compile=on use_cuda_graphs=off")
    assert read == SynthesisOptions(emit_every_frames=4, use_compile=True)
    assert SynthesisOptions.read("whole_text=on") == SynthesisOptions(whole_text=True)


@pytest.mark.parametrize(
    ("text", "quick"),
    [
        ("", False),
        ("use_compile=on", True),
        ("use_cuda_graphs=on", True),
        ("use_compile=on use_cuda_graphs=on use_optimized_decode=off", False),
    ],
)
def test_the_decoder_is_quick_where_that_is_asked_for(text: str, quick: bool) -> None:
    assert SynthesisOptions.read(text).quick_decoder is quick


def test_frames_before_the_first_one_are_decoded_and_not_heard() -> None:
    """Those of a recording: in the window as long as there is room, and never new."""
    made = Windows(SynthesisOptions(decode_window_frames=10), before=12)
    found = [window for _ in range(20) if (window := made.add()) is not None]
    assert found == [Window(4, 14, 2), Window(12, 22, 8), Window(20, 30, 8)]
    assert made.end() == Window(22, 32, 2)
    assert made.frames == 20


# The measurements that a voice makes of itself.


def test_a_chunk_is_late_when_the_sound_before_it_has_ended() -> None:
    """The second comes in time, the third 0.3 s too late, and the fourth is due that much later."""
    chunks = [(0.2, 0.5), (0.6, 0.5), (1.5, 0.5), (1.9, 0.5)]
    lateness, underruns = measure_lateness(chunks)
    assert lateness == pytest.approx([-0.1, 0.3, -0.1])
    assert underruns == 1


def test_stages_add_up_to_the_whole() -> None:
    """A stage inside another is not counted twice."""
    stages = {
        "talker": 4.0,
        "talker: code predictor": 1.5,
        "decoder": 3.0,
        "decoder: transformer": 1.0,
    }
    found = compute_exclusive_times(stages, 8.0)
    assert found == pytest.approx(
        {
            "talker: code predictor": 1.5,
            "talker: the rest": 2.5,
            "decoder: transformer": 1.0,
            "decoder: the rest": 2.0,
            "all else": 1.0,
        }
    )
    assert compute_exclusive_times({"talker": 4.0, "decoder": 3.0}, 8.0)["decoder"] == 3.0
