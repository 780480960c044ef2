"""Estimate a path's capacity from the arrival of frames. Pure: the caller passes the time.

A frame leaves the browser as a burst, so the spread of its packets on arrival shows the bottleneck:
every frame of three or more packets is a probe, at two frames per second and without test traffic.
The capacity is sent to the browser as REMB, idle and awake; the page gets lower limits for its
encoder. The estimate neither decays nor expires while the camera is idle.

The rule and its constants were measured with Chromium over links of 300 kbit/s to 20 Mbit/s, and in
simulations with jitter, loss, reordering, competing traffic and stalling readers
(`tests/media/test_path_rate.py`).
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median_low

from server.core.messages import RampStep, Sender, SenderProfile

# Bounds in bit/s, in addition to TOP: lowest REMB, lowest limit of the encoder, and the highest single rate
# that is distinguished
REMB_LOW = 150_000
CAP_LOW = 120_000
RATE_TOP = 4e6
# Limit of the encoder before the first burst, and its lower bound without send times in packets
CAP_FIRST = 300_000
# Fraction of the path that the encoder may use
SHARE = 0.65
# Bits of a good 720p frame, from which the frame rate is derived
FRAME_BITS = 40_000
FPS_LOW = 6
# Minimum packets of a burst
TRAIN_PACKETS = 3
# An incomplete burst shows a narrower path if its rate without the longest gap is below this
# fraction of the estimate, and it is late by this many seconds.
EARLY, EARLY_S = 0.6, 0.02
# A burst whose spread on arrival is within these bounds of that on sending was not slowed by the path.
FREE_FACTOR, FREE_S = 1.15, 0.002
# Maximum time over which the packets of a burst are sent
BURST_S = 1.0
# Number of rates whose lower median is the estimate
RATES = 5
# A rate below this fraction of the estimate lowers it: immediately with a queue, else with the second one.
SLOW = 0.75
SLOW_QUEUE_S = 0.05
# Without send times, a rate below this fraction of the estimate is the browser's own pacing, unless
# the frame was queued.
PACED = 0.6
# A frame delayed by this much, whose packets then arrived this many times faster than the path
# allows, waited in this machine's socket and is ignored.
STALL_S, STALL_RATE = 0.015, 3.0
# Number of frames over whose delays the jitter, a median, is computed; and by how many times the
# jitter a frame may be late
JITTERS = 9
JITTER_LATE = 3.0
# Queueing delay above which a lower estimate also lowers the gain, so that the queue empties; a
# shorter one is jitter.
GAIN_QUEUE_S = 0.03
# Lowest gain on the estimate. The gain falls after two queued frames in a row, and rises without a queue.
GAIN_LOW = 0.25
GAIN_DOWN, GAIN_DOWN_S, QUEUE_HIGH_S = 0.7, 0.25, 0.08
GAIN_UP, GAIN_UP_S, QUEUE_LOW_S = 1.1, 0.5, 0.04
# Lower bound of REMB as a fraction of the estimate; below it frames would wait in the browser.
REMB_GAIN_LOW = 0.5
# Window of the shortest delay, which is that of the empty path
WINDOW_S = 12
# A packet up to this much older than the newest frame is late; any other timestamp begins a frame.
LATE_S = 2.0
_RTP_HZ = 90_000
# abs-send-time: 24 bits, 6.18 fixed point seconds.
_SEND_HZ = 1 << 18
_RTP_WRAP_S = 2**32 / _RTP_HZ
# Relative changes that are reported, and seconds between reports: decreases at once, increases less often
REMB_MOVE, REMB_EVERY_S = 0.05, 1.0
CAP_MOVE, MORE_EVERY_S = 0.08, 0.3


class PathRate:
    """Estimates the path of one camera. It may outlive a stream, because a new SSRC uses the same path.

    Without abs-send-time (Firefox) the spread on arrival may be the browser's pacing, so only
    queued frames show a slow path; the RTP timestamp replaces the send time of a frame's first
    packet, and no REMB is sent.
    """

    def __init__(self) -> None:
        # Lower median of `_rates`, bit/s; None before the first burst
        self._estimate: float | None = None
        self._rates: deque[float] = deque(maxlen=RATES)
        # Consecutive low rates that await confirmation
        self._slow: list[float] = []
        # The rates before this incomplete frame lowered the estimate; None if it did not
        self._before: list[float] | None = None
        # Without send times: True once a queued frame has shown the rate of the path
        self._proven = False
        self._gain = 1.0
        self._gain_at = -math.inf
        # True while the gain is low only to empty the queue of a narrower path
        self._draining = False
        # Consecutive queued frames
        self._high = 0
        # Packets carry their send time; else no REMB is sent.
        self.timed = False
        # Arrival minus send time of the first packet, from which delays are measured; None before it
        self._delay_zero: float | None = None
        # Queueing delay of the newest frame's first packet, seconds
        self._waited = 0.0
        # The same for the newest frame that did not wait for the previous frame
        self._alone = 0.0
        # Changes of `_alone` from frame to frame, and their median
        self._jitters: deque[float] = deque(maxlen=JITTERS)
        self._jitter = 0.0
        # The shortest recent delay
        self._base = WindowMinimum(WINDOW_S)
        # Timestamp of the frame being received; None before the first
        self._timestamp: int | None = None
        self._train = PacketBurst(0.0, 0.0, 0)
        # Limit of the encoder while awake, and capacity of the path for REMB, bit/s
        self.cap = CAP_FIRST
        self.remb = TOP

    def packet(
        self,
        now: float,
        send_time: int | None,
        size: int,
        timestamp: int,
        marker: bool,
        sequence: int,
    ) -> bool:
        """Add a media packet on arrival. Return True if `remb`, `cap` or `frame_rate` may have changed.

        `send_time`: abs-send-time as on the wire (24 bits); `size`: bytes of the payload;
        `timestamp`: 32 bits; `sequence`: 16 bits. Do not add retransmissions, RTX or padding on
        another SSRC.
        """
        if send_time is not None:
            if not self.timed:
                self._start_timed()
            sent = send_time / _SEND_HZ
        elif self.timed:
            return False
        else:
            sent = timestamp / _RTP_HZ
        changed = False
        train = self._train
        if timestamp != self._timestamp:
            if self._timestamp is not None:
                step = to_signed_difference(timestamp - self._timestamp)
                if -LATE_S * _RTP_HZ < step < 0:
                    return False  # A late packet of an earlier frame must not split this frame.
                if not train.closed:
                    changed = self._close(now)
            self._timestamp = timestamp
            self._before = None
            changed = self._update_queue(now, self._delay(now, sent)) or changed
            self._train = train = PacketBurst(now, sent, sequence)
        elif not train.closed:
            train.add(now, sent if self.timed else None, size, sequence)
            if train.packets >= TRAIN_PACKETS and self._before is None:
                changed = self._check_early(now)
        if marker and not train.closed:
            changed = self._close(now) or changed
        if changed:
            self._update()
        return changed

    @property
    def frame_rate(self) -> int:
        """Frames per second while awake, with enough bits for good pictures."""
        return min(FPS_TOP, max(FPS_LOW, round(self.cap / FRAME_BITS)))

    def _start_timed(self) -> None:
        """Switch to send times, and clear rates and delays measured with another clock."""
        self.timed = True
        self._delay_zero = None
        self._base.clear()
        self._rates.clear()
        self._estimate = None
        self._timestamp = None
        self._high = 0

    def _delay(self, now: float, sent: float) -> float:
        """Return a packet's queueing delay: the seconds above the shortest recent delay."""
        if self._delay_zero is None:
            self._delay_zero = now - sent
        wrap = SEND_WRAP_S if self.timed else _RTP_WRAP_S
        delay = (now - sent - self._delay_zero + wrap / 2) % wrap - wrap / 2
        return delay - self._base.add(now, delay)

    def _update_queue(self, now: float, queue: float) -> bool:
        """Update jitter and gain with the queueing delay of a frame's first packet. Return True on a change."""
        if queue < now - self._train.last_arrival:
            # The frame did not wait for the one before it.
            self._jitters.append(abs(queue - self._alone))
            self._jitter = median_low(self._jitters)
            self._alone = queue
        self._waited = queue
        if self._slow and queue > SLOW_QUEUE_S + self._jitter:
            self._narrow(now, max(self._slow), waiting=True)
            return True
        self._high = self._high + 1 if queue > QUEUE_HIGH_S + 2 * self._jitter else 0
        since = now - self._gain_at
        if self._high >= 2 and since > GAIN_DOWN_S:
            self._gain = max(GAIN_LOW, self._gain * GAIN_DOWN)
            self._draining = False
        elif self._draining and queue < GAIN_QUEUE_S and since > 0:
            self._gain = 1.0
            self._draining = False
        elif queue < QUEUE_LOW_S and self._gain < 1 and since > GAIN_UP_S:
            self._gain = min(1.0, self._gain * GAIN_UP)
        else:
            return False
        self._gain_at = now
        return True

    def _check_early(self, now: float) -> bool:
        """Lower the estimate early if an incomplete frame arrives so slowly that the path must be narrower.

        The frames captured from now on benefit.
        """
        train = self._train
        if self._estimate is None or train.spread <= FREE_FACTOR * train.sent_spread + FREE_S:
            return False
        # Rates above TOP make no difference, and a few milliseconds would have a large effect.
        estimate = min(self._estimate, TOP)
        late = train.spread - max(train.sent_spread, train.bits / estimate)
        if (
            late < max(EARLY_S, JITTER_LATE * self._jitter)
            or train.get_steady_rate() >= EARLY * estimate
        ):
            return False
        if not self.timed and self._waited < SLOW_QUEUE_S:
            return False
        self._before = list(self._rates)
        self._narrow(now, train.rate(), waiting=True)
        return True

    def _close(self, now: float) -> bool:
        """Add the rate of a complete frame to the estimate. Return True on a change."""
        train = self._train
        train.closed = True
        sent_s = train.sent_spread
        if train.packets < TRAIN_PACKETS or sent_s > BURST_S:
            return False
        rate = min(RATE_TOP, train.rate())
        estimate = self._estimate
        if self._before is not None:
            self._judge(self._before, rate)
            return True
        if self.timed:
            free = train.spread <= FREE_FACTOR * sent_s + FREE_S
        else:
            free = self._waited < SLOW_QUEUE_S
            self._proven = self._proven or not free
        if estimate is not None:
            if free and rate < (estimate if self.timed else PACED * estimate):
                return False  # Not slowed by the path: the rate is only a lower bound.
            if rate > STALL_RATE * estimate and self._waited > STALL_S + 2 * self._jitter:
                return False
            needed = min(estimate, TOP)
            late = train.spread - train.bits / needed
            if not free and rate < SLOW * needed and late > JITTER_LATE * self._jitter:
                self._slow.append(rate)
                if len(self._slow) >= 2:
                    self._narrow(now, max(self._slow), waiting=self._waited > GAIN_QUEUE_S)
                else:
                    # A single low rate may be accidental: it is only one of the rates.
                    self._learn(rate)
                return True
        self._slow.clear()
        self._learn(rate)
        return True

    def _judge(self, before: list[float], rate: float) -> None:
        """Confirm or undo `_check_early` after the frame is complete."""
        self._rates.clear()
        if rate >= SLOW * min(median_low(before), TOP):
            self._rates.extend(before)
            if self._draining:
                self._gain = 1.0
                self._draining = False
        self._learn(rate)

    def _learn(self, rate: float) -> None:
        self._rates.append(rate)
        self._estimate = median_low(self._rates)

    def _narrow(self, now: float, rate: float, waiting: bool) -> None:
        """Replace all rates by this lower one; `waiting`: lower the gain to empty the queue."""
        self._slow.clear()
        self._rates.clear()
        self._learn(rate)
        if waiting:
            self._draining = self._draining or self._gain == 1.0
            self._gain = min(self._gain, GAIN_DOWN)
            self._gain_at = now + 0.1

    def _update(self) -> None:
        estimate, gain = self._estimate, self._gain
        if estimate is not None:
            held = estimate * max(REMB_GAIN_LOW, gain)
            self.remb = int(min(TOP, max(REMB_LOW, held)))
        else:
            self.remb = TOP
        cap = SHARE * (estimate or 0.0)
        if estimate is None or not (self.timed or self._proven):
            cap = max(CAP_FIRST, cap)
        self.cap = int(min(TOP, max(CAP_LOW, cap * gain)))


class Announcements:
    """Decides when the browser (REMB) and the page are informed of a path's rates."""

    def __init__(self, path: PathRate) -> None:
        self._path = path
        self._sent, self._sent_at = 0, -math.inf
        self._told, self._told_at = (0, 0), -math.inf

    def take_due_remb(self, now: float) -> int | None:
        """Return the REMB to send now (bit/s), and count it as sent; None if none is due.

        Call it after each packet. REMB is due after a change of more than 5 %, and every second.
        """
        moved = abs(self._path.remb - self._sent) > REMB_MOVE * self._sent
        if not self._path.timed or (not moved and now - self._sent_at < REMB_EVERY_S):
            return None
        self._sent, self._sent_at = self._path.remb, now
        return self._path.remb

    def take_due_page_limits(self, now: float) -> bool:
        """Return True if `cap` or `frame_rate` should be sent to the page, and count them as sent.

        They are due at first, after a decrease of 8 %, and after an increase of 8 %, 0.3 s after the
        last time.
        """
        new = self._path.cap, self._path.frame_rate
        less = any(one < (1 - CAP_MOVE) * old for one, old in zip(new, self._told, strict=True))
        more = any(one > (1 + CAP_MOVE) * old for one, old in zip(new, self._told, strict=True))
        if not less and not (more and now - self._told_at > MORE_EVERY_S):
            return False
        self._told, self._told_at = new, now
        return True


# Bytes of IP, UDP and SRTP per RTP packet
OVERHEAD = 40
# Maximum correction for lost packets: a frame that lost more than half of them proves less.
LOST_TOP = 2.0
# Lower bound of the spread in a rate, for packets read at once
SPREAD_LOW_S = 1e-4
# Time after which abs-send-time wraps
SEND_WRAP_S = 64.0


class PacketBurst:
    """The packets of one RTP timestamp, each once and in the order of arrival. Times are seconds.

    The first packet starts the measurement, so its bits are not included.
    """

    def __init__(self, now: float, sent: float, sequence: int) -> None:
        """Start with the first packet."""
        self.packets = 1
        # True after the marker: later packets of this timestamp were overtaken, and are ignored.
        self.closed = False
        self._bytes = 0
        self._first_arrival = self.last_arrival = now
        self._first_sent = sent
        # Relative to the first packet
        self._sent_min = self._sent_max = 0.0
        self._first_sequence = self._last_sequence = sequence
        # Longest time between two arrivals, and the bytes of the later packet
        self._longest_gap = 0.0
        self._longest_bytes = 0

    def add(self, now: float, sent: float | None, size: int, sequence: int) -> None:
        """Add a packet. `size`: bytes of payload; `sent`: None without send times; `sequence`: 16 bits."""
        size += OVERHEAD
        self.packets += 1
        self._bytes += size
        gap = now - self.last_arrival
        if gap > self._longest_gap:
            self._longest_gap = gap
            self._longest_bytes = size
        self.last_arrival = now
        if (sequence - self._last_sequence) & 0xFFFF < 0x8000:
            self._last_sequence = sequence
        if sent is not None:
            after = sent - self._first_sent
            if after > SEND_WRAP_S / 2:
                after -= SEND_WRAP_S
            elif after < -SEND_WRAP_S / 2:
                after += SEND_WRAP_S
            if after > self._sent_max:
                self._sent_max = after
            elif after < self._sent_min:
                self._sent_min = after

    @property
    def spread(self) -> float:
        """Seconds from the first arrival to the last."""
        return self.last_arrival - self._first_arrival

    @property
    def sent_spread(self) -> float:
        """Seconds from the first send time to the last."""
        return self._sent_max - self._sent_min

    @property
    def bits(self) -> float:
        """Bits that the path carried after the first packet.

        Lost packets also used the path: they are included with the mean size, unless they were the last ones.
        """
        steps = (self._last_sequence - self._first_sequence) & 0xFFFF
        return 8 * self._bytes * min(max(1.0, steps / (self.packets - 1)), LOST_TOP)

    def rate(self) -> float:
        """Return the rate on arrival, bit/s."""
        return self.bits / max(self.spread, SPREAD_LOW_S)

    def get_steady_rate(self) -> float:
        """Return the rate without the longest gap, so that a late packet or a stall has no effect."""
        bits = 8 * (self._bytes - self._longest_bytes)
        return bits / max(self.spread - self._longest_gap, SPREAD_LOW_S)


def to_signed_difference(difference: int, bits: int = 32) -> int:
    """Return the signed difference of two wrapping counters of so many bits."""
    half = 1 << (bits - 1)
    return ((difference + half) & (2 * half - 1)) - half


class WindowMinimum:
    """The minimum of the values of the last seconds.

    It stores one minimum per second, so that a window of n seconds has n numbers at any rate.
    `value` is the minimum over the window; infinite before the first value.
    """

    __slots__ = ("_minima", "_seconds", "value")

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        # (second, minimum in it), oldest first
        self._minima: deque[tuple[int, float]] = deque(maxlen=seconds)
        self.value = math.inf

    def add(self, now: float, value: float) -> float:
        """Add a value and return the new minimum. `now`: seconds; it may go back by less than one second."""
        second = math.floor(now)
        minima = self._minima
        if minima and minima[-1][0] >= second:
            if value < minima[-1][1]:
                minima[-1] = (minima[-1][0], value)
                self.value = min(self.value, value)
        else:
            minima.append((second, value))
            while minima[0][0] <= second - self._seconds:
                minima.popleft()
            self.value = min(smallest for _, smallest in minima)
        return self.value

    def clear(self) -> None:
        self._minima.clear()
        self.value = math.inf


# Maximum bit/s of the encoder and of REMB, and maximum frame rate
TOP = 2_500_000
FPS_TOP = 30
# Idle frames per second while a change is awaited: a frame is then less than 0.1 s old. They share
# the bits of the usual idle frames, but have at least so many each.
ALERT_FPS = 12
ALERT_FRAME_BITS = 25_000
IDLE_LOW, IDLE_TOP_A_FRAME = 30_000, 100_000
# Sent in place of 30. If limited to exactly the camera's rate, Chromium drops every second frame,
# because slightly early frames exceed the limit (measured with a 30/s camera: one frame per 62 ms;
# limited to 60, one per 33 ms).
NO_LIMIT_FPS = 60
RAMP_AT_MS = (0, 150, 300, 450, 600, 800, 1000, 1300, 1600, 2000)
# libwebrtc's encoders use the mean frame rate of the last 3 s (90 frames at 30/s), after which a
# lower rate takes full effect.
SETTLE_MS, SETTLE_STEP_MS = 3000, 300


def make_sender_plan(
    cap: int,
    frame_rate: int,
    idle_frame_rate: float,
    *,
    alert: bool = False,
    wake_ms: int | None = None,
) -> Sender:
    """Return the message with the limits for a path (`PathRate.cap` in bit/s, `PathRate.frame_rate`).

    Idle frames may be 1.5 times as large as awake ones. The browser's encoder adapts to a raised frame rate within about
    1.7 s, and until then its frames are too large, so the bit rate rises in steps (`ramp`). After the return to idle it
    still divides the bit rate by the higher frame rate, and Chromium's H.264 skips frames that exceed their budget
    (measured: two of six, gaps of 1.0 s at 2 frames/s), so the bit rate also falls in steps (`settle`). This does not
    load the path more, because each idle frame keeps its size. `alert`: a change is awaited, so the idle bits are
    divided among more frames.
    """
    frame_bits = cap / frame_rate
    idle_rate = max(1, min(round(idle_frame_rate), frame_rate))
    idle_bits = min(
        max(IDLE_LOW, 1.5 * idle_rate * frame_bits), IDLE_TOP_A_FRAME * idle_rate, float(cap)
    )
    if alert:
        more = min(ALERT_FPS, int(idle_bits) // ALERT_FRAME_BITS)
        idle_bits, idle_rate = int(idle_bits), min(frame_rate, max(idle_rate, more))
    ramp = []
    if cap < TOP:
        for at in RAMP_AT_MS:
            frames = min(frame_rate, 2 + 0.6 * frame_rate * at / 1000)
            ramp.append(RampStep(at_ms=at, max_bitrate=int(frame_bits * frames)))
    settle = []
    for at in range(0, SETTLE_MS + 1, SETTLE_STEP_MS):
        bits = int(idle_bits / idle_rate * _get_mean_frame_rate(frame_rate, idle_rate, at))
        settle.append(RampStep(at_ms=at, max_bitrate=min(cap, bits)))
    awake_rate = frame_rate if frame_rate < FPS_TOP else NO_LIMIT_FPS
    return Sender(
        idle=SenderProfile(max_framerate=idle_rate, max_bitrate=int(idle_bits)),
        awake=SenderProfile(max_framerate=awake_rate, max_bitrate=cap),
        ramp=ramp,
        settle=settle,
        wake_ms=wake_ms,
    )


def _get_mean_frame_rate(before: int, now: int, ms: int) -> float:
    """Return the mean frame rate of the last `SETTLE_MS`, `ms` after the fall to `now`."""
    return before + (now - before) * min(1.0, ms / SETTLE_MS)
