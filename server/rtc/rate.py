"""What the path carries, read from the frames themselves. Pure: the caller gives the time.

A frame leaves the browser as a burst, so how far its packets are spread on arrival shows the bottleneck: every frame
of three or more packets (a train) is a probe, at two frames a second and without test traffic. The estimate told to
the browser (REMB) is that capacity, idle and awake; the encoder's limits, told to the page, are the brake. Nothing is
forgotten over idle times and nothing decays.

The rule and its constants were measured with Chromium over links of 300 kbit/s to 20 Mbit/s.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from server.rtc.window_minimum import WindowMinimum

# bit/s: bounds of REMB, of the encoder's limit, and of any single rate.
TOP = 2_500_000
REMB_LOW = 150_000
CAP_LOW = 120_000
RATE_TOP = 20e6
# The encoder's limit before the first train, and the least one without send times on the packets.
CAP_FIRST = 300_000
# The encoder may use this share of the path.
SHARE = 0.65
# A frame of so many bits shows a 720p picture well enough; the frame rate follows from it.
FRAME_BITS = 40_000
FPS_LOW, FPS_TOP = 5, 30
# IP, UDP and SRTP on top of each RTP packet's payload, bytes.
OVERHEAD = 40
TRAIN_PACKETS = 3
# With more than half of its packets lost a train tells less than it seems.
LOST_TOP = 2.0
# A train spread as widely on arrival as when sent was not slowed by the path.
FREE_FACTOR, FREE_S = 1.15, 0.002
# Packets sent over a longer time than this are no burst.
BURST_S = 1.0
# Rates that the estimate is the lower median of.
RATES = 5
# A rate below this share of the estimate makes the path narrower: at once when there is a queue, else at the second.
SLOW = 0.75
SLOW_QUEUE_S = 0.05
# The gain is lowered with it, to let the queue run empty, when frames waited so long: without one it is jitter.
GAIN_QUEUE_S = 0.03
# The gain on the estimate: lowered when two frames in a row waited in a queue, raised again when there is none.
GAIN_LOW = 0.25
GAIN_DOWN, GAIN_DOWN_S, QUEUE_HIGH_S = 0.7, 0.25, 0.08
GAIN_UP, GAIN_UP_S, QUEUE_LOW_S = 1.1, 0.5, 0.04
# REMB never goes below this share of the estimate, or frames would wait in the browser.
REMB_GAIN_LOW = 0.5
# The shortest delay of this time is that of the empty path.
WINDOW_S = 12
# A packet of a frame that much older than the newest is late; anything else is another frame.
LATE_S = 2.0
# Changes worth telling.
REMB_MOVE, REMB_EVERY_S, CAP_MOVE = 0.05, 1.0, 0.08

_RTP_HZ = 90_000
# abs-send-time: 24 bits, 6.18 fixed point seconds, so it wraps after 64 s.
_SEND_HZ, _SEND_WRAP_S = 1 << 18, 64.0
_RTP_WRAP_S = 2**32 / _RTP_HZ


class PathRate:
    """One camera's path; it may outlive a stream, since a new SSRC changes nothing about the path.

    Without abs-send-time (Firefox) the estimate is the spread on arrival alone, a lower bound only; the RTP timestamp
    stands in for the send time of a frame's first packet, so the queue is still seen; REMB is left to others.
    """

    __slots__ = (
        "_base",
        "_cap",
        "_delay_zero",
        "_estimate",
        "_first_arrival",
        "_first_sent",
        "_first_sequence",
        "_gain",
        "_gain_at",
        "_high",
        "_last_arrival",
        "_last_sequence",
        "_rates",
        "_remb",
        "_remb_at",
        "_sent_max",
        "_sent_min",
        "_slow",
        "_timed",
        "_timestamp",
        "_told_cap",
        "_told_fps",
        "_told_remb",
        "_train_bytes",
        "_train_packets",
        "_waited",
    )

    def __init__(self) -> None:
        # bit/s, the lower median of `_rates`; None before the first train.
        self._estimate: float | None = None
        self._rates: deque[float] = deque(maxlen=RATES)
        # Rates in a row that were too low to be believed at once.
        self._slow: list[float] = []
        self._gain = 1.0
        self._gain_at = -math.inf
        # Frames in a row that waited.
        self._high = 0
        # Whether packets carry their send time.
        self._timed = False
        # The first packet's arrival less its send time: delays count from it. None before.
        self._delay_zero: float | None = None
        # How long the first packet of the newest frame waited, seconds.
        self._waited = 0.0
        # (second, shortest delay in it), and the shortest of them.
        self._base = WindowMinimum(WINDOW_S)
        # The frame being received; None before the first.
        self._timestamp: int | None = None
        # Its packets so far; -1 once its marker came.
        self._train_packets = 0
        # Bytes of all but the first.
        self._train_bytes = 0
        self._first_arrival = self._last_arrival = 0.0
        self._first_sent = 0.0
        self._first_sequence = self._last_sequence = 0
        # Send times less the first one's.
        self._sent_min = self._sent_max = 0.0
        self._cap = CAP_FIRST
        self._remb = TOP
        self._told_cap = 0
        self._told_fps = 0
        self._told_remb = 0
        self._remb_at = -math.inf

    def packet(
        self,
        now: float,
        send_time: int | None,
        size: int,
        timestamp: int,
        marker: bool,
        sequence: int | None = None,
    ) -> bool:
        """Feed a media packet on arrival; true when what is to be told may have changed.

        `send_time`: abs-send-time as on the wire (24 bits); `size`: bytes of the payload; `timestamp`: 32 bits.
        With the `sequence` number lost packets count among the bits that the path carried, or was asked to.
        Packets sent again, padding on another SSRC and RTX are not fed.
        """
        if send_time is not None:
            if not self._timed:
                self._start_timed()
            sent = send_time / _SEND_HZ
        elif self._timed:
            return False
        else:
            sent = timestamp / _RTP_HZ
        changed = False
        if timestamp != self._timestamp:
            if self._timestamp is not None:
                step = ((timestamp - self._timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
                if -LATE_S * _RTP_HZ < step < 0:
                    return False  # A late packet of an earlier frame would cut this one in two.
                changed = self._close(now)
            self._timestamp = timestamp
            self._train_packets = 0
            changed = self._queue(now, self._delay(now, sent)) or changed
        packets = self._train_packets
        if packets > 0:
            self._train_packets = packets + 1
            self._train_bytes += size + OVERHEAD
            self._last_arrival = now
            if sequence is not None and (sequence - self._last_sequence) & 0xFFFF < 0x8000:
                self._last_sequence = sequence
            if self._timed:
                after = sent - self._first_sent
                if after > _SEND_WRAP_S / 2:
                    after -= _SEND_WRAP_S
                elif after < -_SEND_WRAP_S / 2:
                    after += _SEND_WRAP_S
                if after > self._sent_max:
                    self._sent_max = after
                elif after < self._sent_min:
                    self._sent_min = after
        elif packets == 0:
            self._train_packets = 1
            self._train_bytes = 0
            self._first_arrival = self._last_arrival = now
            self._first_sent = sent
            self._sent_min = self._sent_max = 0.0
            self._first_sequence = self._last_sequence = sequence or 0
        if marker:
            changed = self._close(now) or changed
            self._train_packets = -1
        if changed:
            self._update()
        return changed

    def remb(self) -> int:
        """Capacity of the path, bit/s, as it is told to the browser."""
        return self._remb

    def cap(self) -> int:
        """What the encoder may use while awake, bit/s."""
        return self._cap

    def frame_rate(self) -> int:
        """Frames a second while awake, so that a frame has the bits for a good picture."""
        return min(FPS_TOP, max(FPS_LOW, round(self._cap / FRAME_BITS)))

    def remb_due(self, now: float) -> int | None:
        """The REMB to send now, bit/s; None when there is none. A value counts as sent.

        Due when it moved by more than 5 %, and each second. Ask after each packet.
        """
        if not self._timed:
            return None
        moved = abs(self._remb - self._told_remb) > REMB_MOVE * self._told_remb
        if not moved and now - self._remb_at < REMB_EVERY_S:
            return None
        self._told_remb = self._remb
        self._remb_at = now
        return self._remb

    def page_due(self) -> bool:
        """Whether `cap` or `frame_rate` moved by more than 8 % since it was last told; true counts as telling.

        True at first.
        """
        cap, fps = self._cap, self.frame_rate()
        if (
            abs(cap - self._told_cap) <= CAP_MOVE * self._told_cap
            and abs(fps - self._told_fps) <= CAP_MOVE * self._told_fps
        ):
            return False
        self._told_cap, self._told_fps = cap, fps
        return True

    def _start_timed(self) -> None:
        """Send times are there from now on: what was learnt with another clock does not count."""
        self._timed = True
        self._delay_zero = None
        self._base.clear()
        self._rates.clear()
        self._estimate = None
        self._timestamp = None
        self._high = 0

    def _delay(self, now: float, sent: float) -> float:
        """Seconds that a packet took longer than the quickest one lately."""
        if self._delay_zero is None:
            self._delay_zero = now - sent
        wrap = _SEND_WRAP_S if self._timed else _RTP_WRAP_S
        delay = (now - sent - self._delay_zero + wrap / 2) % wrap - wrap / 2
        return delay - self._base.add(now, delay)

    def _queue(self, now: float, queue: float) -> bool:
        """What a frame's first packet tells by how long it waited."""
        self._waited = queue
        if self._slow and queue > SLOW_QUEUE_S:
            self._narrow(now, waiting=True)
            return True
        self._high = self._high + 1 if queue > QUEUE_HIGH_S else 0
        since = now - self._gain_at
        if self._high >= 2 and since > GAIN_DOWN_S:
            self._gain = max(GAIN_LOW, self._gain * GAIN_DOWN)
            if not self._timed:
                # The bound was none: bursts may arrive closer together than the path sends them.
                self._rates.clear()
                self._estimate = None
        elif queue < QUEUE_LOW_S and self._gain < 1 and since > GAIN_UP_S:
            self._gain = min(1.0, self._gain * GAIN_UP)
        else:
            return False
        self._gain_at = now
        return True

    def _close(self, now: float) -> bool:
        """The frame's packets came: what does their spread tell?"""
        packets, self._train_packets = self._train_packets, 0
        sent_s = self._sent_max - self._sent_min
        if packets < TRAIN_PACKETS or sent_s > BURST_S:
            return False
        spread = self._last_arrival - self._first_arrival
        # Lost ones (as large as the others) took their time on the path too, if they were not the last.
        steps = (self._last_sequence - self._first_sequence) & 0xFFFF
        bits = 8 * self._train_bytes * min(max(1.0, steps / (packets - 1)), LOST_TOP)
        rate = min(RATE_TOP, bits / max(spread, 1e-4))
        free = not self._timed or spread <= FREE_FACTOR * sent_s + FREE_S
        estimate = self._estimate
        if estimate is not None:
            if free and rate < estimate:
                return False  # It came as it was sent: a lower bound only.
            if not free and rate < SLOW * estimate:
                self._slow.append(rate)
                if len(self._slow) < 2:
                    # One may be an accident, but it counts among the others.
                    self._learn(rate)
                else:
                    self._narrow(now, waiting=self._waited > GAIN_QUEUE_S)
                return True
        self._slow.clear()
        self._learn(rate)
        return True

    def _learn(self, rate: float) -> None:
        self._rates.append(rate)
        self._estimate = sorted(self._rates)[(len(self._rates) - 1) // 2]

    def _narrow(self, now: float, waiting: bool) -> None:
        """The path has become narrower: believe the best of the slow rates, and let the queue run empty."""
        rate = max(self._slow)
        self._slow.clear()
        self._rates.clear()
        self._learn(rate)
        if waiting:
            self._gain = GAIN_DOWN
            self._gain_at = now + 0.1

    def _update(self) -> None:
        estimate, gain = self._estimate, self._gain
        if estimate is not None:
            held = estimate * max(REMB_GAIN_LOW, gain)
            self._remb = int(min(TOP, max(REMB_LOW, held)))
        else:
            self._remb = TOP
        if self._timed and estimate is not None:
            cap = SHARE * estimate * gain
        else:
            cap = max(CAP_FIRST, SHARE * (estimate or 0.0)) * gain
        self._cap = int(min(TOP, max(CAP_LOW, cap)))


@dataclass(frozen=True, slots=True)
class Limits:
    """What the page gives to the browser's encoder."""

    # Frames a second; a whole number, since Safari takes no other.
    max_framerate: int
    # bit/s.
    max_bitrate: int


@dataclass(frozen=True, slots=True)
class SenderPlan:
    """The page's three states."""

    idle: Limits
    awake: Limits
    # (milliseconds after waking, bit/s from then on) at the awake frame rate; empty: go there at once.
    ramp: tuple[tuple[int, int], ...]


IDLE_LOW, IDLE_TOP_A_FRAME = 30_000, 100_000
# Told in place of 30: Chromium, limited to just the camera's own rate, takes frames that come a little early for too
# many and drops every second one (measured: from a 30/s camera one each 62 ms; limited to 60, one each 33 ms).
NO_LIMIT_FPS = 60
RAMP_AT_MS = (0, 150, 300, 450, 600, 800, 1000, 1300, 1600, 2000)


def sender_plan(cap: int, frame_rate: int, idle_frame_rate: float, top: int = TOP) -> SenderPlan:
    """What the page should set for a path (`PathRate.cap`, `PathRate.frame_rate`).

    Idle frames may be half as large again as awake ones. The browser's encoder needs about 1.7 s to believe a raised
    frame rate and until then makes frames too large for it, so the bits rise with the frames: the ramp.
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
    awake_rate = frame_rate if frame_rate < FPS_TOP else NO_LIMIT_FPS
    return SenderPlan(Limits(idle_rate, int(idle_bits)), Limits(awake_rate, cap), ramp)
