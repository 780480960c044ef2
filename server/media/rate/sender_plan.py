"""Compute the page's encoder limits for a path of a given rate. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# The highest bit/s of the encoder and of REMB, and the highest frame rate.
TOP = 2_500_000
FPS_TOP = 30


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the browser's encoder."""

    # Frames per second; whole, because Safari accepts no fractions.
    max_framerate: int
    # bit/s.
    max_bitrate: int


@dataclass(frozen=True, slots=True)
class SenderPlan:
    """Limits of the page's two states, and the steps between them."""

    idle: Limits
    awake: Limits
    # (milliseconds after waking, bit/s from then on) at the awake frame rate; empty: without steps.
    ramp: tuple[tuple[int, int], ...]
    # (milliseconds after falling back to idle, bit/s from then on) at the idle frame rate, until
    # `idle` holds.
    settle: tuple[tuple[int, int], ...]


IDLE_LOW, IDLE_TOP_A_FRAME = 30_000, 100_000
# Sent in place of 30. Chromium, limited to exactly the camera's rate, drops every second frame,
# because frames that come slightly early exceed the limit (measured with a 30/s camera: one frame
# per 62 ms; limited to 60, one per 33 ms).
NO_LIMIT_FPS = 60
RAMP_AT_MS = (0, 150, 300, 450, 600, 800, 1000, 1300, 1600, 2000)
# libwebrtc's encoders use the mean frame rate of the last 3 s (90 frames at 30/s), so a lower one
# takes full effect after that time.
SETTLE_MS, SETTLE_STEP_MS = 3000, 300


def sender_plan(
    cap: int,
    frame_rate: int,
    idle_frame_rate: float,
    top: int = TOP,
    *,
    idle_bits: float | None = None,
) -> SenderPlan:
    """Compute the limits for a path (`PathRate.cap` in bit/s, `PathRate.frame_rate`).

    Idle frames may be 1.5 times as large as awake ones. The browser's encoder adapts to a raised frame rate within about
    1.7 s and until then makes too large frames, so the bit rate rises in steps: the ramp. After falling back it still
    divides the bit rate by the higher frame rate, and Chromium's H.264 skips frames that exceed their share (measured: two
    of six, gaps of 1.0 s at 2 frames/s), so the bit rate falls in steps, too: the settling. The path carries no more for
    it, because each idle frame keeps its size. `idle_bits` gives idle frames together so many bit/s instead.
    """
    frame_bits = cap / frame_rate
    idle_rate = max(1, min(round(idle_frame_rate), frame_rate))
    if idle_bits is None:
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
    """Return the mean frame rate of the last `SETTLE_MS`, `ms` after it fell from `before` to
    `now`.
    """
    return before + (now - before) * min(1.0, ms / SETTLE_MS)
