"""One direction of a network path in numbers: a line with a queue, then delay, jitter, loss.

No sockets, no clock.

The same model stands behind the relay that real packets go through (`link_relay`) and the
simulations of the tests.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

# IPv4 and UDP headers, which a link carries too
HEADERS = 28

# (when, bytes): when the line has sent them, None when they were dropped
Enqueue = Callable[[float, int], float | None]


@dataclass(slots=True)
class Link:
    """One direction. Everything may be changed while it runs.

    Packets go through `due` in the order in which they are sent; all times are seconds of any one
    clock.
    """

    # Bits a second; None is no limit
    rate: float | None = None
    # Seconds one way, after the line
    delay: float = 0.0
    # Seconds that a packet may wait for the line; what would wait longer is dropped
    queue: float = 0.3
    # Share of packets lost at random, behind the line
    loss: float = 0.0
    # Mean of an exponential delay of each packet, seconds, behind the line
    jitter: float = 0.0
    # True: that delay may change the packets' order
    reorder: bool = False
    # Nothing comes through
    cut: bool = False
    # Somebody else on the same line
    flow: Flow | None = None
    passed: int = 0
    bytes: int = 0
    dropped_full: int = 0
    dropped_lost: int = 0
    # Time at which the line is free again
    free_at: float = field(default=0.0, repr=False)
    # The newest delivery so far
    newest: float = field(default=0.0, repr=False)

    def due(self, now: float, size: int, rng: random.Random) -> float | None:
        """Return the delivery time of a packet of `size` bytes of payload that arrives `now`; None
        when it is dropped.
        """
        if self.flow is not None:
            self.flow.run(now, self.enqueue)
        if self.cut:
            self.dropped_lost += 1
            return None
        at = self.enqueue(now, size + HEADERS)
        if at is None:
            self.dropped_full += 1
            return None
        if rng.random() < self.loss:
            self.dropped_lost += 1
            return None
        self.passed += 1
        self.bytes += size
        at += self.delay
        if self.jitter:
            at += rng.expovariate(1 / self.jitter)
        if not self.reorder:
            at = self.newest = max(at, self.newest)
        return at

    def enqueue(self, now: float, size: int) -> float | None:
        """Return the time at which the line has sent `size` bytes that arrive `now`; None when the
        queue is full.
        """
        start = max(now, self.free_at)
        if self.rate is None:
            return start
        if start - now > self.queue:
            return None
        self.free_at = start + 8 * size / self.rate
        return self.free_at


class Flow(Protocol):
    """Packets of others on the same line."""

    def run(self, now: float, enqueue: Enqueue) -> None:
        """Send all that is sent before `now`."""


class SteadyFlow:
    """A flow at a fixed rate that ignores losses: a call, a live stream."""

    def __init__(
        self, rate: float, *, start: float = 0.0, stop: float = math.inf, size: int = 1200
    ) -> None:
        """Packets of `size` bytes from `start` to `stop`."""
        self._next = start
        self._stop = stop
        self._size = size
        self._gap = 8 * size / rate

    def run(self, now: float, enqueue: Enqueue) -> None:
        while self._next <= now and self._next < self._stop:
            enqueue(self._next, self._size)
            self._next += self._gap


class GreedyFlow:
    """A download that takes what it gets, as TCP does (RFC 5681: slow start, congestion avoidance,
    fast recovery).
    """

    def __init__(
        self, *, start: float = 0.0, stop: float = math.inf, rtt: float = 0.04, size: int = 1500
    ) -> None:
        """Send packets of `size` bytes from `start` to `stop`; `rtt` is its round trip without
        the queue.
        """
        self.sent = 0
        self.lost = 0
        self._start = start
        self._stop = stop
        self._rtt = rtt
        self._size = size
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
            arrives = enqueue(at, self._size)
            self.sent += 1
            if arrives is None:
                # The packets behind it show that.
                self.lost += 1
                heapq.heappush(self._heard, (at + 2 * self._rtt, at, False))
            else:
                heapq.heappush(self._heard, (arrives + self._rtt, at, True))
