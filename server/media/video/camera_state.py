"""The state machine of a camera: starting, live, frozen, stalled, ended. Pure: the caller passes the time."""

from __future__ import annotations

import math
from collections import deque
from statistics import median_high

from server.core.frames import CameraState

# Time without packets (STALLED) or without a new picture (FROZEN): QUIET_S, or so many frame
# periods if that is longer, so that the state of a camera at one frame per second does not flicker;
# at most QUIET_MAX_S.
QUIET_S = 2.0
QUIET_PERIODS = 3
QUIET_MAX_S = 30.0
# Time for the first frame after connecting; 4 s are normal with 10 % packet loss.
FIRST_FRAME_S = 6.0
# A browser with a frozen camera repeats the last picture with a new capture time whenever its frame
# rate is changed: once or twice on waking, and again on the return to idle 1.5 s later or more
# (measured with Chromium). This many new pictures without a larger gap prove that the camera works
# again.
REVIVED_BY = 4
REVIVED_GAP_S = 1.2
# Time after the end of a rate change within which such repeats arrive. Pictures without a rate change are new: the
# second of them within the longest frame period proves a slow source, such as a canvas, or the first one if no faster
# source was seen before.
REPEATS_S = 1.2
# The frame period is the median of the last intervals, so that a single pause does not change it.
INTERVALS = 5
# With fewer intervals, a long one may be a stall.
SURE_INTERVALS = 3
# Window of the frame rate, and maximum number of frames in it
FPS_WINDOW_S = 3.0
FPS_FRAMES = 256


class CameraStateTracker:
    """Derives the state of one camera from its packets, sender reports and frames.

    STARTING: before the first frame. STALLED: the first frame is overdue, or nothing arrives any
    more. LIVE: new pictures arrive. FROZEN: packets or reports arrive, but no new picture. STALLED
    becomes LIVE with the next new picture, FROZEN with the fourth in a row. ENDED is final: later
    calls, for example by a decoder, change nothing.
    """

    def __init__(self) -> None:
        self._ended = False
        # Time of the connection; infinite before it
        self._connected = math.inf
        # Time of the last media packet, sender report or frame; minus infinity before the first
        self._heard = -math.inf
        # Time since which packets arrive without a silence
        self._heard_since = -math.inf
        # Newest capture time, and its arrival, which is None before the first frame
        self._newest = -math.inf
        self._advanced: float | None = None
        # Arrivals of the last frames, for the frame rate
        self._arrivals: deque[float] = deque(maxlen=FPS_FRAMES)
        self._intervals: deque[float] = deque(maxlen=INTERVALS)
        # New pictures in a row while frozen
        self._revived = 0
        # Seconds of silence that end LIVE, from `QUIET_S` and the frame period
        self.quiet = QUIET_S
        # Times between which the sender may repeat its picture, because its rate changes
        self._repeats_from = self._repeats_until = -math.inf
        # Arrival of the last unrequested picture while frozen; None before one
        self._unasked: float | None = None

    def connection_made(self, now: float) -> None:
        """Record that the connection is established and the first frame is expected."""
        self._connected = now

    @property
    def is_slow(self) -> bool:
        """True for a source with a low frame rate: waking its sender yields only repeats."""
        return len(self._intervals) >= SURE_INTERVALS and self.quiet > QUIET_PERIODS * REVIVED_GAP_S

    def note_rate_change(self, now: float, until: float) -> None:
        """Record that the sender's rate changes now and at `until`."""
        if now >= self._repeats_until:
            self._repeats_from = now
        self._repeats_until = max(self._repeats_until, until + REPEATS_S)

    def may_repeat(self, arrived: float) -> bool:
        """Return True if a picture whose first packet arrived then may be a repeat of the last one."""
        return self.is_slow and self._follows_rate_change(arrived)

    def _follows_rate_change(self, arrived: float) -> bool:
        # A picture's own packets may have changed the rate; that picture is new.
        return self._repeats_from < arrived < self._repeats_until

    def packet_received(self, now: float) -> None:
        """Record a media packet, including padding and retransmissions, or a sender report."""
        if now >= self._heard + self.quiet:
            self._heard_since = now
        self._heard = now

    def frame(self, now: float, captured: float, arrived: float | None = None) -> bool:
        """Record a decoded frame. Return True if it is a new picture, False if it is, or may be, a repeat.

        `captured`: seconds, always by the same clock; only an increase matters. `arrived`: time of its first packet; None for now.
        """
        if self._ended:
            return False
        arrived = now if arrived is None else arrived
        frozen = self.state(now) is CameraState.FROZEN
        self.packet_received(now)
        arrivals = self._arrivals
        near = bool(arrivals) and now - arrivals[-1] <= REVIVED_GAP_S
        if arrivals:
            # Frames of a frozen camera are repeats, which do not show its frame period.
            if not frozen and not self.may_repeat(arrived):
                self._learn_interval(now - arrivals[-1])
            while arrivals and arrivals[0] <= now - FPS_WINDOW_S:
                arrivals.popleft()
        arrivals.append(now)
        if captured > self._newest:
            self._newest = captured
            self._revived = (self._revived if near else 0) + 1 if frozen else 0
            if not frozen or self._revived >= REVIVED_BY or self._is_slow_source(now, arrived):
                self._advanced = now
                self._revived = 0
                self._unasked = None
                return not self.may_repeat(arrived)
        return False

    def _is_slow_source(self, now: float, arrived: float) -> bool:
        """Return True if a new picture of a frozen camera proves a slow source, and learn its period."""
        if self._follows_rate_change(arrived):
            self._unasked = None
            return False
        before, self._unasked = self._unasked, now
        if before is None and not self._intervals:
            before = self._advanced
        if before is None or not REVIVED_GAP_S < now - before <= QUIET_MAX_S / QUIET_PERIODS:
            return False
        self._intervals.clear()
        for _ in range(SURE_INTERVALS):
            self._learn_interval(now - before)
        return True

    def _learn_interval(self, seconds: float) -> None:
        self._intervals.append(max(0.0, seconds))
        period = median_high(self._intervals)
        self.quiet = min(QUIET_MAX_S, max(QUIET_S, QUIET_PERIODS * period))

    def end(self) -> None:
        """End the camera, because it was stopped or replaced, or its connection closed."""
        self._ended = True

    def _get_state_starts(self) -> tuple[tuple[CameraState, float], ...]:
        """Return the states, each with the time at which it begins if nothing more arrives.

        The first one whose time has come is the current state.
        """
        if self._ended:
            return ((CameraState.ENDED, -math.inf),)
        if self._advanced is None:
            return (
                (CameraState.STALLED, self._connected + FIRST_FRAME_S),
                (CameraState.STARTING, -math.inf),
            )
        return (
            (CameraState.STALLED, self._heard + self.quiet),
            (CameraState.FROZEN, self._advanced + self.quiet),
            (CameraState.LIVE, -math.inf),
        )

    def state(self, now: float) -> CameraState:
        return next(state for state, begins in self._get_state_starts() if now >= begins)

    def get_still_seconds(self, now: float) -> float:
        """Return the seconds since the last new picture; 0 before the first."""
        return 0.0 if self._advanced is None else now - self._advanced

    def is_frozen(self, now: float) -> bool:
        """Return True if the camera is frozen although packets have arrived long enough for a new picture.

        After a silence, the first packets arrive before the first whole picture.
        """
        heard_for = now - self._heard_since
        return self.state(now) is CameraState.FROZEN and heard_for >= self.quiet

    def deadline(self, now: float) -> float:
        """Return the time at which the state changes if nothing more arrives; infinite for never.

        `state` compares `now` with exactly this number.
        """
        return min((at for _, at in self._get_state_starts() if at > now), default=math.inf)

    def fps(self, now: float) -> float:
        """Return the frames per second over the last 3 s; falls to 0 while none arrive."""
        arrivals = [at for at in self._arrivals if at > now - FPS_WINDOW_S]
        if self._ended or not arrivals:
            return 0.0
        if len(arrivals) == 1:
            return 1 / FPS_WINDOW_S
        shown = arrivals[-1] - arrivals[0]
        if shown <= 0:
            return len(arrivals) / FPS_WINDOW_S
        # The time since the newest frame counts only beyond one frame period.
        periods = len(arrivals) - 1
        return periods / max(shown, now - arrivals[0] - shown / periods)


# Key frame requests while a camera is silent, so that a key frame arrives as soon as its link is
# back. The first frame after an outage refers to lost frames, so only a key frame can be decoded,
# and an idle camera's next frame is half a second away. Requests are also lost during the outage,
# so they are repeated until one arrives. A frozen camera is not silent, because its browser still
# sends reports. With key frame requests it would repeat its last picture and appear to move.

# Time without packets before the first request. A working link is never silent for longer: an idle
# camera sends at least one frame per second, a frozen one a sender report every 0.5 to 1.5 s (RFC
# 3550, section 6.2, libwebrtc's interval).
AFTER_S = 1.8
EVERY_S = 0.2
# Time after which requests stop, because the connection is given up
UNTIL_S = 30.0


class Silence:
    """Schedules key frame requests for one silent stream."""

    __slots__ = ("_heard", "asks", "due")

    def __init__(self) -> None:
        # Time of the newest packet or report; infinite before the first, when nothing is requested
        self._heard = math.inf
        # Time of the next request; infinite for never. `ask` compares `now` with exactly this number.
        self.due = math.inf
        # Number of requests since then
        self.asks = 0

    def packet_received(self, now: float) -> None:
        """Record a packet or sender report, which ends the silence."""
        self._heard = now
        self.due = now + AFTER_S
        self.asks = 0

    def ask(self, now: float) -> bool:
        """Return True if a key frame should be requested now; it counts as requested."""
        if now < self.due:
            return False
        self.asks += 1
        self.due = now + EVERY_S
        if self.due > self._heard + UNTIL_S:
            self.due = math.inf
        return True
