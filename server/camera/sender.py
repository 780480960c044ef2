"""Sending limits of one camera: enough frames for the sampling, within the bit rate of its path. Pure."""

from __future__ import annotations

import math

from server.core.messages import RampStep, Sender, SenderProfile
from server.rtc.rate.sender_plan import Limits, sender_plan

# bit/s and frames/s until the first frames have measured the path.
UNMEASURED = (300_000, 8)
# Upper bound of the idle frame rate, whatever the sampling needs.
IDLE_TOP_FPS = 30
# Idle frames per second while somebody waits for a change: a frame is then less than 0.1 s old.
# They share the bits of the frames that it sends otherwise, but have at least so many each.
ALERT_FPS = 12
ALERT_FRAME_BITS = 25_000


class Sending:
    """The wanted sampling rate of one camera, and the last measurement of its path."""

    def __init__(self, sample_rate: float) -> None:
        self._sample_rate = sample_rate
        # True while background work samples frames, so that the idle frame rate has to be doubled.
        self._working = False
        # True while it needs the frames between the sampled ones as well.
        self._alert = False
        self._cap, self._frame_rate = UNMEASURED

    def want(self, sample_rate: float, *, working: bool, alert: bool = False) -> bool:
        """Set the wanted sampling rate. Returns True when it changed."""
        before = self._sample_rate, self._working, self._alert
        self._sample_rate, self._working, self._alert = sample_rate, working, alert
        return before != (sample_rate, working, alert)

    def measured(self, cap: int, frame_rate: int) -> None:
        """Store a path measurement: `cap` in bit/s for the encoder, `frame_rate` in frames/s."""
        self._cap, self._frame_rate = cap, frame_rate

    def forget_path(self) -> None:
        """Reset the measurement: a new connection may use another path."""
        self._cap, self._frame_rate = UNMEASURED

    @property
    def idle_frame_rate(self) -> int:
        """Frames per second while idle: the sampling rate, doubled while work runs so that samples are fresh."""
        wanted = math.ceil(self._sample_rate * (2 if self._working else 1))
        return min(IDLE_TOP_FPS, max(1, wanted))

    def message(self, wake_ms: int | None = None) -> Sender:
        """Build the message with the current limits; `wake_ms`: time to stay awake, or None."""
        plan = sender_plan(self._cap, self._frame_rate, self.idle_frame_rate)
        if self._alert:
            bits = plan.idle.max_bitrate
            rate = max(plan.idle.max_framerate, min(ALERT_FPS, bits // ALERT_FRAME_BITS))
            plan = sender_plan(self._cap, self._frame_rate, rate, idle_bits=bits)
        return Sender(
            idle=_profile(plan.idle),
            awake=_profile(plan.awake),
            ramp=[RampStep(at_ms=at, max_bitrate=rate) for at, rate in plan.ramp],
            settle=[RampStep(at_ms=at, max_bitrate=rate) for at, rate in plan.settle],
            wake_ms=wake_ms,
        )


def _profile(limits: Limits) -> SenderProfile:
    return SenderProfile(max_framerate=limits.max_framerate, max_bitrate=limits.max_bitrate)
