"""Capture times from RTP timestamps, arrivals and sender reports."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from server.media.video.capture_clock import RTP_HZ, Capture, CaptureClock


class Sender:
    """A camera whose clocks are known: RTP from any offset, a wall clock of its own, any drift."""

    def __init__(self, rtp: int = 2**32 - 50_000, wall: float = 1.7e9, ppm: float = 0.0) -> None:
        self.rtp0, self.wall, self.rate = rtp, wall, 1 + ppm / 1e6

    def rtp(self, at: float) -> int:
        return (self.rtp0 + round(at * self.rate * RTP_HZ)) & 0xFFFFFFFF


def run(
    clock: CaptureClock, sender: Sender, start: float, end: float, fps: float, delay: random.Random
) -> list[tuple[float, Capture]]:
    """Frames captured from `start` to `end`, 20 to 50 ms on the way; reports each 0.5 s."""
    out = []
    reported = -1.0
    at = start
    while at < end:
        if at - reported >= 0.5:
            clock.report(sender.wall + at, sender.rtp(at), at + 0.02)
            reported = at
        out.append((at, clock.frame(sender.rtp(at), at + 0.02 + delay.random() * 0.03)))
        at += 1 / fps
    return out


def begun(seconds: float) -> tuple[CaptureClock, Sender]:
    """A clock that has seen a sender's frames for so long, ten a second."""
    clock, sender = CaptureClock(), Sender()
    run(clock, sender, 0, seconds, 10, random.Random(5))
    return clock, sender


def test_local_capture_is_the_arrival_less_what_the_path_added() -> None:
    """After a few frames the estimate is late by the shortest delay only, over a counter's wrap."""
    frames = run(CaptureClock(), Sender(), 100, 130, 30, random.Random(1))
    errors = [capture.local - at for at, capture in frames[60:]]
    assert min(errors) > 0.0199
    assert max(errors) < 0.023


def test_local_capture_is_never_after_the_arrival() -> None:
    """The first frame's estimate is its arrival; later ones can only be earlier than theirs."""
    clock = CaptureClock()
    assert clock.frame(5, 7.25).local == 7.25
    rng = random.Random(2)
    for n in range(1, 200):
        arrival = 7.25 + n / 30 + rng.random() * 0.2
        assert clock.frame(5 + n * 3000, arrival).local <= arrival + 1e-9


@pytest.mark.parametrize("ppm", [-300, 300])
def test_local_capture_follows_drift(ppm: float) -> None:
    """In ten minutes 300 ppm make 180 ms; the estimate is off by 5 at most."""
    frames = run(CaptureClock(), Sender(ppm=ppm), 0, 600, 10, random.Random(3))
    errors = [capture.local - at for at, capture in frames[-100:]]
    assert min(errors) > 0.015
    assert max(errors) < 0.028


def test_sender_capture_is_exact_after_the_first_report() -> None:
    """None before; then the sender's own clock to within an RTP tick."""
    clock, sender = CaptureClock(), Sender()
    assert clock.frame(sender.rtp(9.9), 9.95).sender is None
    for at, capture in run(clock, sender, 10, 20, 2, random.Random(4)):
        assert capture.sender is not None
        assert abs(capture.sender - (sender.wall + at)) < 2 / RTP_HZ


def test_rtp_time_grows_over_wraps() -> None:
    """Three wraps of 32 bits at two frames a second."""
    clock, sender = CaptureClock(), Sender(rtp=123)
    last = None
    for n in range(0, 3 * 2**32 // (RTP_HZ // 2), 50):
        at = n * 0.5
        capture = clock.frame(sender.rtp(at), at + 0.03)
        assert last is None or capture.rtp_time - last == 25 * RTP_HZ
        last = capture.rtp_time
    assert last is not None
    assert last > 2.9 * 2**32
    assert clock.jumps == 0


def test_a_late_frame_disturbs_nothing() -> None:
    """One frame behind its successor gets its own place in time; the next one goes on as before."""
    clock, sender = begun(3)
    newest = clock.frame(sender.rtp(3.2), 3.22)
    late = clock.frame(sender.rtp(3.1), 3.25)
    after = clock.frame(sender.rtp(3.3), 3.33)
    assert newest.rtp_time - late.rtp_time == RTP_HZ // 10
    assert after.rtp_time - newest.rtp_time == RTP_HZ // 10
    assert late.local == pytest.approx(3.12, abs=0.01)
    assert clock.jumps == 0


@pytest.mark.parametrize("leap", [-3600.0, -30.0, -1.5, 1.5, 30.0, 20_000.0])
def test_a_jump_of_the_timestamps_starts_the_filter_anew(leap: float) -> None:
    """A switched camera's first frame counts as captured at its arrival; RTP time goes on growing."""
    clock, sender = CaptureClock(), Sender()
    before = run(clock, sender, 0, 10, 10, random.Random(6))[-1][1]
    switched = Sender(rtp=sender.rtp(leap))
    first = clock.frame(switched.rtp(10.1), 10.14)
    assert clock.jumps == 1
    assert first.local == pytest.approx(10.14)
    # The old report would be wrong by the leap.
    assert first.sender is None
    assert first.rtp_time > before.rtp_time
    assert (first.rtp_time - before.rtp_time) / RTP_HZ == pytest.approx(0.1, abs=0.05)
    for at, capture in run(clock, switched, 10.2, 12, 10, random.Random(7)):
        assert capture.local == pytest.approx(at + 0.03, abs=0.021)
        assert capture.sender == pytest.approx(switched.wall + at, abs=1e-4)
    assert clock.jumps == 1


def test_a_small_step_back_that_stays_is_a_jump() -> None:
    """Half a second back might be a late frame, three in a row are not."""
    clock, sender = begun(5)
    back = Sender(rtp=sender.rtp(-0.5))
    captures = [clock.frame(back.rtp(5 + n / 10), 5.02 + n / 10) for n in range(6)]
    assert clock.jumps == 1
    assert captures[-1].local == pytest.approx(5.52, abs=0.001)


def test_a_new_report_that_came_before_the_jump_is_kept() -> None:
    """The report of a switched camera may overtake its first frame."""
    clock, sender = begun(5)
    switched = Sender(rtp=sender.rtp(500))
    clock.report(switched.wall + 5, switched.rtp(5), 5.02)
    capture = clock.frame(switched.rtp(5.03), 5.06)
    assert clock.jumps == 1
    assert capture.sender == pytest.approx(switched.wall + 5.03, abs=1e-4)


def test_an_outage_is_no_jump() -> None:
    """Forty seconds without a frame pass on both clocks."""
    clock, sender = begun(5)
    capture = clock.frame(sender.rtp(45), 45.03)
    assert clock.jumps == 0
    assert capture.local == pytest.approx(45.03)


def test_a_queue_on_the_path_is_no_jump() -> None:
    """Frames that waited three seconds are distinguished from fresh ones."""
    clock, sender = begun(5)
    for n in range(20):
        at = 5 + n / 10
        capture = clock.frame(sender.rtp(at), 8 + n * 0.01)
        assert capture.local == pytest.approx(at + 0.02, abs=0.005)
    assert clock.jumps == 0


def test_memory_is_bounded() -> None:
    """An hour leaves as many minima as ten seconds."""
    clock, sender = CaptureClock(), Sender()
    for n in range(3600):
        clock.frame(sender.rtp(n), n + 0.03)
    assert len(clock._base._minima) <= 12


# reports that are wrong


def reported(
    ahead: Callable[[int], float], back: Callable[[int], float], slow: Callable[[int], float]
) -> list[Capture]:
    """Frames at 30/s of 12 s, a report a second: RTP ahead, NTP back, late by so many seconds."""
    clock, sender = CaptureClock(), Sender()
    due: list[tuple[float, float, int]] = []
    out = []
    for n in range(360):
        at = n / 30
        if n and n % 30 == 0:
            number = n // 30
            due.append(
                (
                    at + 0.01 + slow(number),
                    sender.wall + at - back(number),
                    sender.rtp(at + ahead(number)),
                )
            )
        while due and due[0][0] <= at + 0.03:
            arrival, ntp, rtp = due.pop(0)
            clock.report(ntp, rtp, arrival)
        out.append(clock.frame(sender.rtp(at), at + 0.03))
    return out


def none(number: int) -> float:
    return 0.0


def test_reports_are_believed_however_late_they_come() -> None:
    """A path delays them by up to 3 s, more and more: what they say of the clock stays the same."""
    for slow in (none, lambda n: 3.0 * (n % 2), lambda n: n / 5):
        captures = reported(none, none, slow)
        assert not any(capture.doubted for capture in captures)
        assert captures[-1].sender is not None


@pytest.mark.parametrize(
    ("ahead", "back"),
    [
        # As GStreamer 1.22 does: 0.74 at first, then more and more.
        (lambda n: 0.74 if n == 1 else 3.1 * n, none),
        # Always the same.
        (lambda n: 0.74, none),
        # As werift does: another one each time.
        (none, lambda n: (0.77, 0.44, 0.15, 0.33, 0.78, 0.23)[n % 6]),
    ],
)
def test_reports_that_no_path_explains_are_not_believed(
    ahead: Callable[[int], float], back: Callable[[int], float]
) -> None:
    """From the third one on at the latest: no stamp by the sender's clock, the local one as ever."""
    captures = reported(ahead, back, none)
    assert all(capture.doubted and capture.sender is None for capture in captures[92:])
    assert captures[-1].local == pytest.approx(359 / 30 + 0.03, abs=1e-3)


def test_a_clock_that_was_set_anew_is_believed_again() -> None:
    """After as many reports as are compared."""
    captures = reported(none, lambda n: 5.0 if n < 3 else 0.0, none)
    doubted = [capture.doubted for capture in captures]
    assert doubted[92]
    assert not doubted[-1]
    assert captures[-1].sender is not None
