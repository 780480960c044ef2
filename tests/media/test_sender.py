"""The plan for one camera; tests/media/test_camera.py holds that the page hears of it."""

from __future__ import annotations

import pytest

from server.media.camera import ALERT_FPS, UNMEASURED, Sending


@pytest.mark.parametrize(
    ("rate", "working", "idle"),
    [(0.1, False, 1), (2.0, False, 2), (2.0, True, 4), (2.1, False, 3), (30.0, True, 30)],
)
def test_idle_follows_the_sampling(rate: float, working: bool, idle: int) -> None:
    """A whole number, never below the sampling's; twice as many while work runs on it, so that it is fresh."""
    sending = Sending(1.0)
    assert sending.want(rate, working=working)
    assert not sending.want(rate, working=working)
    assert sending.idle_frame_rate == idle


def test_a_new_connection_begins_unmeasured() -> None:
    """The measurement of another path is not used for this one."""
    sending = Sending(2.0)
    before = sending.message()
    assert before.awake.max_bitrate == UNMEASURED[0]
    assert before.wake_ms is None
    sending.measured(1_000_000, 20)
    assert sending.message(500).awake.max_bitrate == 1_000_000
    assert sending.message(500).wake_ms == 500
    sending.forget_path()
    assert sending.message() == before


def test_an_alert_camera_sends_smaller_frames_more_often() -> None:
    """So many that a change is soon in one, with the bits that it has anyway; fewer on a narrow path."""
    sending = Sending(2.0)
    sending.measured(2_500_000, 30)
    sending.want(2.0, working=True)
    before = sending.message()
    assert sending.want(2.0, working=True, alert=True)
    assert not sending.want(2.0, working=True, alert=True)
    alert = sending.message()
    assert (before.idle.max_framerate, alert.idle.max_framerate) == (4, ALERT_FPS)
    assert alert.idle.max_bitrate == before.idle.max_bitrate
    assert alert.awake == before.awake
    assert alert.settle[-1].max_bitrate == alert.idle.max_bitrate
    sending.measured(120_000, 5)
    narrow = sending.message()
    assert narrow.idle.max_framerate == 4
    assert narrow.idle.max_bitrate <= 120_000
