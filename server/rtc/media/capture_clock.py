"""When a frame was captured, from its RTP timestamp. Pure: the caller gives the time.

Two clocks tell it. By the *sender's* clock, as soon as a sender report (RFC 3550 section 6.4.1) has mapped RTP time
to it: exact, and the very clock by which a page stamps its questions. By *this machine's* clock always: arrival is
capture plus a delay, and the shortest delay of the last seconds is taken for the path's own.

Some senders' reports are wrong by seconds (measured: GStreamer 1.22 puts RTP time 0.7 to 37 s ahead, werift NTP time 0.1
to 0.9 s back, another one with each report). No path does that, so such reports are not believed, and what this
machine's clock tells holds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from server.rtc.rate.window_minimum import WindowMinimum

RTP_HZ = 90_000
# The shortest delay is looked for over so many seconds; long enough for a quiet moment, short enough to follow the
# drift of two clocks (at 100 ppm: 1.2 ms).
WINDOW_S = 12
# Frames come in order, but one further back than this, or several in a row, mean that the timestamps jumped.
LATE_S = 1.0
LATE_RUN = 3
# A frame cannot run ahead of the quickest one before it, so more than this is a jump too.
AHEAD_S = 1.0
# Beyond this distance a report says nothing about a frame any more.
REPORT_FAR_S = 30.0
# The newest reports have to agree with each other about the two clocks in them, however long they took. So many are
# compared: 4 s of a browser's, which is how long its clock being set anew is doubted.
REPORTS = 8
REPORTS_APART_S = 0.25
# A report's RTP time is no later than its arrival; the estimate of that may be late by what a frame takes to be encoded.
REPORT_AHEAD_S = 0.25
# How much longer a frame may take from its capture to here than a question does from its page, both by the sender's
# clock. More is no path's doing: the two stamps are of different clocks, or one is wrong.
STAMPS_APART_S = 0.5
# A question's `sent_at` further than this from its arrival is not believed.
SENT_AT_BOUND_S = 2.0
# Without the sender's clock: how much later than the question's arrival the estimated capture has to be. It covers
# the estimate's own error (measured bias: 2.3 ms).
LOCAL_MARGIN_S = 0.010


@dataclass(frozen=True, slots=True)
class Capture:
    """When one frame was captured."""

    # RTP time unwrapped, 1/90,000 s; goes on growing over wraps and jumps.
    rtp_time: int
    # Monotonic seconds of this machine, too late by the path's shortest delay.
    local: float
    # Seconds since the epoch by the sender's clock; None while no report maps to it, or while reports are not believed.
    sender: float | None
    # Whether the sender's reports are not believed.
    doubted: bool = False


class CaptureClock:
    """The clock of one media stream; a new SSRC gets a new one."""

    def __init__(self) -> None:
        # Times that the timestamps jumped, for instance when the camera was switched.
        self.jumps = 0
        # The newest reports, the newest last: sender's seconds since the epoch and RTP time, 32 bits.
        self._reports: deque[tuple[float, int]] = deque(maxlen=REPORTS)
        self._doubted = False
        # The newest frame's RTP time unwrapped and arrival. None before the first frame.
        self._newest: tuple[int, float] | None = None
        # Unwrapped RTP time less the 32 bits on the wire; its lower 32 bits change with each jump only.
        self._offset = 0
        # Frames in a row older than the newest.
        self._late = 0
        # The smallest arrival less RTP time.
        self._base = WindowMinimum(WINDOW_S)

    def report(self, ntp_seconds: float, rtp: int, arrival: float) -> None:
        """A sender report: its NTP time as seconds since 1970, its RTP timestamp; `arrival`: monotonic seconds."""
        self._reports.append((ntp_seconds, rtp))
        apart = [
            seconds - ntp_seconds - _signed(other - rtp) / RTP_HZ
            for seconds, other in self._reports
        ]
        self._doubted = (
            max(apart) - min(apart) > REPORTS_APART_S or self._ahead(rtp, arrival) > REPORT_AHEAD_S
        )

    def _ahead(self, rtp: int, arrival: float) -> float:
        """How long after `arrival` RTP time is what the report says, by this machine's clock."""
        if self._newest is None:
            return 0.0
        newest = self._newest[0]
        rtp_time = newest + _signed(rtp + self._offset - newest)
        return rtp_time / RTP_HZ + self._base.value - arrival

    def frame(self, timestamp: int, first_arrival: float) -> Capture:
        """Feed each frame once, in order. `timestamp`: 32 bits as on the wire; `first_arrival`: monotonic seconds."""
        rtp_time = self._unwrap(timestamp, first_arrival)
        progress = rtp_time / RTP_HZ
        base = self._base.add(first_arrival, first_arrival - progress)
        return Capture(rtp_time, progress + base, self._sender(timestamp), self._doubted)

    def _sender(self, timestamp: int) -> float | None:
        if not self._reports or self._doubted:
            return None
        ntp_seconds, rtp = self._reports[-1]
        distance = _signed(timestamp - rtp) / RTP_HZ
        return ntp_seconds + distance if abs(distance) <= REPORT_FAR_S else None

    def _unwrap(self, timestamp: int, arrival: float) -> int:
        if self._newest is None:
            self._newest = (timestamp, arrival)
            return timestamp
        newest, newest_arrival = self._newest
        step = _signed(timestamp + self._offset - newest)
        rtp_time = newest + step
        if step < 0:
            self._late += 1
            jumped = step < -LATE_S * RTP_HZ or self._late >= LATE_RUN
        else:
            self._late = 0
            jumped = arrival - rtp_time / RTP_HZ < self._base.value - AHEAD_S
        if jumped:
            # Go on counting from the newest frame by this machine's clock.
            rtp_time = newest + max(1, round((arrival - newest_arrival) * RTP_HZ))
            self._restart(timestamp, newest - self._offset)
            self._offset = rtp_time - timestamp
        if rtp_time > newest:
            self._newest = (rtp_time, arrival)
        return rtp_time

    def _restart(self, timestamp: int, before: int) -> None:
        """What was learnt before the jump says nothing about the frames after it.

        The newest report may be of either side: it belongs to the RTP timestamp that it is closer to.
        """
        self.jumps += 1
        self._late = 0
        self._base.clear()
        if self._reports:
            newest = self._reports[-1]
            self._reports.clear()
            self._doubted = False
            if abs(_signed(timestamp - newest[1])) < abs(_signed(before - newest[1])):
                self._reports.append(newest)


def captured_after(
    frame_captured_sender: float | None,
    frame_captured_local: float,
    sent_at_s: float | None,
    now_wall_s: float,
    asked: float,
) -> bool:
    """Whether a frame shows what was there when the question was sent.

    `sent_at_s` is the page's own stamp in seconds since the epoch, by the clock of its sender reports, so no offset
    between the machines matters. It is ignored when more than 2 s from the arrival: `now_wall_s` (this machine's
    seconds since the epoch) and `asked` (monotonic) are the same moment, the question's arrival here. Without it,
    without a report, or where the two stamps are of different clocks, the local estimate has to be 10 ms past the
    arrival; before the arrival it never is, whatever the stamps say.
    """
    if (
        frame_captured_sender is not None
        and sent_at_s is not None
        and abs(sent_at_s - now_wall_s) <= SENT_AT_BOUND_S
        and not stamps_disagree(frame_captured_sender, frame_captured_local, sent_at_s, asked)
    ):
        return frame_captured_sender >= sent_at_s and frame_captured_local >= asked
    return frame_captured_local >= asked + LOCAL_MARGIN_S


def stamps_disagree(
    frame_captured_sender: float, frame_captured_local: float, sent_at_s: float, asked: float
) -> bool:
    """Tell whether a frame's stamp is further in the past than a question's, as both arrived, than the path explains.

    The other way round proves nothing: the question may have been late.
    """
    frame_took = frame_captured_local - frame_captured_sender
    return frame_took - (asked - sent_at_s) > STAMPS_APART_S


def _signed(difference: int) -> int:
    """A difference of 32-bit counters as the shorter way round."""
    return ((difference + 0x80000000) & 0xFFFFFFFF) - 0x80000000
