"""A camera, a link and the rate rule in virtual time: minutes of a path in a fraction of a second,
the same each time.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.link import Enqueue, Link
from server.core.messages import Sender
from server.media.path_rate import CAP_FIRST, TOP, Announcements, PathRate, make_sender_plan

PROPAGATION_S = 0.02
# Payload of a full packet, and its RTP header with extensions and SRTP tag, bytes.
PACKET, RTP_HEADERS = 1100, 30


@dataclass
class Packet:
    sent: float
    size: int
    timestamp: int
    marker: bool
    captured: float
    number: int


@dataclass
class Told:
    """The rule's result at one time."""

    at: float
    remb: int
    cap: int
    fps: int


@dataclass
class Simulation:
    """Chromium as far as it matters here: a pacer at 2.5 times REMB, and an encoder that keeps to
    the page's plan.
    """

    link: Link
    # (from when, bit/s): the link's rate over time.
    rates: Sequence[tuple[float, float]] = ()
    # True while the user is typing.
    awake: Callable[[float], bool] = lambda at: False
    # Bits of a frame captured at a time; None follows the plan.
    scene: Callable[[float], float | None] = lambda at: None
    # True when packets carry abs-send-time.
    timed: bool = True
    # (from, to): the server's event loop hangs, and reads what came at its end.
    stalls: Sequence[tuple[float, float]] = ()
    path: PathRate = field(default_factory=PathRate)
    seed: int = 2

    def __post_init__(self) -> None:
        self.link.delay = PROPAGATION_S
        self.announcements = Announcements(self.path)
        self.told: list[Told] = []
        # (captured, age of the whole frame when here)
        self.ages: list[tuple[float, float]] = []
        # Messages to the page.
        self.tells = 0

    def run(self, seconds: float) -> Simulation:
        rng, link_rng = random.Random(self.seed), random.Random(self.seed + 1)
        order = itertools.count()
        events: list[tuple[float, int, Packet | None, bool]] = []
        changes = sorted(self.rates)

        def at(when: float, packet: Packet | None = None, *, arrives: bool = False) -> None:
            heapq.heappush(events, (when, next(order), packet, arrives))

        at(0.0)
        remb, plan = TOP, make_sender_plan(CAP_FIRST, 8, 2)
        pacer, sequence = 0.0, 65_000
        # Due time of the last frame by the frame rate; pictures arrive 30 times a second.
        last_due = -1.0
        feedback: list[tuple[float, int, Sender]] = []
        missing: dict[float, int] = {}
        while events:
            now, _, packet, arrives = heapq.heappop(events)
            while changes and changes[0][0] <= now:
                self.link.rate = changes.pop(0)[1]
            if packet is None:
                if now >= seconds:
                    continue
                at(now + 1 / 30)
                while feedback and feedback[0][0] <= now:
                    _, remb, plan = feedback.pop(0)
                limits = plan.awake if self.awake(now) else plan.idle
                rate = min(30, limits.max_framerate)
                if now < last_due + 1 / rate - 0.5 / 30:
                    continue
                last_due = max(last_due + 1 / rate, now - 1 / 30)
                bits = self.scene(now)
                if bits is None:
                    bits = min(limits.max_bitrate, remb) / rate * rng.uniform(0.7, 1.3)
                count = max(1, round(bits / 8 / PACKET))
                sent = max(now + 0.005, pacer)
                missing[now] = count
                for n in range(count):
                    sequence = (sequence + 1) & 0xFFFF
                    stamp = (2**32 - 90_000 + round(now * 90_000)) & 0xFFFFFFFF
                    size = int(bits / 8 / count)
                    at(sent, Packet(sent, size, stamp, n == count - 1, now, sequence))
                    sent += 8 * (size + RTP_HEADERS) / (2.5 * remb)
                pacer = sent
            elif not arrives:
                due = self.link.get_delivery_time(now, packet.size + RTP_HEADERS, link_rng)
                if due is not None:
                    due = next((end for start, end in self.stalls if start <= due < end), due)
                    at(due, packet, arrives=True)
            else:
                self._arrived(now, packet, feedback)
                missing[packet.captured] -= 1
                if not missing[packet.captured]:
                    self.ages.append((packet.captured, now - packet.captured))
        return self

    def _arrived(
        self, now: float, packet: Packet, feedback: list[tuple[float, int, Sender]]
    ) -> None:
        path = self.path
        send_time = int(packet.sent * 2**18) & 0xFFFFFF if self.timed else None
        path.packet(now, send_time, packet.size, packet.timestamp, packet.marker, packet.number)
        new = self.announcements.take_due_remb(now)
        told = self.announcements.take_due_page_limits(now)
        self.tells += told
        if new is not None or told:
            plan = make_sender_plan(path.cap, path.frame_rate, 2)
            feedback.append((now + PROPAGATION_S, path.remb if self.timed else TOP, plan))
        self.told.append(Told(now, path.remb, path.cap, path.frame_rate))

    # Results

    def age(self, start: float, end: float, share: float = 0.5) -> float:
        """Of frames captured in between: the age that this share of them did not exceed."""
        ages = sorted(age for captured, age in self.ages if start <= captured < end)
        return ages[min(len(ages) - 1, int(share * len(ages)))]

    def frames(self, start: float, end: float) -> int:
        return sum(start <= captured < end for captured, _ in self.ages)

    def rembs(self, start: float, end: float) -> list[int]:
        return [told.remb for told in self.told if start <= told.at < end]

    def caps(self, start: float, end: float) -> list[int]:
        return [told.cap for told in self.told if start <= told.at < end]


def typing(at: float) -> bool:
    """Awake for 3 of 8 seconds."""
    return at % 8 >= 5


# Others on the same line


class SteadyFlow:
    """A flow at a fixed rate that ignores losses, from `start` to `stop`: a call, a live stream."""

    # Bytes of a packet
    SIZE = 1200

    def __init__(self, rate: float, *, start: float = 0.0, stop: float = math.inf) -> None:
        self._next = start
        self._stop = stop
        self._gap = 8 * self.SIZE / rate

    def run(self, now: float, enqueue: Enqueue) -> None:
        while self._next <= now and self._next < self._stop:
            enqueue(self._next, self.SIZE)
            self._next += self._gap


class GreedyFlow:
    """A download from `start` to `stop` that takes what it gets, as TCP does (RFC 5681: slow start, congestion
    avoidance, fast recovery).
    """

    # Bytes of a packet, and seconds of its round trip unqueued
    SIZE, RTT = 1500, 0.04

    def __init__(self, *, start: float = 0.0, stop: float = math.inf) -> None:
        self.sent = 0
        self.lost = 0
        self._start = start
        self._stop = stop
        self._window = 10.0
        self._threshold = math.inf
        # Packets sent before this time are of the loss that was answered already.
        self._recovered = start
        # (when the sender hears of it, when it was sent, whether it arrived)
        self._heard: list[tuple[float, float, bool]] = []
        self._begun = False

    def run(self, now: float, enqueue: Enqueue) -> None:
        if not self._begun and now >= self._start:
            self._begun = True
            self._fill(self._start, enqueue)
        while self._heard and self._heard[0][0] <= now:
            at, sent_at, arrived = heapq.heappop(self._heard)
            if arrived:
                grown = 1.0 if self._window < self._threshold else 1 / self._window
                self._window += grown
            elif sent_at >= self._recovered:
                self._recovered = at
                self._threshold = self._window = max(2.0, self._window / 2)
            self._fill(at, enqueue)

    def _fill(self, at: float, enqueue: Enqueue) -> None:
        while at < self._stop and len(self._heard) < self._window:
            arrives = enqueue(at, self.SIZE)
            self.sent += 1
            if arrives is None:
                # The packets behind it show that.
                self.lost += 1
                heapq.heappush(self._heard, (at + 2 * self.RTT, at, False))
            else:
                heapq.heappush(self._heard, (arrives + self.RTT, at, True))
