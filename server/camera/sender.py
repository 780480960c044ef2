"""How one camera should send: often enough for the sampling, within what its path carries. Pure."""

from __future__ import annotations

import math

from server.core.messages import RampStep, Sender, SenderProfile
from server.rtc.rate.sender_plan import Limits, sender_plan

# bit/s and frames/s before the first frames have measured the path.
UNMEASURED = (300_000, 8)
# The idle rate is never raised above this for the sampling's sake.
IDLE_TOP_FPS = 30


class Sending:
    """What is wanted of one camera, and what its path was last found to carry."""

    def __init__(self, sample_rate: float) -> None:
        self._sample_rate = sample_rate
        # Whether work goes on at the sampling rate, so that idle has to be quicker than usual.
        self._working = False
        self._cap, self._frame_rate = UNMEASURED

    def want(self, sample_rate: float, *, working: bool) -> bool:
        """Whether this is something new."""
        before = self._sample_rate, self._working
        self._sample_rate, self._working = sample_rate, working
        return before != (sample_rate, working)

    def measured(self, cap: int, frame_rate: int) -> None:
        """What the path carries: bit/s for an encoder, and frames/s that fit into it."""
        self._cap, self._frame_rate = cap, frame_rate

    def forget_path(self) -> None:
        """A new connection may take another one."""
        self._cap, self._frame_rate = UNMEASURED

    @property
    def idle_frame_rate(self) -> int:
        """Frames a second that the sampling needs: twice the rate while work runs on it, so that what is
        sampled is fresh."""
        wanted = math.ceil(self._sample_rate * (2 if self._working else 1))
        return min(IDLE_TOP_FPS, max(1, wanted))

    def message(self, wake_ms: int | None = None) -> Sender:
        """How the page should send now; `wake_ms`: and that it should be awake for so long."""
        plan = sender_plan(self._cap, self._frame_rate, self.idle_frame_rate)
        return Sender(
            idle=_profile(plan.idle),
            awake=_profile(plan.awake),
            ramp=[RampStep(at_ms=at, max_bitrate=rate) for at, rate in plan.ramp],
            settle=[RampStep(at_ms=at, max_bitrate=rate) for at, rate in plan.settle],
            wake_ms=wake_ms,
        )


def _profile(limits: Limits) -> SenderProfile:
    return SenderProfile(max_framerate=limits.max_framerate, max_bitrate=limits.max_bitrate)
