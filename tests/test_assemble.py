"""Assembling frames from packets, and fuzzing it beside aiortc's own buffer."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

import pytest
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from server.rtc import assemble
from server.rtc.assemble import Assembler, EncodedFrame, Packet

FRAME_TICKS = 3000


@dataclass(frozen=True)
class Sent:
    """A packet as the sender made it; every add gets a fresh `Packet`."""

    sequence: int
    timestamp: int
    marker: bool
    data: bytes
    start: bool
    key: bool

    def packet(self) -> Packet:
        return Packet(self.sequence, self.timestamp, self.marker, self.data, self.start, self.key)


@dataclass
class Stream:
    """A sender: frames of random length, padding between them, wraps of both counters."""

    seed: int
    frames: int
    key_every: int = 40
    padding: float = 0.0
    h264: bool = False
    sequence: int = 65_400
    timestamp: int = 2**32 - 60 * FRAME_TICKS
    max_packets: int = 8
    packets: list[Sent] = field(default_factory=list)
    # timestamp -> (index, data, key)
    truth: dict[int, tuple[int, bytes, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        self.rng = rng
        for index in range(self.frames):
            self.frame(index, key=index % self.key_every == 0)

    def frame(self, index: int, key: bool) -> None:
        count = self.rng.randint(1, self.max_packets) + (3 if key else 0)
        parts = [b"%d.%d;" % (index, n) for n in range(count)]
        for n, part in enumerate(parts):
            self.packets.append(
                Sent(
                    self.sequence,
                    self.timestamp,
                    n == count - 1,
                    part,
                    n == 0 and (key or not self.h264),
                    key and n < (2 if self.h264 else 1),
                )
            )
            self.sequence = (self.sequence + 1) & 0xFFFF
        if self.rng.random() < self.padding:
            for _ in range(self.rng.randint(1, 3)):
                self.packets.append(Sent(self.sequence, self.timestamp, False, b"", False, False))
                self.sequence = (self.sequence + 1) & 0xFFFF
        self.truth[self.timestamp] = (index, b"".join(parts), key)
        self.timestamp = (self.timestamp + FRAME_TICKS) & 0xFFFFFFFF


class Stock:
    """aiortc's buffer with the same calls; counts the frames that a decoder could use."""

    def __init__(self, truth: dict[int, tuple[int, bytes, bool]]) -> None:
        self.buffer = JitterBuffer(capacity=512, is_video=True)
        self.truth = truth
        self.frames: list[tuple[int, bytes]] = []
        self.usable = 0
        self.last: int | None = None

    def add(self, sent: Sent) -> None:
        packet = RtpPacket(sequence_number=sent.sequence, timestamp=sent.timestamp)
        packet._data = sent.data  # type: ignore[attr-defined]
        _, frame = self.buffer.add(packet)
        if frame is None:
            return
        self.frames.append((frame.timestamp, frame.data))
        index, data, key = self.truth[frame.timestamp]
        if frame.data == data and (key or self.last == index - 1):
            self.last = index
            self.usable += 1
        else:
            self.last = None


class Checked:
    """An assembler whose every answer is checked against what was sent."""

    def __init__(self, truth: dict[int, tuple[int, bytes, bool]]) -> None:
        self.assembler = Assembler()
        self.truth = truth
        self.frames: list[EncodedFrame] = []
        self.last: int | None = None
        self.asked: list[float] = []

    def take(self, frames: list[EncodedFrame], now: float) -> None:
        for frame in frames:
            index, data, key = self.truth[frame.timestamp]
            assert frame.data == data, "a broken frame"
            assert frame.key == key
            assert self.last is None or index > self.last, "out of order"
            assert key or self.last == index - 1, "a delta without its reference"
            assert 0 <= frame.first_arrival <= frame.last_arrival <= now
            self.last = index
            self.frames.append(frame)
        assert self.assembler.held <= 2 * assemble.MAX_PACKETS
        if self.assembler.key_frame_wanted(now):
            assert not self.asked or now - self.asked[-1] > assemble.PLI_S - 1e-9
            self.asked.append(now)

    def add(self, sent: Sent, now: float, retransmission: bool = False) -> list[int]:
        self.take(self.assembler.add(sent.packet(), now, retransmission), now)
        nacks = self.assembler.nacks(now)
        assert len(nacks) <= assemble.MAX_NACKS
        return nacks

    def wake(self, now: float) -> list[int]:
        self.take(self.assembler.poll(now), now)
        nacks = self.assembler.nacks(now)
        later = self.assembler.deadline()
        assert later is None or later > now, "nothing may stay due"
        return nacks


def play(
    stream: Stream,
    *,
    loss: float,
    jitter: float = 0.0,
    duplicates: float = 0.0,
    rtx: float = 1.0,
    rtx_loss: float = 0.0,
    spacing: float = 0.004,
    burst: float = 0.0,
) -> tuple[Checked, Stock]:
    """Send a stream over a bad path: both buffers see the same packets at the same times.

    `rtx`: share of NACKs that the sender answers, 40 ms later.
    """
    rng = random.Random(stream.seed + 1)
    ours, stock = Checked(stream.truth), Stock(stream.truth)
    by_sequence: dict[int, list[tuple[float, Sent]]] = {}
    order = itertools.count()
    events: list[tuple[float, int, Sent, bool]] = []
    lost_until = -1.0
    for n, sent in enumerate(stream.packets):
        at = n * spacing
        by_sequence.setdefault(sent.sequence, []).append((at, sent))
        if rng.random() < burst:
            lost_until = at + rng.uniform(0.01, 0.3)
        # The first packet comes: where a stream begins is not what is compared.
        if n and (at < lost_until or rng.random() < loss):
            continue
        at += 0.02 + (rng.uniform(0, jitter) if n else 0)
        heapq.heappush(events, (at, next(order), sent, False))
        if rng.random() < duplicates:
            heapq.heappush(events, (at + rng.uniform(0, 2), next(order), sent, False))

    def answer(nacks: list[int], now: float) -> None:
        for sequence in nacks:
            past = [sent for at, sent in by_sequence[sequence] if at <= now]
            assert past, "asked for what was never sent"
            if rng.random() < rtx and rng.random() >= rtx_loss:
                heapq.heappush(events, (now + 0.04, next(order), past[-1], True))

    while events:
        due = ours.assembler.deadline()
        if due is not None and due <= events[0][0]:
            answer(ours.wake(due), due)
            continue
        now, _, sent, retransmission = heapq.heappop(events)
        answer(ours.add(sent, now, retransmission), now)
        stock.add(sent)
    return ours, stock


def feed(assembler: Assembler, packets: list[Sent], now: float = 0.0) -> list[EncodedFrame]:
    return [frame for sent in packets for frame in assembler.add(sent.packet(), now)]


# beside the stock buffer


@pytest.mark.parametrize("h264", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_without_loss_the_frames_are_those_of_the_stock_buffer(seed: int, h264: bool) -> None:
    """Byte for byte and in order, with packets out of order and both counters wrapping."""
    stream = Stream(seed, 500, h264=h264)
    ours, stock = play(stream, loss=0, jitter=0.018)
    assert [(f.timestamp, f.data) for f in ours.frames[:-1]] == stock.frames
    assert len(ours.frames) == 500
    assert ours.assembler.dropped == {"broken": 0, "no_key": 0}
    assert not ours.asked


@pytest.mark.parametrize("h264", [False, True])
def test_repaired_losses_cost_no_frame(h264: bool) -> None:
    """With every NACK answered all frames come out, late ones too."""
    for seed in range(4):
        stream = Stream(seed, 400, key_every=1000, h264=h264, padding=0.2)
        ours, _ = play(stream, loss=0.05, jitter=0.01, duplicates=0.05)
        # The last frame may wait for a packet whose loss nothing behind it shows.
        assert len(ours.frames) >= 399


def test_on_bad_paths_no_fewer_usable_frames_than_the_stock_buffer() -> None:
    """Losses, bursts, lost repairs, duplicates, padding, wraps: whole, in order, with reference, and as many."""
    rng = random.Random(7)
    total_ours = total_stock = behind = 0
    for seed in range(60):
        stream = Stream(
            seed,
            150,
            key_every=rng.choice([10, 30, 75]),
            padding=rng.choice([0, 0.3]),
            h264=rng.random() < 0.5,
            max_packets=rng.choice([1, 4, 12]),
        )
        ours, stock = play(
            stream,
            loss=rng.choice([0.01, 0.05, 0.1, 0.3]),
            jitter=rng.choice([0, 0.01, 0.05]),
            duplicates=rng.choice([0, 0.1]),
            rtx=rng.choice([0, 0.5, 1]),
            rtx_loss=rng.choice([0, 0.3]),
            burst=rng.choice([0, 0.01]),
            spacing=rng.choice([0.001, 0.004, 0.02]),
        )
        total_ours += len(ours.frames)
        total_stock += stock.usable
        behind += len(ours.frames) < stock.usable
    assert total_ours > 1.5 * total_stock
    # A whole key frame replaces what waits before it; only so may single runs come out with fewer.
    assert behind <= 3


@pytest.mark.parametrize("h264", [False, True])
def test_thousands_of_frames_over_a_wrapping_stream_stay_in_order(h264: bool) -> None:
    """5,000 frames with 30 % loss, half repaired: the order and references hold over the whole run."""
    stream = Stream(11, 5000, key_every=15, h264=h264, padding=0.1, max_packets=3)
    ours, stock = play(stream, loss=0.3, jitter=0.02, duplicates=0.05, rtx=0.8, spacing=0.006)
    assert len(ours.frames) > max(2000, stock.usable)


packet_strategy = st.builds(
    Packet,
    sequence=st.one_of(
        st.integers(0, 65_535), st.integers(65_500, 65_535), st.integers(0, 40), st.integers(0, 700)
    ),
    timestamp=st.sampled_from([0, 1, 2, 3000, 6000, 2**31, 2**32 - 1]),
    marker=st.booleans(),
    data=st.sampled_from([b"", b"a", b"bc"]),
    start=st.booleans(),
    key=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(packet_strategy, st.booleans(), st.floats(0, 0.2), st.booleans()), max_size=80
    )
)
def test_any_packets_leave_it_sound(
    steps: list[tuple[Packet, bool, float, bool]],
) -> None:
    """No sequence of packets raises, holds more than the bound, or leaves something due for ever."""
    assembler = Assembler()
    now = 0.0
    for packet, retransmission, wait, failed in steps:
        now += wait
        fresh = Packet(
            packet.sequence,
            packet.timestamp,
            packet.marker,
            packet.data,
            packet.start,
            packet.key,
        )
        for frame in assembler.add(fresh, now, retransmission):
            assert frame.data
        if failed:
            assembler.decode_failed(packet.timestamp)
        settle(assembler, now)
    for _ in range(50):
        due = assembler.deadline()
        if due is None:
            break
        now = max(now, due)
        settle(assembler, now)
    # Nothing is left but asking for a key frame.
    assert not assembler._missing
    assert not assembler._ahead


def settle(assembler: Assembler, now: float) -> None:
    """What the owner does after each packet and at each deadline: afterwards nothing is due."""
    assembler.poll(now)
    nacks = assembler.nacks(now)
    assert len(nacks) <= assemble.MAX_NACKS
    assembler.key_frame_wanted(now)
    assert assembler.held <= 2 * assemble.MAX_PACKETS
    due = assembler.deadline()
    assert due is None or due > now
    ahead, missing = assembler._ahead, assembler._missing
    assert bool(ahead) == bool(missing)
    if ahead:
        span = set(range(assembler._next, assembler._end))
        assert set(ahead) | set(missing) == span
        assert not set(ahead) & set(missing)
        assert list(missing) == sorted(missing)
        assert set(assembler._keys.values()) <= set(ahead)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 0.4), st.floats(0, 0.1), st.booleans())
def test_a_mangled_stream_leaves_it_sound(seed: int, loss: float, noise: float, h264: bool) -> None:
    """A true stream with losses, repeats, leaps of the numbers and changed marks in it never breaks the rules."""
    rng = random.Random(seed)
    assembler = Assembler()
    now = 0.0
    leap = 0
    for sent in Stream(seed, 150, h264=h264, padding=0.2).packets:
        now += 0.004
        if rng.random() < loss:
            continue
        packet = sent.packet()
        if rng.random() < noise:
            packet.marker = not packet.marker
        if rng.random() < noise:
            packet.key = not packet.key
        if rng.random() < noise:
            packet.start = not packet.start
        if rng.random() < noise / 10:
            leap = rng.choice([0, 100, -100, 600, 5000, 32_000, -40])
        packet.sequence = (packet.sequence + leap) & 0xFFFF
        assembler.add(packet, now, rng.random() < 0.1)
        if rng.random() < noise:
            assembler.add(sent.packet(), now)
        settle(assembler, now)
