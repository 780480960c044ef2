"""The measurements that a voice makes of itself."""

from __future__ import annotations

import pytest

from server.features.voice_out.worker.measure import apart, lateness_of


def test_a_chunk_is_late_when_the_sound_before_it_has_ended() -> None:
    """The second comes in time, the third 0.3 s too late, and the fourth is due that much later."""
    chunks = [(0.2, 0.5), (0.6, 0.5), (1.5, 0.5), (1.9, 0.5)]
    lateness, underruns = lateness_of(chunks)
    assert lateness == pytest.approx([-0.1, 0.3, -0.1])
    assert underruns == 1


def test_nothing_is_late_without_sound() -> None:
    assert lateness_of([]) == ([], 0)


def test_stages_add_up_to_the_whole() -> None:
    """A stage inside another is not counted twice."""
    stages = {
        "talker": 4.0,
        "talker: code predictor": 1.5,
        "decoder": 3.0,
        "decoder: transformer": 1.0,
    }
    found = apart(stages, 8.0)
    assert found == pytest.approx(
        {
            "talker: code predictor": 1.5,
            "talker: the rest": 2.5,
            "decoder: transformer": 1.0,
            "decoder: the rest": 2.0,
            "all else": 1.0,
        }
    )
    assert apart({"talker": 4.0, "decoder": 3.0}, 8.0)["decoder"] == 3.0
