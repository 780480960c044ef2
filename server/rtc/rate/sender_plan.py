"""What the page should give to its encoder for a path of a given rate. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from server.rtc.rate.rate import FPS_TOP, TOP


@dataclass(frozen=True, slots=True)
class Limits:
    """What the page gives to the browser's encoder."""

    # Frames a second; a whole number, since Safari takes no other.
    max_framerate: int
    # bit/s.
    max_bitrate: int


@dataclass(frozen=True, slots=True)
class SenderPlan:
    """The page's states, and the ways between them."""

    idle: Limits
    awake: Limits
    # (milliseconds after waking, bit/s from then on) at the awake frame rate; empty: go there at once.
    ramp: tuple[tuple[int, int], ...]
    # (milliseconds after falling back to idle, bit/s from then on) at the idle frame rate, until `idle` holds.
    settle: tuple[tuple[int, int], ...]


IDLE_LOW, IDLE_TOP_A_FRAME = 30_000, 100_000
# Told in place of 30: Chromium, limited to just the camera's own rate, takes frames that come a little early for too
# many and drops every second one (measured: from a 30/s camera one each 62 ms; limited to 60, one each 33 ms).
NO_LIMIT_FPS = 60
RAMP_AT_MS = (0, 150, 300, 450, 600, 800, 1000, 1300, 1600, 2000)
# A lowered frame rate is believed when the frames of so many ms are all slower ones: libwebrtc's encoders are told the
# mean of the last 3 s (90 frames at 30/s).
SETTLE_MS, SETTLE_STEP_MS = 3000, 300


def sender_plan(cap: int, frame_rate: int, idle_frame_rate: float, top: int = TOP) -> SenderPlan:
    """What the page should set for a path (`PathRate.cap`, `PathRate.frame_rate`).

    Idle frames may be half as large again as awake ones. The browser's encoder needs about 1.7 s to believe a raised
    frame rate and until then makes frames too large for it, so the bits rise with the frames: the ramp. On the way back
    it gives each frame a share of a second that has many frames still, and Chromium's H.264, whose frames are larger than
    that, leaves some out to pay for it (measured: two of six, gaps of 1.0 s at 2 frames/s); so the bits fall with the
    frames, too. The line carries no more for it, since an idle frame's share stays the same.
    """
    frame_bits = cap / frame_rate
    idle_rate = max(1, min(round(idle_frame_rate), frame_rate))
    idle_bits = min(
        max(IDLE_LOW, 1.5 * idle_rate * frame_bits), IDLE_TOP_A_FRAME * idle_rate, float(cap)
    )
    ramp: tuple[tuple[int, int], ...] = ()
    if cap < top:
        ramp = tuple(
            (at, int(frame_bits * min(frame_rate, 2 + 0.6 * frame_rate * at / 1000)))
            for at in RAMP_AT_MS
        )
    settle = tuple(
        (at, min(cap, int(idle_bits / idle_rate * _believed(frame_rate, idle_rate, at))))
        for at in range(0, SETTLE_MS + 1, SETTLE_STEP_MS)
    )
    awake_rate = frame_rate if frame_rate < FPS_TOP else NO_LIMIT_FPS
    return SenderPlan(Limits(idle_rate, int(idle_bits)), Limits(awake_rate, cap), ramp, settle)


def _believed(before: int, now: int, ms: int) -> float:
    """The mean frame rate of the last `SETTLE_MS`, `ms` after it fell from `before` to `now`."""
    return before + (now - before) * min(1.0, ms / SETTLE_MS)
