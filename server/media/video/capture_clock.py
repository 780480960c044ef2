"""Compute the capture time of a frame from its RTP timestamp. Pure: the caller passes the time.

Two clocks are used. The sender's clock is exact, and also the clock of the page's questions; it is known as soon as a
sender report (RFC 3550 section 6.4.1) has mapped RTP time to it. This machine's clock is always known: the capture time
is the arrival minus the delay above the shortest delay of the last seconds.

The reports of some senders are wrong by seconds (measured: GStreamer 1.22 sets RTP time 0.7 to 37 s ahead, werift sets
NTP time 0.1 to 0.9 s back, by another amount in each report). Such reports are ignored, and this machine's clock is used.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from server.media.path_rate import WindowMinimum, to_signed_difference

RTP_HZ = 90_000
# Window of the shortest delay: long enough to contain an undelayed frame, short enough for the drift
# of two clocks (1.2 ms at 100 ppm).
WINDOW_S = 12
# Frames arrive in order. One further back than this, or several late ones in a row, are a jump.
LATE_S = 1.0
LATE_RUN = 3
# A frame this far ahead of the fastest one is also a jump.
AHEAD_S = 1.0
# Maximum distance of frames to which a report is applied
REPORT_FAR_S = 30.0
# Number of newest reports that must agree on the offset between NTP and RTP time: 4 s of a browser's
# reports, so a browser whose clock is set is not trusted for 4 s.
REPORTS = 8
REPORTS_APART_S = 0.25
# A report's RTP time is not later than its arrival; the estimate may be late by the encoding time.
REPORT_AHEAD_S = 0.25


@dataclass(frozen=True, slots=True)
class Capture:
    """The capture time of one frame."""

    # Unwrapped RTP time, 1/90,000 s; it grows across wraps and jumps.
    rtp_time: int
    # Monotonic seconds of this machine; too late by the shortest delay of the path
    local: float
    # Seconds since the epoch by the sender's clock; None while there are no reports or they are ignored
    sender: float | None
    # The sender's reports are ignored as wrong.
    doubted: bool = False


class CaptureClock:
    """The clock of one media stream; a new SSRC gets a new one."""

    def __init__(self) -> None:
        # Timestamp jumps, for example when the camera was switched.
        self.jumps = 0
        # The newest reports, newest last: sender's seconds since the epoch and RTP time, 32 bits.
        self._reports: deque[tuple[float, int]] = deque(maxlen=REPORTS)
        self._doubted = False
        # Unwrapped RTP time and arrival of the newest frame; None before the first
        self._newest: tuple[int, float] | None = None
        # Unwrapped RTP time minus the 32 bits on the wire; its lower 32 bits change only with jumps.
        self._offset = 0
        # Number of frames in a row older than the newest
        self._late = 0
        # Minimum of arrival minus RTP time
        self._base = WindowMinimum(WINDOW_S)

    def report(self, ntp_seconds: float, rtp: int, arrival: float) -> None:
        """Add a sender report: NTP time in seconds since 1970, RTP timestamp, monotonic arrival."""
        self._reports.append((ntp_seconds, rtp))
        apart = [
            seconds - ntp_seconds - to_signed_difference(other - rtp) / RTP_HZ
            for seconds, other in self._reports
        ]
        self._doubted = (
            max(apart) - min(apart) > REPORTS_APART_S
            or self._get_lead(rtp, arrival) > REPORT_AHEAD_S
        )

    def _get_lead(self, rtp: int, arrival: float) -> float:
        """Return the seconds by which a report's RTP time is ahead of its arrival, by this machine's clock."""
        if self._newest is None:
            return 0.0
        newest = self._newest[0]
        rtp_time = newest + to_signed_difference(rtp + self._offset - newest)
        return rtp_time / RTP_HZ + self._base.value - arrival

    def frame(self, timestamp: int, first_arrival: float) -> Capture:
        """Return a frame's capture time. Call it once per frame, in order.

        `timestamp`: 32 bits as on the wire; `first_arrival`: monotonic seconds.
        """
        rtp_time = self._unwrap(timestamp, first_arrival)
        progress = rtp_time / RTP_HZ
        base = self._base.add(first_arrival, first_arrival - progress)
        return Capture(rtp_time, progress + base, self._get_sender_time(timestamp), self._doubted)

    def _get_sender_time(self, timestamp: int) -> float | None:
        if not self._reports or self._doubted:
            return None
        ntp_seconds, rtp = self._reports[-1]
        distance = to_signed_difference(timestamp - rtp) / RTP_HZ
        return ntp_seconds + distance if abs(distance) <= REPORT_FAR_S else None

    def _unwrap(self, timestamp: int, arrival: float) -> int:
        if self._newest is None:
            self._newest = (timestamp, arrival)
            return timestamp
        newest, newest_arrival = self._newest
        step = to_signed_difference(timestamp + self._offset - newest)
        rtp_time = newest + step
        if step < 0:
            self._late += 1
            jumped = step < -LATE_S * RTP_HZ or self._late >= LATE_RUN
        else:
            self._late = 0
            jumped = arrival - rtp_time / RTP_HZ < self._base.value - AHEAD_S
        if jumped:
            # Continue from the newest frame by this machine's clock.
            rtp_time = newest + max(1, round((arrival - newest_arrival) * RTP_HZ))
            self._restart(timestamp, newest - self._offset)
            self._offset = rtp_time - timestamp
        if rtp_time > newest:
            self._newest = (rtp_time, arrival)
        return rtp_time

    def _restart(self, timestamp: int, before: int) -> None:
        """Clear the delays and reports from before a timestamp jump.

        The newest report belongs to the side whose RTP timestamp is closer.
        """
        self.jumps += 1
        self._late = 0
        self._base.clear()
        if self._reports:
            newest = self._reports[-1]
            self._reports.clear()
            self._doubted = False
            if abs(to_signed_difference(timestamp - newest[1])) < abs(
                to_signed_difference(before - newest[1])
            ):
                self._reports.append(newest)
