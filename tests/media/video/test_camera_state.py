"""The camera's state machine."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.frames import CameraState
from server.media.video.camera_state import (
    AFTER_S,
    EVERY_S,
    FPS_FRAMES,
    QUIET_MAX_S,
    UNTIL_S,
    CameraStateTracker,
    Silence,
)

STARTING, LIVE, STALLED = CameraState.STARTING, CameraState.LIVE, CameraState.STALLED
FROZEN, ENDED = CameraState.FROZEN, CameraState.ENDED


def live(until: float = 10.0, fps: float = 10.0) -> CameraStateTracker:
    """A camera that ran to `until`, its last frame there."""
    watch = CameraStateTracker()
    for n in range(round(until * fps) + 1):
        watch.packet_received(n / fps)
        watch.frame(n / fps, n / fps - 0.03)
    return watch


# The state at 10 s, and after each event: time passes, packets alone, a repeat, a new picture, four of them, the end
TABLE = """
         silence  packet  packets  repeat  picture pictures end
overdue  stalled  stalled stalled  live    live    live     ended
starting starting starting stalled live    live    live     ended
live     stalled  live    frozen   live    live    live     ended
frozen   stalled  frozen  frozen   frozen  frozen  live     ended
stalled  stalled  frozen  frozen   frozen  live    live     ended
ended    ended    ended   ended    ended   ended   ended    ended
"""


def in_state(name: str) -> CameraStateTracker:
    """Return a camera that is in this state at 10 s. Overdue: stalled before its first frame."""
    until = {"live": 10, "ended": 10, "frozen": 7, "stalled": 8}.get(name)
    watch = CameraStateTracker() if until is None else live(until)
    watch.connection_made({"overdue": 1.0, "starting": 9.0}.get(name, 0.0))
    if name == "frozen":
        for n in range(15, 21):
            watch.packet_received(n / 2)
    if name == "ended":
        watch.end()
    assert watch.state(10) == {"overdue": "stalled"}.get(name, name)
    return watch


def happen(watch: CameraStateTracker, event: str) -> float:
    """Send an event after 10 s, and return its end."""
    if event == "packets":
        for n in range(21, 32):
            watch.packet_received(n / 2)
    elif event == "packet":
        watch.packet_received(10.1)
    elif event == "repeat":
        watch.frame(10.1, -1)
    elif event in ("picture", "pictures"):
        for n in range(4 if event == "pictures" else 1):
            watch.frame(10.1 + n / 10, 10 + n / 10)
    elif event == "end":
        watch.end()
    return {"silence": 12.5, "packets": 15.6, "pictures": 10.4}.get(event, 10.1)


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        (row.split()[0], event, after)
        for row in TABLE.strip().splitlines()[1:]
        for event, after in zip(TABLE.split()[:7], row.split()[1:], strict=True)
    ],
)
def test_each_event_in_each_state(before: str, event: str, after: str) -> None:
    """The next state, and the time that was announced for it where time alone leads there."""
    watch = in_state(before)
    due = watch.deadline(10)
    now = happen(watch, event)
    assert watch.state(now) == after
    if event == "silence" and due <= now:
        assert watch.state(due) == after
        assert watch.state(math.nextafter(due, 0)) != after


def test_it_starts_until_the_first_frame() -> None:
    """Packets and reports alone show no picture, however long they come."""
    watch = CameraStateTracker()
    assert watch.state(0) is STARTING
    watch.packet_received(1)
    watch.packet_received(2)
    assert watch.state(100) is STARTING
    assert watch.deadline(100) == math.inf
    watch.frame(101, 100.9)
    assert watch.state(101) is LIVE


def test_the_first_frame_is_due_once_it_is_connected() -> None:
    """Six seconds, at exactly the moment that was announced; a late first frame is still welcome."""
    watch = CameraStateTracker()
    assert watch.deadline(0) == math.inf
    watch.connection_made(1)
    watch.packet_received(2)
    due = watch.deadline(2)
    assert due == 7.0
    assert watch.state(6.999) is STARTING
    assert watch.state(7.0) is STALLED
    assert watch.deadline(7.0) == math.inf
    watch.frame(9, 8.9)
    assert watch.state(9) is LIVE


def test_it_stalls_when_nothing_comes() -> None:
    """For two seconds, at exactly the moment that was announced."""
    watch = live()
    due = watch.deadline(10)
    assert due == 12.0
    assert watch.state(11.999) is LIVE
    assert watch.state(12.0) is STALLED
    assert watch.deadline(12.0) == math.inf
    assert watch.state(1000) is STALLED


def test_it_freezes_when_it_is_heard_of_but_shows_nothing_new() -> None:
    """Reports without frames; then not even reports."""
    watch = live()
    for n in range(1, 6):
        watch.packet_received(10 + n / 2)
    assert watch.state(11.9) is LIVE
    assert watch.deadline(11.9) == 12.0
    assert watch.state(12.0) is FROZEN
    assert watch.deadline(12.0) == 14.5
    assert watch.state(14.4) is FROZEN
    assert watch.state(14.5) is STALLED


def test_frames_whose_capture_time_stands_still_are_frozen() -> None:
    """The same moment sent over and over is no news."""
    watch = live()
    for n in range(1, 40):
        watch.packet_received(10 + n / 10)
        watch.frame(10 + n / 10, 9.97)
    assert watch.state(13.9) is FROZEN


def test_it_comes_back_from_silence_with_the_next_new_frame() -> None:
    """A link that was cut brings a picture of now."""
    watch = live()
    assert watch.state(20) is STALLED
    watch.frame(20.2, 20.1)
    assert watch.state(20.2) is LIVE


@pytest.mark.parametrize("period", [0.033, 0.2, 0.5, 1.0])
def test_it_comes_back_from_frozen_with_the_fourth_new_frame(period: float) -> None:
    """And not sooner, whatever the frame rate."""
    watch = live()
    watch.packet_received(19)
    assert watch.state(20) is FROZEN
    for n in range(3):
        watch.packet_received(20 + n * period)
        watch.frame(20 + n * period, 20 + n * period)
        assert watch.state(20 + n * period) is FROZEN
    watch.frame(20 + 3 * period, 20 + 3 * period)
    assert watch.state(20 + 3 * period) is LIVE


def test_a_picture_that_a_browser_repeats_is_no_sign_of_life() -> None:
    """Woken and fallen back 1.5 s later, again and again: new capture times of the same picture."""
    watch = live()
    at = 12.5
    for _ in range(10):
        # Falls back; then it is woken again before long, which may give two.
        for pause in (1.5, 0.6, 0.02):
            at += pause
            if pause == 0.6:
                watch.note_rate_change(at - 0.1, at + 1.5)
            watch.packet_received(at - 0.01)
            watch.frame(at, at)
            assert watch.state(at) is FROZEN
    watch.packet_received(at + 1)
    assert watch.state(at + 1) is FROZEN


def test_a_source_that_sends_a_picture_now_and_then_is_live() -> None:
    """From the second picture on that nothing has asked for; a repeat of the only one is not enough."""
    watch = CameraStateTracker()
    watch.frame(0, 0)
    for at in (1, 2, 3):
        watch.packet_received(at)
    assert watch.state(2.9) is FROZEN
    watch.frame(3, 3)
    for at in range(4, 12):
        watch.packet_received(at)
    assert watch.state(11.9) is LIVE
    assert watch.is_slow
    assert watch.state(12) is FROZEN
    # A quick camera that froze is believed after two.
    quick = live()
    quick.note_rate_change(13, 16)
    for at in (14, 17, 20, 23, 26):
        quick.packet_received(at - 1)
        quick.frame(at, at)
        assert (quick.state(at) is LIVE) == (at >= 23)
    # Pictures further apart than a camera's longest period prove nothing.
    stray = live()
    for at in (100, 111, 200):
        stray.packet_received(at - 1)
        stray.frame(at, at)
        assert stray.state(at) is FROZEN


def test_a_slow_camera_is_given_three_periods() -> None:
    """At one frame in 1.5 s the limit is 4.5 s, and one long pause does not stretch it."""
    watch = CameraStateTracker()
    for n in range(8):
        watch.frame(n * 1.5, n * 1.5)
    assert watch.deadline(10.5) == 10.5 + 4.5
    watch.frame(60, 60)
    assert watch.deadline(60) == 60 + 4.5


def test_the_limit_is_bounded() -> None:
    """A frame a minute counts as stalled after half a minute."""
    watch = CameraStateTracker()
    for n in range(8):
        watch.frame(n * 60.0, n * 60.0)
    assert watch.state(420 + QUIET_MAX_S - 0.1) is LIVE
    assert watch.state(420 + QUIET_MAX_S) is STALLED


def test_going_idle_is_no_stall() -> None:
    """From 30 a second to two, or to one."""
    for slow in (2.0, 1.0):
        watch = live(fps=30)
        at = 10.0
        for _ in range(20):
            at += 1 / slow
            assert watch.state(at - 0.001) is LIVE
            watch.frame(at, at - 0.03)


def test_the_end_is_final() -> None:
    """Late frames of a decoder change nothing."""
    watch = live()
    watch.end()
    assert watch.state(10) is ENDED
    watch.packet_received(11)
    watch.frame(11, 11)
    assert watch.state(11) is ENDED
    assert watch.deadline(11) == math.inf
    assert watch.fps(11) == 0
    never = CameraStateTracker()
    never.end()
    assert never.state(0) is ENDED


@pytest.mark.parametrize("fps", [1.0, 2.0, 5.0, 30.0, 60.0])
def test_the_frame_rate_is_measured(fps: float) -> None:
    """Steady within a few percent, at any moment between two frames."""
    watch = live(fps=fps)
    for part in (0, 0.3, 0.99):
        assert watch.fps(10 + part / fps) == pytest.approx(fps, rel=0.05)


def test_the_frame_rate_follows_and_falls_to_nothing() -> None:
    """Within three seconds it is the new one; without frames it falls and ends at 0."""
    watch = live(fps=30)
    for n in range(1, 8):
        watch.frame(10 + n / 2, 10 + n / 2)
    assert watch.fps(13.5) == pytest.approx(2, rel=0.05)
    values = [watch.fps(13.5 + n / 10) for n in range(31)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0
    assert CameraStateTracker().fps(5) == 0


def test_memory_is_bounded() -> None:
    """A thousand frames in one moment keep a few."""
    watch = CameraStateTracker()
    for n in range(1000):
        watch.frame(5.0, n)
    assert len(watch._arrivals) == FPS_FRAMES
    assert watch.fps(5.0) > 0


ALLOWED = {
    STARTING: {STARTING, STALLED, LIVE, ENDED},
    LIVE: {LIVE, STALLED, FROZEN, ENDED},
    STALLED: {STALLED, FROZEN, LIVE, ENDED},
    FROZEN: {FROZEN, STALLED, LIVE, ENDED},
    ENDED: {ENDED},
}


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.sampled_from([0.05, 0.5, 3.0]), st.booleans())
def test_any_events_take_allowed_steps_and_time_alone_only_at_the_deadline(
    seed: int, pace: float, ends: bool
) -> None:
    """It never starts again nor comes back from its end; time alone changes it when announced."""
    rng = random.Random(seed)
    watch = CameraStateTracker()
    now, state = 0.0, STARTING
    if rng.random() < 0.5:
        watch.connection_made(now)
    for n in range(60):
        due = watch.deadline(now)
        before, now = now, now + rng.random() * pace
        assert due > before
        if now < due:
            assert watch.state(now) is state
        else:
            assert watch.state(due) in ALLOWED[state] - {state}
        state = watch.state(now)
        event = rng.randrange(4)
        if event < 2:
            watch.packet_received(now)
        elif event == 2:
            watch.frame(now, now - rng.random())
        elif ends and n > 40:
            watch.end()
        assert watch.state(now) in ALLOWED[state]
        state = watch.state(now)


# A silent camera is asked for key frames after a while, regularly, and for a limited time


def asked(silence: Silence, until: float) -> list[float]:
    """The times at which it asks when its owner comes exactly when it says."""
    times = []
    while (due := silence.due) <= until:
        assert silence.ask(due)
        times.append(due)
    return times


def test_before_the_first_packet_nothing_is_asked_for() -> None:
    """Whoever has not begun has nothing to come back to."""
    silence = Silence()
    assert silence.due == math.inf
    assert not silence.ask(1e9)


@pytest.mark.parametrize("period", [1.0, 0.5, 0.033])
def test_an_idle_camera_is_left_alone(period: float) -> None:
    """One frame a second, half of them a third late: never asked."""
    silence = Silence()
    for number in range(200):
        now = number * period + (period / 3 if number % 2 else 0)
        assert asked(silence, now) == []
        silence.packet_received(now)


def test_a_silent_one_is_asked_regularly_and_not_for_ever() -> None:
    """From 1.8 s on, five times a second, for half a minute; then no more until it is heard again."""
    silence = Silence()
    silence.packet_received(10.0)
    times = asked(silence, 1000.0)
    assert times[0] == 10.0 + AFTER_S
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx(
        [EVERY_S] * (len(times) - 1)
    )
    assert 10.0 + UNTIL_S - 2 * EVERY_S < times[-1] <= 10.0 + UNTIL_S
    assert silence.asks == len(times)
    silence.packet_received(100.0)
    assert silence.asks == 0
    assert asked(silence, 102.2) == pytest.approx([101.8, 102.0, 102.2])


def test_a_late_owner_asks_once() -> None:
    """Whatever it missed meanwhile is not made up for."""
    silence = Silence()
    silence.packet_received(0.0)
    assert silence.ask(5.0)
    assert not silence.ask(5.0)
    assert silence.due == 5.0 + EVERY_S
