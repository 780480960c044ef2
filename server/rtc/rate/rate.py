"""What the path carries, read from the frames themselves. Pure: the caller gives the time.

A frame leaves the browser as a burst, so how far its packets are spread on arrival shows the bottleneck: every frame
of three or more packets (a train) is a probe, at two frames a second and without test traffic. The estimate told to
the browser (REMB) is that capacity, idle and awake; the encoder's limits, told to the page, are the brake. Nothing is
forgotten over idle times and nothing decays.

The rule and its constants were measured with Chromium over links of 300 kbit/s to 20 Mbit/s, and in simulations with
jitter, loss, reordering, competing traffic and a reader that stalls (`tests/rtc/rate/test_rate.py`).
"""

from __future__ import annotations

import math
from collections import deque

from server.rtc.rate.train import SEND_WRAP_S, Train
from server.rtc.rate.window_minimum import WindowMinimum

# bit/s: bounds of REMB, of the encoder's limit, and of any single rate (what is above makes no difference).
TOP = 2_500_000
REMB_LOW = 150_000
CAP_LOW = 120_000
RATE_TOP = 4e6
# The encoder's limit before the first train, and the least one without send times on the packets.
CAP_FIRST = 300_000
# The encoder may use this share of the path.
SHARE = 0.65
# A frame of so many bits shows a 720p picture well enough; the frame rate follows from it.
FRAME_BITS = 40_000
FPS_LOW, FPS_TOP = 6, 30
# Frames of fewer packets tell nothing. So many of one still coming in may tell that the path became narrower,
TRAIN_PACKETS = 3
# when even without the longest gap their rate is below this share of the estimate, and they are so late.
EARLY, EARLY_S = 0.6, 0.02
# A train spread as widely on arrival as when sent was not slowed by the path.
FREE_FACTOR, FREE_S = 1.15, 0.002
# Packets sent over a longer time than this are no burst.
BURST_S = 1.0
# Rates that the estimate is the lower median of.
RATES = 5
# A rate below this share of the estimate makes the path narrower: at once when there is a queue, else at the second.
SLOW = 0.75
SLOW_QUEUE_S = 0.05
# Without send times a rate below this share of the estimate is taken for the browser's own pace, unless it waited.
PACED = 0.6
# A frame that waited longer than usual by this and then came this much quicker than the path was read late, at once.
STALL_S, STALL_RATE = 0.015, 3.0
# Jitter is the median change of delay between so many frames. Up to so many times it a frame may come late for it.
JITTERS = 9
JITTER_LATE = 3.0
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
# Changes worth telling: less at once, more not so often.
REMB_MOVE, REMB_EVERY_S = 0.05, 1.0
CAP_MOVE, MORE_EVERY_S = 0.08, 0.3

_RTP_HZ = 90_000
# abs-send-time: 24 bits, 6.18 fixed point seconds.
_SEND_HZ = 1 << 18
_RTP_WRAP_S = 2**32 / _RTP_HZ


class PathRate:
    """One camera's path; it may outlive a stream, since a new SSRC changes nothing about the path.

    Without abs-send-time (Firefox) the spread on arrival may be the browser's own, so only a frame that waited tells of
    a slow path; the RTP timestamp stands in for the send time of a frame's first packet; REMB is left to others.
    """

    __slots__ = (
        "_alone",
        "_base",
        "_before",
        "_cap",
        "_delay_zero",
        "_draining",
        "_estimate",
        "_gain",
        "_gain_at",
        "_high",
        "_jitter",
        "_jitters",
        "_proven",
        "_rates",
        "_remb",
        "_remb_at",
        "_slow",
        "_timed",
        "_timestamp",
        "_told_at",
        "_told_cap",
        "_told_fps",
        "_told_remb",
        "_train",
        "_waited",
    )

    def __init__(self) -> None:
        # bit/s, the lower median of `_rates`; None before the first train.
        self._estimate: float | None = None
        self._rates: deque[float] = deque(maxlen=RATES)
        # Rates in a row that were too low to be believed at once.
        self._slow: list[float] = []
        # The rates from before this frame alone made the path narrower; None when it did not.
        self._before: list[float] | None = None
        # Without send times: a frame that waited has shown the path's own rate.
        self._proven = False
        self._gain = 1.0
        self._gain_at = -math.inf
        # The gain is low for the queue that a narrower path left, and for nothing else.
        self._draining = False
        # Frames in a row that waited.
        self._high = 0
        # Whether packets carry their send time.
        self._timed = False
        # The first packet's arrival less its send time: delays count from it. None before.
        self._delay_zero: float | None = None
        # How long the first packet of the newest frame waited, seconds.
        self._waited = 0.0
        # The same of the newest frame that did not wait for the one before it.
        self._alone = 0.0
        # Changes of that from frame to frame, and their median.
        self._jitters: deque[float] = deque(maxlen=JITTERS)
        self._jitter = 0.0
        # The shortest delay lately.
        self._base = WindowMinimum(WINDOW_S)
        # The frame being received; None before the first.
        self._timestamp: int | None = None
        self._train = Train()
        self._cap = CAP_FIRST
        self._remb = TOP
        self._told_at = -math.inf
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
        train = self._train
        if timestamp != self._timestamp:
            if self._timestamp is not None:
                step = ((timestamp - self._timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
                if -LATE_S * _RTP_HZ < step < 0:
                    return False  # A late packet of an earlier frame would cut this one in two.
                if not train.closed:
                    changed = self._close(now)
            self._timestamp = timestamp
            self._before = None
            changed = self._queue(now, self._delay(now, sent)) or changed
            train.begin(now, sent, sequence)
        elif not train.closed:
            train.add(now, sent if self._timed else None, size, sequence)
            if train.packets >= TRAIN_PACKETS and self._before is None:
                changed = self._look_early(now)
        if marker and not train.closed:
            changed = self._close(now) or changed
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

    def page_due(self, now: float) -> bool:
        """Whether `cap` or `frame_rate` fell by 8 %, or rose by as much and 0.3 s passed since last told.

        True counts as telling. True at first.
        """
        cap, fps = self._cap, self.frame_rate()
        less = cap < (1 - CAP_MOVE) * self._told_cap or fps < (1 - CAP_MOVE) * self._told_fps
        more = cap > (1 + CAP_MOVE) * self._told_cap or fps > (1 + CAP_MOVE) * self._told_fps
        if not less and not (more and now - self._told_at > MORE_EVERY_S):
            return False
        self._told_cap, self._told_fps, self._told_at = cap, fps, now
        return True

    def _start_timed(self) -> None:
        """Send times are there from now on: what was learnt with another clock does not count."""
        self._timed = True
        self._delay_zero = None
        self._base.clear()
        self._rates.clear()
        self._estimate = None
        self._timestamp = None
        self._train.closed = True
        self._high = 0

    def _delay(self, now: float, sent: float) -> float:
        """Seconds that a packet took longer than the quickest one lately."""
        if self._delay_zero is None:
            self._delay_zero = now - sent
        wrap = SEND_WRAP_S if self._timed else _RTP_WRAP_S
        delay = (now - sent - self._delay_zero + wrap / 2) % wrap - wrap / 2
        return delay - self._base.add(now, delay)

    def _queue(self, now: float, queue: float) -> bool:
        """What a frame's first packet tells by how long it waited."""
        if queue < now - self._train.last_arrival:
            # Not for the frame before it.
            self._jitters.append(abs(queue - self._alone))
            self._jitter = sorted(self._jitters)[(len(self._jitters) - 1) // 2]
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

    def _look_early(self, now: float) -> bool:
        """A frame that is still coming in so slowly that the path must have become narrower.

        What waits behind it cannot be helped; what is captured from now on can.
        """
        train = self._train
        if self._estimate is None or train.spread <= FREE_FACTOR * train.sent_spread + FREE_S:
            return False
        # Beyond the top the path's rate makes no difference, and a few milliseconds seem a lot.
        estimate = min(self._estimate, TOP)
        late = train.spread - max(train.sent_spread, train.bits / estimate)
        if (
            late < max(EARLY_S, JITTER_LATE * self._jitter)
            or train.steady_rate() >= EARLY * estimate
        ):
            return False
        if not self._timed and self._waited < SLOW_QUEUE_S:
            return False
        self._before = list(self._rates)
        self._narrow(now, train.rate(), waiting=True)
        return True

    def _close(self, now: float) -> bool:
        """The frame's packets came: what does their spread tell?"""
        train = self._train
        train.closed = True
        sent_s = train.sent_spread
        if train.packets < TRAIN_PACKETS or sent_s > BURST_S:
            return False
        rate = min(RATE_TOP, train.rate())
        estimate = self._estimate
        if self._before is not None:
            return self._judge(rate)
        if self._timed:
            free = train.spread <= FREE_FACTOR * sent_s + FREE_S
        else:
            free = self._waited < SLOW_QUEUE_S
            self._proven = self._proven or not free
        if estimate is not None:
            if free and rate < (estimate if self._timed else PACED * estimate):
                return False  # It came as it was sent: a lower bound only.
            if rate > STALL_RATE * estimate and self._waited > STALL_S + 2 * self._jitter:
                return False
            needed = min(estimate, TOP)
            late = train.spread - train.bits / needed
            if not free and rate < SLOW * needed and late > JITTER_LATE * self._jitter:
                self._slow.append(rate)
                if len(self._slow) >= 2:
                    self._narrow(now, max(self._slow), waiting=self._waited > GAIN_QUEUE_S)
                else:
                    # One may be an accident, but it counts among the others.
                    self._learn(rate)
                return True
        self._slow.clear()
        self._learn(rate)
        return True

    def _judge(self, rate: float) -> bool:
        """The frame that made the path narrower by itself is whole: was it right?"""
        before = self._before or []
        estimate = sorted(before)[(len(before) - 1) // 2]
        self._rates.clear()
        if rate >= SLOW * min(estimate, TOP):
            self._rates.extend(before)
            if self._draining:
                self._gain = 1.0
                self._draining = False
        self._learn(rate)
        return True

    def _learn(self, rate: float) -> None:
        self._rates.append(rate)
        self._estimate = sorted(self._rates)[(len(self._rates) - 1) // 2]

    def _narrow(self, now: float, rate: float, waiting: bool) -> None:
        """The path has become narrower: believe this rate alone, and let the queue run empty."""
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
            self._remb = int(min(TOP, max(REMB_LOW, held)))
        else:
            self._remb = TOP
        cap = SHARE * (estimate or 0.0)
        if estimate is None or not (self._timed or self._proven):
            cap = max(CAP_FIRST, cap)
        self._cap = int(min(TOP, max(CAP_LOW, cap * gain)))
