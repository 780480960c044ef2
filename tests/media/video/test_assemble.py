"""Assembling frames from packets, and fuzzing it beside aiortc's own buffer."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from server.media.video import assemble
from server.media.video.assemble import (
    HOLE_S,
    KEY_GRACE_S,
    MAX_NACKS,
    PLI_S,
    TAIL_PACKETS,
    Assembler,
    MissingPackets,
    PacketsAhead,
)
from server.media.video.payload import EncodedFrame, Packet

FRAME_TICKS = 3000


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
    min_packets: int = 1
    max_packets: int = 8
    packets: list[Packet] = field(default_factory=list)
    # timestamp -> (index, data, key)
    truth: dict[int, tuple[int, bytes, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        self.rng = rng
        for index in range(self.frames):
            self.frame(index, key=index % self.key_every == 0)

    def frame(self, index: int, key: bool) -> None:
        count = self.rng.randint(self.min_packets, self.max_packets) + (3 if key else 0)
        parts = [b"%d.%d;" % (index, n) for n in range(count)]
        for n, part in enumerate(parts):
            self.packets.append(
                Packet(
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
                self.packets.append(Packet(self.sequence, self.timestamp, False, b"", False, False))
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

    def add(self, sent: Packet) -> None:
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
            assert 0 <= frame.first_arrival <= now
            self.last = index
            self.frames.append(frame)
        assert self.assembler.held <= 2 * assemble.MAX_PACKETS
        if self.assembler.take_key_frame_request(now):
            assert not self.asked or now - self.asked[-1] > PLI_S - 1e-9
            self.asked.append(now)

    def add(self, sent: Packet, now: float, retransmission: bool = False) -> list[int]:
        self.take(self.assembler.add(replace(sent), now, retransmission), now)
        nacks = self.assembler.take_nacks(now)
        assert len(nacks) <= MAX_NACKS
        return nacks

    def wake(self, now: float) -> list[int]:
        self.take(self.assembler.poll(now), now)
        nacks = self.assembler.take_nacks(now)
        later = self.assembler.deadline()
        assert later > now, "nothing may stay due"
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
    by_sequence: dict[int, list[tuple[float, Packet]]] = {}
    order = itertools.count()
    events: list[tuple[float, int, Packet, bool]] = []
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
            past = [sent for at, sent in by_sequence.get(sequence, ()) if at <= now]
            if not past:
                # The rest of a frame may be asked for before it was sent, and nothing else.
                newest = stream.packets[min(int(now / spacing), len(stream.packets) - 1)].sequence
                assert 0 < (sequence - newest) & 0xFFFF <= TAIL_PACKETS
                continue
            if rng.random() < rtx and rng.random() >= rtx_loss:
                heapq.heappush(events, (now + 0.04, next(order), past[-1], True))

    while events:
        due = ours.assembler.deadline()
        if due <= events[0][0]:
            answer(ours.wake(due), due)
            continue
        now, _, sent, retransmission = heapq.heappop(events)
        answer(ours.add(sent, now, retransmission), now)
        stock.add(sent)
    return ours, stock


def feed(assembler: Assembler, packets: list[Packet], now: float = 0.0) -> list[EncodedFrame]:
    return [frame for sent in packets for frame in assembler.add(replace(sent), now)]


# beside the stock buffer


@pytest.mark.parametrize("h264", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_without_loss_the_frames_are_those_of_the_stock_buffer(seed: int, h264: bool) -> None:
    """Byte for byte and in order, with packets out of order and both counters wrapping."""
    stream = Stream(seed, 500, h264=h264)
    ours, stock = play(stream, loss=0, jitter=0.018)
    assert [(f.timestamp, f.data) for f in ours.frames[:-1]] == stock.frames
    assert len(ours.frames) == 500
    assert ours.assembler.dropped == {}
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
    """Losses, bursts, lost repairs, duplicates, wraps: whole, in order, referenced, and as many."""
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


@pytest.mark.slow
@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(packet_strategy, st.booleans(), st.floats(0, 0.2), st.booleans()), max_size=80
    )
)
def test_any_packets_leave_it_sound(steps: list[tuple[Packet, bool, float, bool]]) -> None:
    """No sequence of packets raises, holds more than the bound, or leaves something due for ever."""
    assembler = Assembler()
    now = 0.0
    for packet, retransmission, wait, failed in steps:
        now += wait
        fresh = replace(packet)
        for frame in assembler.add(fresh, now, retransmission):
            assert frame.data
        if failed:
            assembler.decode_failed(packet.timestamp)
        settle(assembler, now)
    for _ in range(50):
        due = assembler.deadline()
        if due == math.inf:
            break
        now = max(now, due)
        settle(assembler, now)
    # Nothing is left but asking for a key frame.
    assert not assembler._missing
    assert not assembler._ahead


def settle(assembler: Assembler, now: float) -> None:
    """Act like the owner after each packet and at each deadline: afterwards nothing is due."""
    assembler.poll(now)
    nacks = assembler.take_nacks(now)
    assert len(nacks) <= MAX_NACKS
    assembler.take_key_frame_request(now)
    assert assembler.held <= 2 * assemble.MAX_PACKETS
    due = assembler.deadline()
    assert due > now
    ahead, missing = assembler._ahead, assembler._missing
    assert bool(ahead) == bool(missing)
    if ahead:
        span = set(range(assembler._next, assembler._ahead.end))
        assert set(ahead) | set(missing) == span
        assert not set(ahead) & set(missing)
        assert list(missing) == sorted(missing)
        assert set(assembler._ahead._keys.values()) <= set(ahead)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.floats(0, 0.4), st.floats(0, 0.1), st.booleans())
def test_a_mangled_stream_leaves_it_sound(seed: int, loss: float, noise: float, h264: bool) -> None:
    """A true stream with losses, repeats, leaps and changed marks never breaks the rules."""
    rng = random.Random(seed)
    assembler = Assembler()
    now = 0.0
    leap = 0
    for sent in Stream(seed, 150, h264=h264, padding=0.2).packets:
        now += 0.004
        if rng.random() < loss:
            continue
        packet = replace(sent)
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
            assembler.add(replace(sent), now)
        settle(assembler, now)


# the traps, one by one


def simple(frames: int = 20, key_every: int = 40, h264: bool = False) -> list[list[Packet]]:
    """The packets of frames of 3 or more each, by frame."""
    stream = Stream(1, 0, key_every=key_every, h264=h264, min_packets=3)
    grouped = []
    for index in range(frames):
        start = len(stream.packets)
        stream.frame(index, key=index % key_every == 0)
        grouped.append(stream.packets[start:])
    return grouped


def begun(now: float = 0.0, **more: Any) -> tuple[list[list[Packet]], Assembler]:
    """As `simple`, and an assembler that has the first frame."""
    frames, assembler = simple(**more), Assembler()
    feed(assembler, frames[0], now)
    return frames, assembler


def whole(frame: list[Packet]) -> bytes:
    return b"".join(sent.data for sent in frame)


def test_a_frame_is_complete_at_its_marker() -> None:
    """Not a frame period later; with the arrival of its earliest packet."""
    frames = simple()
    assembler = Assembler()
    for n, sent in enumerate(frames[0]):
        out = assembler.add(replace(sent), 10 + n)
        assert bool(out) == sent.marker
    assert out[0].data == whole(frames[0])
    assert out[0].first_arrival == 10
    assert out[0].key
    assert out[0].timestamp == frames[0][0].timestamp


def test_padding_is_stepped_over() -> None:
    """Between frames, within one and before the first: no empty frame, no hole."""
    frames = simple()
    first, second = frames[0], frames[1]
    base = first[0].sequence
    pad = Packet(0, first[0].timestamp, False, b"", False, False)
    line = [pad, first[0], pad, *first[1:], pad, pad, *second]
    renumbered = [replace(s, sequence=(base + n) & 0xFFFF) for n, s in enumerate(line)]
    assembler = Assembler()
    assert [frame.data for frame in feed(assembler, renumbered)] == [whole(first), whole(second)]
    assert assembler.deadline() == math.inf


def test_one_packet_may_complete_several_frames() -> None:
    """The repaired hole sets all free at once, oldest first."""
    frames, assembler = begun(frames=10)
    missing = frames[1][1]
    rest = [sent for frame in frames[1:] for sent in frame if sent is not missing]
    assert feed(assembler, rest, 0.01) == []
    out = assembler.add(replace(missing), 0.1, retransmission=True)
    assert [frame.data for frame in out] == [whole(frame) for frame in frames[1:]]
    assert assembler.deadline() == math.inf
    assert assembler.held == 0


def test_old_packets_never_reset_it() -> None:
    """Retransmissions and duplicates up to thousands of packets behind, one by one and in runs."""
    stream = Stream(3, 900)
    assembler = Assembler()
    seen: list[Packet] = []
    rng = random.Random(3)
    out: list[EncodedFrame] = []
    for n, sent in enumerate(stream.packets):
        out += assembler.add(replace(sent), n * 0.004)
        seen.append(sent)
        if n % 50 == 0:
            behind = rng.choice([1, 100, 110, 254, 1500, 2900])
            for old in seen[-behind:][:20]:
                assert assembler.add(replace(old), n * 0.004, rng.random() < 0.5) == []
    assert len(out) == 900


def test_a_marker_on_every_slice_is_found_out() -> None:
    """A key frame that goes on after its marker comes again whole; then only timestamps count."""
    frames = simple(h264=True)
    sliced = [[replace(s, marker=True) for s in frame] for frame in frames]
    assembler = Assembler()
    out = [frame for sent in sliced[0] for frame in assembler.add(replace(sent), 0.0)]
    assert len(out) == 1
    out = feed(assembler, [sent for frame in sliced[1:] for sent in frame])
    assert [frame.data for frame in out] == [whole(frame) for frame in frames[:-1]]
    assert assembler.dropped == {}
    assert not assembler.take_key_frame_request(0.0)


@pytest.mark.parametrize("marker", [False, True])
@pytest.mark.parametrize("own_time", [False, True])
def test_parameter_sets_stay_with_the_picture_that_follows(marker: bool, own_time: bool) -> None:
    """Also with the time of the picture before, and a marker."""
    frames = simple(3, h264=True)
    last, key = frames[0][-1], [replace(s, start=False) for s in frames[1]]
    sets = [
        Packet(
            last.sequence + 1 + at,
            key[0].timestamp if own_time else last.timestamp,
            marker,
            data,
            start=at == 0,
            key=at == 0,
            picture=False,
        )
        for at, data in enumerate((b"sps", b"pps"))
    ]
    later = [replace(s, sequence=s.sequence + 2) for s in (*key, *frames[2])]
    out = feed(Assembler(), [*frames[0], *sets, *later])
    assert [frame.data for frame in out[:2]] == [whole(frames[0]), b"spspps" + whole(frames[1])]
    assert out[1].key
    assert [frame.after_hole for frame in out] == [True, False, False][: len(out)]


def test_slices_marked_within_a_delta_break_the_chain() -> None:
    """The returned frame was incomplete, so a key frame is needed; then frames continue."""
    frames = simple(h264=True, key_every=5)
    bad = [replace(s, marker=True) for s in frames[1]]
    assembler = Assembler()
    feed(assembler, frames[0])
    assert len(feed(assembler, bad)) == 1
    assert assembler.take_key_frame_request(0.0)
    out = feed(assembler, [sent for frame in frames[2:] for sent in frame])
    assert [frame.data for frame in out] == [whole(frame) for frame in frames[5:-1]]
    assert assembler.dropped == {"broken": 1, "no_key": 3}


def test_deltas_wait_for_a_key_frame_after_a_hole() -> None:
    """The hole is asked for at 0, 80, 160 and 320 ms, then given up; a key frame ends it."""
    frames, assembler = begun(key_every=6, frames=12)
    lost = frames[1][1]
    feed(assembler, [s for f in frames[1:4] for s in f if s is not lost], 1.0)
    asked = []
    now = 1.0
    asked += [now] if assembler.take_nacks(now) == [lost.sequence] else []
    while (due := assembler.deadline()) < 1.4:
        now = due
        assert assembler.poll(now) == []
        assert assembler.take_nacks(now) == [lost.sequence]
        asked.append(now)
    assert asked == pytest.approx([1.0, 1.08, 1.16, 1.32])
    assert due == 1.0 + HOLE_S
    assert not assembler.take_key_frame_request(due)
    assert assembler.poll(due) == []
    assert assembler.dropped == {"broken": 1, "no_key": 2}
    assert assembler.take_key_frame_request(due)
    assert assembler.deadline() == due + PLI_S
    out = feed(assembler, [s for f in frames[4:] for s in f], 2.0)
    assert [frame.data for frame in out] == [whole(frame) for frame in frames[6:]]
    assert assembler.deadline() == math.inf
    assert not assembler.take_key_frame_request(9.0)


@pytest.mark.parametrize("h264", [False, True])
def test_a_whole_key_frame_behind_a_hole_is_taken(h264: bool) -> None:
    """At once while a key frame is needed; else 20 ms after the hole: reordering costs nothing."""
    frames, assembler = begun(key_every=4, frames=9, h264=h264, now=0.9)
    feed(assembler, frames[1][1:], 1.0)
    assert feed(assembler, [s for f in frames[2:5] for s in f], 1.01) == []
    assembler.take_nacks(1.01)
    assert assembler.deadline() == 1.0 + KEY_GRACE_S
    out = assembler.poll(1.0 + KEY_GRACE_S)
    assert [frame.data for frame in out] == [whole(frames[4])]
    assert assembler.dropped == {"broken": 1, "no_key": 2}
    assert not assembler.take_key_frame_request(1.1)
    # Needed: the decoder failed.
    assembler.decode_failed()
    feed(assembler, frames[5][1:], 2.0)
    out = feed(assembler, [s for f in frames[6:9] for s in f], 2.0)
    assert [frame.data for frame in out] == [whole(frames[8])]


def test_a_key_frame_with_a_hole_of_its_own_is_not_taken() -> None:
    """It is repaired like any other, and then goes first."""
    frames, assembler = begun(key_every=3, frames=6)
    feed(assembler, frames[1][1:], 1.0)
    feed(assembler, frames[2], 1.0)
    lost = frames[3][1]
    feed(assembler, [s for s in frames[3] if s is not lost], 1.0)
    feed(assembler, frames[4], 1.0)
    assert assembler.poll(1.1) == []
    out = assembler.add(replace(lost), 1.1, retransmission=True)
    assert [frame.data for frame in out] == [whole(frames[3]), whole(frames[4])]


def test_of_two_key_frames_behind_two_holes_both_are_taken() -> None:
    """The second does not wait for its own hole to be given up."""
    frames, assembler = begun(key_every=3, frames=9, now=1.0)
    later = [*frames[1][1:], *frames[2], *frames[3], *frames[4][1:], *frames[5], *frames[6]]
    assert feed(assembler, later, 1.0) == []
    out = assembler.poll(1.0 + KEY_GRACE_S)
    assert [frame.data for frame in out] == [whole(frames[3]), whole(frames[6])]


def test_arrival_is_that_of_the_earliest_packet_in_time() -> None:
    """A retransmission of the first packet does not set the frame's arrival."""
    frames, assembler = begun()
    feed(assembler, frames[1][1:], 1.0)
    (frame,) = assembler.add(replace(frames[1][0]), 1.05, retransmission=True)
    assert frame.first_arrival == 1.0


def test_a_decode_error_asks_for_a_key_frame() -> None:
    """Unless a newer one was handed out meanwhile: decoding runs behind."""
    frames, assembler = begun(key_every=3, frames=9)
    feed(assembler, frames[1])
    assembler.decode_failed(frames[1][0].timestamp)
    assert assembler.take_key_frame_request(1.0)
    assert feed(assembler, frames[2], 1.0) == []
    assert len(feed(assembler, frames[3], 1.0)) == 1
    assembler.decode_failed(frames[1][0].timestamp)
    assert not assembler.take_key_frame_request(5.0)
    assert len(feed(assembler, frames[4], 1.0)) == 1
    assembler.decode_failed(frames[3][0].timestamp)
    assert assembler.take_key_frame_request(5.0)


def test_key_frames_are_asked_for_at_most_twice_a_second() -> None:
    """Until one came, without a packet too."""
    frames = simple(frames=5)
    assembler = Assembler()
    feed(assembler, frames[1])
    asked = []
    for n in range(3000):
        if assembler.take_key_frame_request(n / 1000):
            asked.append(n / 1000)
    assert asked == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_the_end_of_a_frame_is_asked_for_without_a_further_packet() -> None:
    """Its last packets are lost, and an idle camera's next frame is half a second away."""
    frames, assembler = begun(frames=6, now=1.0)
    assert assembler.deadline() == math.inf
    frame = next(f for f in frames[1:] if len(f) >= 3)
    before = frames[1 : frames.index(frame)]
    feed(assembler, [s for f in before for s in f], 1.0)
    feed(assembler, frame[:-2], 1.5)
    due = assembler.deadline()
    assert due == pytest.approx(1.58)
    assert assembler.take_nacks(1.579) == []
    assert assembler.take_nacks(due) == [s.sequence for s in frame[-2:]]
    assert assembler.deadline() == pytest.approx(1.7)
    out = [f for s in frame[-2:] for f in assembler.add(replace(s), 1.66, retransmission=True)]
    assert [f.data for f in out] == [whole(frame)]
    assert assembler.deadline() == math.inf


@pytest.mark.parametrize("silence", [0.5, 2.0])
def test_after_a_silence_a_key_frame_is_asked_for_at_once(silence: float) -> None:
    """Missing packets went with the link; after a shorter pause they are asked for first."""
    frames, assembler = begun(frames=9, now=1.0)
    feed(assembler, frames[3], 1.0 + silence)
    assert assembler.take_nacks(1.0 + silence)
    assert assembler.take_key_frame_request(1.0 + silence) == (silence > 1)
    # Repaired in time, they are used; the key frame that comes ends the asking.
    assert len(feed(assembler, frames[1] + frames[2], 1.1 + silence)) == 3
    if silence > 1:
        assert assembler.take_key_frame_request(2.0 + silence)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_a_stream_may_begin_out_of_order(order: tuple[int, ...]) -> None:
    """The key frame's first packet is overtaken: nothing is lost."""
    frames = simple()
    first = frames[0]
    assembler = Assembler()
    out = feed(assembler, [first[n] for n in order] + first[3:] + frames[1])
    assert [frame.data for frame in out] == [whole(first), whole(frames[1])]


@pytest.mark.parametrize("leap", [-20_000, -2000, 20_000, 4000])
@pytest.mark.parametrize("ticks", [10_000_000, -10_000_000])
def test_a_sender_that_begins_anew_is_followed(leap: int, ticks: int) -> None:
    """Other numbers and timestamps in the same SSRC, newer or older: by the next key frame."""
    frames = simple(frames=20, key_every=8)
    assembler = Assembler()
    feed(assembler, [s for f in frames[:10] for s in f])
    moved = [
        replace(
            s, sequence=(s.sequence + leap) & 0xFFFF, timestamp=(s.timestamp + ticks) & 0xFFFFFFFF
        )
        for f in frames
        for s in f
    ]
    out = feed(assembler, moved, 1.0)
    if leap == -2000 and ticks < 0:
        # Not to be distinguished from packets sent twice.
        assert out == []
        return
    keys = [whole(frames[n]) for n in (0, 8, 16)]
    assert out[0].data in keys[:2]
    assert out[-1].data == whole(frames[-1])


def test_an_outage_ends_with_the_next_key_frame() -> None:
    """Thousands of packets are missing: nothing is asked for but a key frame."""
    for gap in (600, 2500, 10_000):
        frames = simple(frames=20, key_every=8)
        assembler = Assembler()
        feed(assembler, [s for f in frames[:4] for s in f])
        feed(assembler, frames[4][:1])
        # Its rest is asked for in vain.
        assert [len(assembler.take_nacks(at)) for at in (0.1, 0.3, 1.0)] == [2, 2, 0]
        later = [replace(s, sequence=(s.sequence + gap) & 0xFFFF) for f in frames[5:] for s in f]
        out: list[EncodedFrame] = []
        for sent in later:
            out += assembler.add(replace(sent), 40.0)
            assert assembler.take_nacks(40.0) == []
        assert assembler.take_key_frame_request(40.0) is False
        assert [frame.data for frame in out] == [whole(frame) for frame in frames[8:]]
        assert assembler.deadline() == math.inf


def test_a_frame_without_end_is_dropped() -> None:
    """Beyond the bound of packets or bytes nothing is kept, and the next key frame is taken."""
    for size, count in ((10, 5000), (60_000, 100)):
        assembler = Assembler()
        for n in range(count):
            packet = Packet(n, 90, False, b"x" * size, n == 0, n == 0)
            assert assembler.add(packet, 0.0) == []
            assert assembler.held <= assemble.MAX_PACKETS
            assert sum(map(len, assembler._builder._parts)) <= assemble.MAX_BYTES
        assert assembler.dropped["broken"] == 1
        assert assembler.take_key_frame_request(0.0)
        assert len(assembler.add(Packet(count, 3090, True, b"k", True, True), 0.0)) == 1


def test_behind_a_hole_no_more_is_kept_than_the_bound() -> None:
    """Packets or bytes: the hole is given up at once."""
    for size in (10, 60_000):
        assembler = Assembler()
        assembler.add(Packet(0, 0, True, b"k", True, True), 0.0)
        for n in range(2, 2000):
            assembler.add(Packet(n, n * 3000, True, b"x" * size, True, False), 0.0)
            assert len(assembler._ahead) <= assemble.MAX_PACKETS
            assert assembler._ahead.size <= assemble.MAX_BYTES
            assert assembler._ahead.size == sum(len(p.data) for p in assembler._ahead.values())
        assert assembler.held == 0


def test_many_missing_packets_are_asked_for_64_at_a_time() -> None:
    """The oldest first; the others as soon as those came."""
    frames, assembler = begun()
    first = (frames[0][-1].sequence + 1) & 0xFFFF
    stamp = frames[0][0].timestamp
    assembler.add(Packet((first + 100) & 0xFFFF, stamp + 90, True, b"x", True, False), 1.0)
    assert assembler.take_nacks(1.0) == [(first + n) & 0xFFFF for n in range(64)]
    assert assembler.take_nacks(1.0) == []
    for n in range(64):
        assembler.add(Packet((first + n) & 0xFFFF, stamp + 1, False, b"y", n == 0, False), 1.04)
    assert assembler.deadline() < math.inf
    assert assembler.take_nacks(1.04) == [(first + n) & 0xFFFF for n in range(64, 100)]


# Missing packets and when they are asked for, and those behind; what the assembler makes of them is
# test_assemble.py's


def test_each_is_asked_for_four_times() -> None:
    """At once, and 80, 160 and 320 ms after it was missed; at exactly the moments announced."""
    missing = MissingPackets()
    assert missing.due == math.inf
    missing.append(70_000, 70_002, 5.0)
    times = []
    while missing.due < math.inf:
        now = missing.due
        assert missing.take_due(now - 1e-6) == []
        missing.due = now
        assert missing.take_due(now) == [4464, 4465]
        times.append(now)
    assert times == pytest.approx([5.0, 5.08, 5.16, 5.32])
    assert len(missing) == 2


def test_a_late_call_asks_once_for_what_was_due_in_between() -> None:
    """A stalled event loop is no reason for a burst of NACKs."""
    missing = MissingPackets()
    missing.append(1, 2, 0.0)
    assert missing.take_due(0.2) == [1]
    assert missing.take_due(0.2) == []
    assert missing.due == pytest.approx(0.32)


def test_the_younger_move_up_when_older_ones_come() -> None:
    """Beyond the bound they wait, and then are due at once."""
    missing = MissingPackets()
    missing.append(0, MAX_NACKS + 3, 0.0)
    assert missing.take_due(0.0) == list(range(MAX_NACKS))
    missing.append(MAX_NACKS + 5, MAX_NACKS + 6, 0.01)
    assert missing.due == pytest.approx(0.08)
    missing.remove(7)
    missing.remove(0)
    assert missing.take_due(0.02) == [MAX_NACKS, MAX_NACKS + 1]


def test_older_ones_go_first() -> None:
    """A number before the others is requested first, though it was found missing later."""
    missing = MissingPackets()
    missing.append(10, 12, 0.0)
    assert missing.take_due(0.0) == [10, 11]
    missing.prepend(7, 9, 0.01)
    assert list(missing) == [7, 8, 10, 11]
    assert missing.oldest() == 0.01
    assert missing.take_due(0.01) == [7, 8]
    for sequence in (7, 8, 10, 11):
        missing.remove(sequence)
    assert (len(missing), missing.due, 7 in missing) == (0, math.inf, False)


def packet(
    sequence: int, timestamp: int, *, key: bool = False, start: bool = False, marker: bool = False
) -> Packet:
    return Packet(sequence, timestamp, marker, b"1234", start, key)


def held(*packets: Packet, markers: bool = True) -> PacketsAhead:
    """As after these came, in this order."""
    ahead = PacketsAhead()
    for one in packets:
        ahead.end = max(ahead.end, one.sequence + 1)
        ahead.keep(one.sequence, one, markers)
    return ahead


FIRST = packet(5, 90, key=True, start=True)
MIDDLE = packet(6, 90)
LAST = packet(7, 90, marker=True)
NEXT = packet(8, 180, start=True)


@pytest.mark.parametrize(
    "order", [(FIRST, MIDDLE, LAST), (LAST, MIDDLE, FIRST), (FIRST, LAST, MIDDLE)]
)
def test_a_key_frame_is_whole_with_its_last_packet(order: tuple[Packet, ...]) -> None:
    """In whatever order its packets come, and not before all are there."""
    assert held(*order[:2]).whole_key is None
    assert held(*order).whole_key == 5


def test_without_markers_the_next_frame_shows_the_end() -> None:
    """A sender that marks each slice ends no frame by it."""
    assert held(FIRST, MIDDLE, LAST, markers=False).whole_key is None
    assert held(FIRST, MIDDLE, LAST, NEXT, markers=False).whole_key == 5


def test_what_is_taken_is_no_longer_counted() -> None:
    """Bytes go with their packets, and so does a key frame that was begun; a younger is found."""
    ahead = held(FIRST, MIDDLE, LAST, packet(8, 180, key=True, start=True, marker=True))
    assert (ahead.size, ahead.whole_key, ahead.newest().sequence) == (16, 5, 8)
    assert ahead.take(4) is None
    assert ahead.take(5) is FIRST
    ahead.update_whole_key(6, True)
    assert (ahead.size, len(ahead), ahead.whole_key) == (12, 3, 8)
