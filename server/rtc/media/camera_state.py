"""Whether a camera's pictures can be believed to be of now. Pure: the caller gives the time."""

from __future__ import annotations

import math
from collections import deque

from server.core.frames import CameraState

# Silence or a picture that stands still is told after this time, or after so many frame periods when that is longer,
# so that a camera at one frame a second does not flicker; but never later than the bound.
QUIET_S = 2.0
QUIET_PERIODS = 3
QUIET_MAX_S = 30.0
# What a connected camera has for its first frame: 4 s are expected even where every tenth packet is lost.
FIRST_FRAME_S = 6.0
# A browser whose camera stands still sends the last picture again, with a new capture time, whenever it is told another
# frame rate: once or twice on waking, and again on falling back 1.5 s later or more (measured with Chromium). So many
# pictures, none further behind the one before, are more than that: the camera moves again.
REVIVED_BY = 4
REVIVED_GAP_S = 1.2
# The frame period is the median of the last intervals: one pause does not change it.
INTERVALS = 5
# The frame rate is counted over this time, and over at most so many frames.
FPS_WINDOW_S = 3.0
FPS_FRAMES = 256


class CameraWatch:
    """One camera's state, from what it sends.

    STARTING until its first frame, or until that is overdue: then STALLED. LIVE while new pictures come, FROZEN while it is still heard of but its
    newest picture grows old, STALLED while nothing is heard of it at all, and back: from STALLED with the next new
    picture, from FROZEN with the fourth in a row. ENDED is final: whatever comes after it (a decoder may be late)
    changes nothing.
    """

    __slots__ = (
        "_advanced",
        "_arrivals",
        "_connected",
        "_ended",
        "_heard",
        "_heard_since",
        "_intervals",
        "_newest",
        "_quiet",
        "_revived",
    )

    def __init__(self) -> None:
        self._ended = False
        # When its connection came about; None before.
        self._connected: float | None = None
        # When anything came last: media packet, sender report or frame. None before.
        self._heard: float | None = None
        # When that began, after a silence or at all.
        self._heard_since = -math.inf
        # The newest capture time, and when it came. None before the first frame.
        self._newest = -math.inf
        self._advanced: float | None = None
        # When the last frames came, for the frame rate; the oldest go first.
        self._arrivals: deque[float] = deque(maxlen=FPS_FRAMES)
        self._intervals: deque[float] = deque(maxlen=INTERVALS)
        # New pictures in a row that came while it was frozen.
        self._revived = 0
        # The limit that `QUIET_S` and the frame period make.
        self._quiet = QUIET_S

    def connected(self, now: float) -> None:
        """Its connection came about: from here on a first frame is due."""
        self._connected = now

    def packet(self, now: float) -> None:
        """A media packet came, padding and retransmissions included."""
        self._hear(now)

    def report(self, now: float) -> None:
        """A sender report came."""
        self._hear(now)

    def _hear(self, now: float) -> None:
        if self._heard is None or now >= self._heard + self._quiet:
            self._heard_since = now
        self._heard = now

    def frame(self, now: float, captured: float) -> None:
        """A frame was decoded. `captured`: seconds by any one clock; only its growing counts."""
        if self._ended:
            return
        frozen = self.state(now) is CameraState.FROZEN
        self._hear(now)
        arrivals = self._arrivals
        near = bool(arrivals) and now - arrivals[-1] <= REVIVED_GAP_S
        if arrivals:
            # What comes while it stands still tells nothing about its period.
            if not frozen:
                self._intervals.append(max(0.0, now - arrivals[-1]))
                period = sorted(self._intervals)[len(self._intervals) // 2]
                self._quiet = min(QUIET_MAX_S, max(QUIET_S, QUIET_PERIODS * period))
            while arrivals and arrivals[0] <= now - FPS_WINDOW_S:
                arrivals.popleft()
        arrivals.append(now)
        if captured > self._newest:
            self._newest = captured
            self._revived = (self._revived if near else 0) + 1 if frozen else 0
            if not frozen or self._revived >= REVIVED_BY:
                self._advanced = now
                self._revived = 0

    def end(self) -> None:
        """The camera was stopped or replaced, or its connection closed."""
        self._ended = True

    def state(self, now: float) -> CameraState:
        """The state at `now`."""
        if self._ended:
            return CameraState.ENDED
        if self._advanced is None or self._heard is None:
            due = self._first_frame_due()
            return CameraState.STARTING if due is None or now < due else CameraState.STALLED
        if now >= self._heard + self._quiet:
            return CameraState.STALLED
        if now >= self._advanced + self._quiet:
            return CameraState.FROZEN
        return CameraState.LIVE

    def stands_still(self, now: float) -> bool:
        """Tell whether the picture stands still for good: frozen, and heard of for long enough to have shown another one.

        Behind a silence the first packets come before the first whole picture.
        """
        heard_for = now - self._heard_since
        return self.state(now) is CameraState.FROZEN and heard_for >= self._quiet

    def deadline(self, now: float) -> float | None:
        """When the state changes if nothing more comes; None when it will not.

        `state` compares with the very number returned here.
        """
        if self._ended:
            return None
        if self._advanced is None or self._heard is None:
            first = self._first_frame_due()
            return first if first is not None and first > now else None
        due = [at for at in (self._advanced + self._quiet, self._heard + self._quiet) if at > now]
        return min(due, default=None)

    def _first_frame_due(self) -> float | None:
        return None if self._connected is None else self._connected + FIRST_FRAME_S

    def fps(self, now: float) -> float:
        """Frames a second over the last 3 s; falls to 0 while none come."""
        arrivals = [at for at in self._arrivals if at > now - FPS_WINDOW_S]
        if self._ended or not arrivals:
            return 0.0
        if len(arrivals) == 1:
            return 1 / FPS_WINDOW_S
        shown = arrivals[-1] - arrivals[0]
        if shown <= 0:
            return len(arrivals) / FPS_WINDOW_S
        # One period may pass since the newest one before that means anything.
        periods = len(arrivals) - 1
        return periods / max(shown, now - arrivals[0] - shown / periods)
