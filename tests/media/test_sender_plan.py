"""The page's states, and the ways between them."""

from __future__ import annotations

import pytest

from server.media.path_rate import TOP, sender_plan


def test_a_wide_path_needs_no_ramp() -> None:
    """Idle as measured: 2 frames/s at 200 kbit/s; awake at the top at once."""
    plan = sender_plan(TOP, 30, 2)
    assert (plan.idle.max_framerate, plan.idle.max_bitrate) == (2, 200_000)
    # No limit that a camera of 30 frames a second could touch: Chromium would drop half of them.
    assert (plan.awake.max_framerate, plan.awake.max_bitrate) == (60, TOP)
    assert plan.ramp == ()


def test_a_narrow_path_is_climbed() -> None:
    """At 325 kbit/s and 8 frames/s: from the bits of two frames to those of eight within 2 s."""
    plan = sender_plan(325_000, 8, 2)
    assert plan.idle.max_bitrate == int(1.5 * 2 * 325_000 / 8)
    assert [at for at, _ in plan.ramp] == [0, 150, 300, 450, 600, 800, 1000, 1300, 1600, 2000]
    bits = 325_000 / 8
    assert [rate for _, rate in plan.ramp][:3] == [
        int(bits * (2 + 0.6 * 8 * at)) for at in (0, 0.15, 0.3)
    ]
    assert [rate for _, rate in plan.ramp] == sorted(rate for _, rate in plan.ramp)
    assert plan.ramp[-1] == (2000, 325_000)


def test_the_bits_fall_with_the_frames_that_are_believed() -> None:
    """An encoder gets the mean frame rate of the last 3 s: the share of each frame stays that of
    an idle one.
    """
    plan = sender_plan(600_000, 20, 2)
    frame = 1.5 * 600_000 / 20
    believed = {0: 20, 300: 18.2, 1500: 11, 2700: 3.8, 3000: 2}
    settle = dict(plan.settle)
    assert {at: settle[at] for at in believed} == {
        at: min(600_000, int(frame * rate)) for at, rate in believed.items()
    }
    assert [at for at, _ in plan.settle] == sorted(settle)
    assert plan.settle[-1][1] == plan.idle.max_bitrate


@pytest.mark.parametrize("idle", [0.1, 0.5, 1, 2, 5, 30])
@pytest.mark.parametrize(("cap", "fps"), [(120_000, 5), (300_000, 8), (1_000_000, 25), (TOP, 30)])
def test_idle_never_asks_for_more_than_awake(idle: float, cap: int, fps: int) -> None:
    """Whole frame rates of at least one, bits within the bounds."""
    plan = sender_plan(cap, fps, idle)
    assert 1 <= plan.idle.max_framerate <= fps
    assert 30_000 <= plan.idle.max_bitrate <= cap
    assert plan.idle.max_bitrate <= 100_000 * plan.idle.max_framerate
    settle = [rate for _, rate in plan.settle]
    assert settle == sorted(settle, reverse=True)
    assert settle[0] <= cap
    # An idle rate that the bounds of its bits raised or cut is where it ends, too.
    assert settle[-1] == plan.idle.max_bitrate
