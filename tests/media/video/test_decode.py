"""Decoding lanes: order, overflow, damage, bounds, and giving everything back."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from fractions import Fraction
from operator import ge
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.media.video import decode
from server.media.video.decode import (
    BACKLOG,
    BACKLOG_BYTES,
    VP8_MACROBLOCK_BYTES,
    VP8_PICTURES,
    DecodeLane,
    PicturesTooLarge,
    Vp8Frames,
    count_macroblocks,
    open_decoder,
    trim_memory,
)
from server.media.video.payload import EncodedFrame
from tests.media.video.test_h264 import first_frame
from tests.support import vp8_streams
from tests.support.children import memory_mib
from tests.support.clients import soon
from tests.support.decoder_memory import SCENARIOS
from tests.support.fakes_media import vp8_frames
from tests.support.h264_streams import Sps, Stream, Vui


@pytest.fixture
def gate(pool: ThreadPoolExecutor) -> Iterator[threading.Event]:
    """The pool's one thread waits for it. It is set at the end in any case."""
    gate = threading.Event()
    pool.submit(gate.wait)
    yield gate
    gate.set()


def clip(codec: str, frames: int, width: int = 320, height: int = 240) -> list[EncodedFrame]:
    """Frames of growing brightness; the first is a key frame."""
    encoder = av.CodecContext.create("libvpx" if codec == "VP8" else "libx264", "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.options = (
        {"deadline": "realtime", "lag-in-frames": "0"}
        if codec == "VP8"
        else {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}
    )
    encoder.gop_size = 1000
    out: list[EncodedFrame] = []
    for index in range(frames):
        image = av.VideoFrame.from_ndarray(
            np.full((height, width, 3), 20 + 5 * index, np.uint8), "bgr24"
        )
        image.pts = index
        for packet in encoder.encode(image):
            out.append(EncodedFrame(bytes(packet), 3000 * index, bool(packet.is_keyframe), 0.0))
    return out


class Seen:
    """Records a lane's calls, and waits for them."""

    def __init__(self) -> None:
        self.images: list[tuple[int, int]] = []
        self.sizes: list[tuple[int, int]] = []
        self.errors = 0
        self.dropped: Counter[str] = Counter()
        self.refusals = 0
        self.reasons: set[str] = set()

    @property
    def drops(self) -> int:
        return self.dropped.total()

    def image(self, encoded: EncodedFrame, image: av.VideoFrame) -> None:
        level = np.frombuffer(bytes(image.planes[0]), np.uint8)[0]
        self.images.append((encoded.timestamp, int(level)))
        self.sizes.append((image.width, image.height))

    def error(self, timestamp: int | None) -> None:
        self.errors += 1

    def drop(self, reason: str, count: int) -> None:
        self.dropped[reason] += count

    def refuse(self, reason: str) -> None:
        self.refusals += 1
        self.reasons.add(reason)

    async def until(self, *, images: int = 0, errors: int = 0, refusals: int = 0) -> None:
        wanted = images, errors, refusals
        await soon(lambda: all(map(ge, (len(self.images), self.errors, self.refusals), wanted)), 10)


Lane = Callable[..., tuple[Seen, DecodeLane]]


@pytest.fixture
async def lane(pool: ThreadPoolExecutor) -> AsyncIterator[Lane]:
    """Makes lanes, each with what it calls; they are closed at the end."""
    async with AsyncExitStack() as made:

        def make(codec: str = "VP8") -> tuple[Seen, DecodeLane]:
            seen = Seen()
            one = DecodeLane(
                pool,
                codec,
                on_image=seen.image,
                on_error=seen.error,
                on_drop=seen.drop,
                on_refused=seen.refuse,
            )
            made.callback(one.close)
            return seen, one

        yield make


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_every_frame_comes_out_once_and_in_order(lane: Lane, codec: str) -> None:
    """Ten frames in, the same ten pictures out, without a delay of the decoder's own."""
    seen, decoder = lane(codec)
    for frame in clip(codec, 10):
        decoder.put(frame)
    await seen.until(images=10)
    assert [timestamp for timestamp, _ in seen.images] == [3000 * i for i in range(10)]
    levels = [level for _, level in seen.images]
    assert levels == sorted(levels)
    assert levels[-1] > levels[0] + 20
    assert (seen.errors, seen.drops) == (0, 0)


async def test_a_damaged_frame_is_an_error_and_the_next_key_frame_works(lane: Lane) -> None:
    """Garbage asks for a key frame and does not end decoding."""
    seen, decoder = lane()
    frames = clip("VP8", 2)
    decoder.put(EncodedFrame(b"\x00\x01garbage" * 10, 0, True, 0.0))
    await seen.until(errors=1)
    for frame in frames:
        decoder.put(frame)
    await seen.until(images=2)


async def test_a_picture_completed_from_others_is_an_error(lane: Lane) -> None:
    """A key frame behind wrong parameter sets is no picture; nor is what refers to it."""
    seen, decoder = lane("H264")
    large, small = clip("H264", 1, 640, 480), clip("H264", 2)
    key = small[0].data
    decoder.put(large[0])
    decoder.put(replace(small[0], data=key[key.index(b"\0\0\1\x65") :]))
    decoder.put(small[1])
    await seen.until(images=1, errors=1)
    decoder.put(small[0])
    await seen.until(images=2)
    assert seen.sizes == [(640, 480), (320, 240)]
    assert seen.dropped == {"no_key": 1}


async def test_a_key_frame_behind_a_hole_needs_the_sets_that_its_stream_repeats(lane: Lane) -> None:
    seen, decoder = lane("H264")
    (whole,) = clip("H264", 1)
    bare = replace(whole, data=whole.data[whole.data.index(b"\0\0\1\x65") :])
    for frame in (whole, whole, bare, replace(bare, after_hole=True)):
        decoder.put(frame)
    await seen.until(images=3, errors=1)


async def test_damage_of_every_kind_is_survived(lane: Lane, pool: ThreadPoolExecutor) -> None:
    """libav's vp8 decoder survives bit flips and cuts; a clean key frame decodes afterwards."""
    seen, decoder = lane()
    key, delta = clip("VP8", 2)
    random = np.random.default_rng(7)
    for step in range(60):
        source = key if step % 2 else delta
        data = bytearray(source.data)
        for _ in range(8):
            data[random.integers(0, len(data))] ^= 1 << int(random.integers(0, 8))
        cut = int(random.integers(1, len(data)))
        decoder.put(EncodedFrame(bytes(data[:cut] if step % 3 else data), step, True, 0.0))
    await asyncio.get_running_loop().run_in_executor(pool, lambda: None)
    before = len(seen.images)
    decoder.put(EncodedFrame(key.data, 999, True, 0.0))
    await soon(lambda: any(timestamp == 999 for timestamp, _ in seen.images[before:]), 10)


async def test_too_many_frames_drop_to_the_next_key_frame(
    lane: Lane, gate: threading.Event
) -> None:
    """While the pool is held up the backlog is bounded; deltas go, a key frame passes."""
    seen, decoder = lane()
    frames = clip("VP8", 3)
    delta = frames[1]
    decoder.put(frames[0])  # in flight, behind the gate
    for index in range(BACKLOG + 5):
        decoder.put(EncodedFrame(delta.data, 3000 * (index + 1), False, 0.0))
    assert len(decoder._waiting) <= BACKLOG
    assert seen.drops == BACKLOG + 5
    assert seen.errors == 1
    decoder.put(EncodedFrame(frames[0].data, 1_000_000, True, 0.0))
    gate.set()
    await seen.until(images=2)
    assert [timestamp for timestamp, _ in seen.images] == [0, 1_000_000]


async def test_a_closed_lane_says_nothing_more(
    lane: Lane, pool: ThreadPoolExecutor, gate: threading.Event
) -> None:
    """Closing while a frame is being decoded drops its picture."""
    seen, decoder = lane()
    for frame in clip("VP8", 3):
        decoder.put(frame)
    decoder.close()
    gate.set()
    await asyncio.get_running_loop().run_in_executor(pool, lambda: None)
    await asyncio.sleep(0.01)
    assert seen.images == []
    assert decoder._decoder is None
    decoder.put(clip("VP8", 1)[0])
    assert len(decoder._waiting) == 0


@pytest.mark.slow
async def test_a_camera_has_a_share_of_a_thread_and_no_more(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that are cheap to send and dear to decode wait; another camera's do not."""
    monkeypatch.setattr(decode, "AHEAD_S", 0.02)
    monkeypatch.setattr(decode, "SHARE", 0.1)
    bombs, small = clip("VP8", 1, 2048, 2048), clip("VP8", 10)
    greedy, greedy_lane = lane()
    honest, honest_lane = lane()
    began = time.monotonic()
    for _ in range(BACKLOG):
        greedy_lane.put(bombs[0])
    for frame in small:
        honest_lane.put(frame)
    await honest.until(images=10)
    # Not behind the others.
    assert len(greedy.images) < BACKLOG
    # One more image than its credit allowed for, and from then on a tenth of the time.
    await greedy.until(images=BACKLOG)
    wall = time.monotonic() - began
    spent = 0.02 + wall * 0.1 - greedy_lane._credit._left
    print(f"{BACKLOG} bombs took {wall:.2f} s, {spent:.2f} s of them decoding")
    assert wall > 3 * spent
    assert spent > BACKLOG * _decoding_seconds(bombs[0]) / 2
    assert len(greedy_lane._waiting) <= BACKLOG
    greedy_lane.close()
    honest_lane.close()
    assert not greedy_lane._pause


async def test_a_camera_that_had_its_share_waits(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Next to no share and no credit: the first picture is the last one, however busy the machine."""
    monkeypatch.setattr(decode, "AHEAD_S", 0.0)
    monkeypatch.setattr(decode, "SHARE", 1e-9)
    seen, decoder = lane()
    for frame in clip("VP8", 10):
        decoder.put(frame)
    await seen.until(images=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await seen.until(images=2)


def _decoding_seconds(frame: EncodedFrame) -> float:
    """Processor time of decoding it, the least of three."""
    decoder, took = open_decoder("VP8"), []
    for _ in range(3):
        began = time.thread_time()
        decoder.decode(av.Packet(frame.data))
        took.append(time.thread_time() - began)
    return min(took)


@pytest.mark.parametrize(("side", "shown"), [(4608, True), (8192, True), (8208, False)])
@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_8192_pixels_a_side(lane: Lane, codec: str, side: int, shown: bool) -> None:
    """A picture of exactly the limit is shown; one macroblock more on either side is not."""
    seen, decoder = lane(codec)
    decoder.put(clip(codec, 1, side, 64)[0])
    await soon(lambda: bool(seen.images or seen.errors or seen.drops), 10)
    assert bool(seen.images) is shown


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_sizes_that_change_with_every_frame(lane: Lane, codec: str) -> None:
    """A key frame of another size each time, two hundred: each is shown as it is; memory stays."""
    seen, decoder = lane(codec)
    sizes = [(64, 64), (1920, 1080), (320, 240), (640, 1136), (16, 16)]
    keys = [clip(codec, 1, *size)[0] for size in sizes]
    before = 0.0
    for around in range(40):
        for key in keys:
            decoder.put(key)
        await seen.until(images=len(sizes) * (around + 1))
        if around == 10:
            before = memory_mib()
    assert seen.sizes == sizes * 40
    assert memory_mib() - before < 16
    assert (seen.errors, seen.drops) == (0, 0)


async def test_a_picture_past_the_bound_is_refused(lane: Lane) -> None:
    """A key frame that declares 16383×16383 pixels is too large, and nothing is allocated."""
    seen, decoder = lane()
    data = bytearray(clip("VP8", 1)[0].data)
    data[6:10] = (16383).to_bytes(2, "little") * 2  # width and height, RFC 6386 section 9.1
    decoder.put(EncodedFrame(bytes(data), 0, True, 0.0))
    await seen.until(refusals=1)
    assert (seen.reasons, seen.dropped) == ({"size"}, {"size": 1})
    assert (seen.images, seen.errors) == ([], 0)


async def test_a_stream_that_would_have_too_much_kept_is_refused(lane: Lane) -> None:
    """Sixteen references of 4096×4096 never get into libav; an honest stream's next key frame does."""
    seen, decoder = lane("H264")
    decoder.put(EncodedFrame(first_frame(4096, 4096, 16), 0, True, 0.0))
    await seen.until(refusals=1)
    assert seen.reasons == {"size"}
    decoder.put(clip("H264", 1)[0])
    await seen.until(images=1)
    assert (len(seen.images), seen.errors) == (1, 0)


@pytest.mark.parametrize(
    "deep",
    [
        {"profile": 110, "depth": 10},
        {"profile": 244, "chroma": 3},
        # A profile that has neither, said of a stream that has
        {"profile": 100, "depth": 10},
        {"profile": 100, "chroma": 3},
    ],
)
async def test_other_formats_are_refused_before_they_are_decoded(
    lane: Lane, deep: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten bits or 4:4:4 is counted, told, and asked again in a while; an honest stream gets in."""
    monkeypatch.setattr(decode, "REFUSED_S", 0.05)
    seen, decoder = lane("H264")
    stream = Stream(replace(Sps(order=0, vui=Vui(reorder=16)), **deep))  # type: ignore[arg-type]
    decoder.put(EncodedFrame(stream.sets() + stream.key(), 0, True, 0.0))
    for number in range(1, 4):
        decoder.put(EncodedFrame(stream.skipped(order=2 * number), number, False, 0.0))
    await seen.until(refusals=1, errors=1)
    decoder.put(EncodedFrame(stream.skipped(order=8), 4, False, 0.0))
    assert seen.dropped == {"format": 5}
    assert seen.reasons == {"format"}
    assert seen.images == []
    decoder.put(clip("H264", 1)[0])
    await seen.until(images=1)


async def test_pictures_that_come_to_nothing_are_counted(lane: Lane) -> None:
    """A picture from before one that was shown is dropped, as B pictures are; so is VP8's hidden one."""
    seen, decoder = lane("H264")
    stream = Stream(Sps(order=0))
    for number, data in enumerate(
        [stream.sets() + stream.key(), stream.skipped(order=8), stream.skipped(order=4)]
    ):
        decoder.put(EncodedFrame(data, number, number == 0, 0.0))
    await seen.until(images=2)
    hidden, other = lane()
    for number, shown in enumerate((True, False, True)):
        data = vp8_streams.frame(None if number else (64, 64), shown=shown)
        other.put(EncodedFrame(data, number, number == 0, 0.0))
    await hidden.until(images=2)
    assert [timestamp for timestamp, _ in seen.images] == [0, 1]
    assert [timestamp for timestamp, _ in hidden.images] == [0, 2]
    assert seen.dropped == hidden.dropped == {"not_shown": 1}


async def test_waiting_frames_are_bounded_in_bytes(lane: Lane, gate: threading.Event) -> None:
    """Eight MiB wait for a busy pool, however few frames; then all up to a key frame goes."""
    seen, decoder = lane()
    key = clip("VP8", 1)[0]
    decoder.put(key)
    large = bytes(BACKLOG_BYTES // 4)
    for number in range(4):
        decoder.put(EncodedFrame(large, number, False, 0.0))
    assert seen.drops == 0
    decoder.put(EncodedFrame(large, 4, False, 0.0))
    assert (seen.dropped, seen.errors) == ({"backlog": 5}, 1)
    assert len(decoder._waiting) == 0
    gate.set()
    decoder.put(key)
    await seen.until(images=2)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_too_large_pictures_disturb_no_other_camera(
    lane: Lane, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4096×4096 is refused, counted and asked again once, and gets in with smaller pictures;
    a camera of 3840×2160 is shown all the while.
    """
    monkeypatch.setattr(decode, "REFUSED_S", 0.05)
    if codec == "VP8":
        huge = vp8_streams.frame((4096, 4096), zeros=20)
    else:
        huge = first_frame(4096, 4096, 1)
    large, small = clip(codec, 1, 3840, 2160)[0], clip(codec, 1)[0]
    (one, hostile), (other, honest) = lane(codec), lane(codec)
    for number in range(3):
        hostile.put(EncodedFrame(huge, number, number == 0, 0.0))
    # It is asked for a key frame once, however long that takes to come.
    await one.until(refusals=1, errors=1)
    hostile.put(EncodedFrame(huge, 3, False, 0.0))
    assert one.dropped == {"size": 4}
    honest.put(large)
    await other.until(images=1)
    hostile.put(small)
    await one.until(images=1)
    assert (one.refusals, one.errors, other.dropped) == (1, 1, {})


def test_unknown_codecs_are_refused() -> None:
    """Only what an offer may contain can be opened."""
    with pytest.raises(KeyError, match="VP9"):
        open_decoder("VP9")


def test_memory_can_be_given_back_anywhere() -> None:
    """On systems without malloc_trim nothing happens."""
    trim_memory()


# The memory of decoders: bounded before they take it, and measured


# Uncounted memory that libav may hold for a decoder without any frame.
SLACK_MIB = 6.0


@functools.cache
def measured(name: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.decoder_memory", name],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        timeout=120,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    print(name, result)
    return result


# A process each, for a second or more; these stand for the others in everyday work.
QUICK = ("deep", "second", "wild", "vp8_largest")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SCENARIOS],
)
def test_no_more_is_held_than_is_counted(name: str) -> None:
    """Resident memory at its peak, the pictures that cameras hold included."""
    found = measured(name)
    assert found["peak"] - found["before"] < found["counted"] + SLACK_MIB


def test_other_formats_never_reach_a_decoder() -> None:
    """Four cameras of 4:4:4 with 14 bits, 26 KB each, held 2,660 MiB once: all are refused."""
    found = measured("deep")
    assert found["refused"] == 4
    assert "shown" not in found
    assert found["peak"] - found["before"] < SLACK_MIB


@pytest.mark.parametrize("name", ["groups", "partitions", "out_of_order"])
def test_what_libav_does_not_read_is_refused(name: str) -> None:
    """Slice groups, data partitions, later slices first: only the honest first pictures are shown."""
    found = measured(name)
    assert found["shown"] == 4
    assert found["refused"] >= 160
    assert found["peak"] - found["before"] < 110


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("reorder", 150), ("silent", 220), ("second", 150)])
def test_nothing_is_held_to_be_put_in_order(name: str, most: int) -> None:
    """The set states the number, or nothing, or a second set does: four cameras once held 830 MiB."""
    found = measured(name)
    assert found["peak"] - found["before"] < most
    assert found["shown"] >= 64


def test_half_a_million_units_are_refused() -> None:
    """A frame of 2 MB held 2,030 MiB until its decoder was closed."""
    found = measured("tiny")
    assert found["error"] == 1
    assert found["peak"] - found["before"] < 15


# VP8 headers


@pytest.mark.parametrize(("width", "height"), [(16, 16), (1280, 720), (1366, 768), (16383, 1)])
@pytest.mark.parametrize("scale", [0, 3])
def test_a_key_frame_says_its_size(width: int, height: int, scale: int) -> None:
    """Whole macroblocks; the bits that ask for a scale do not count."""
    data = bytearray(vp8_frames(1)[0])
    data[6:8] = (width | scale << 14).to_bytes(2, "little")
    data[8:10] = (height | scale << 14).to_bytes(2, "little")
    assert count_macroblocks(bytes(data)) == -(-width // 16) * -(-height // 16)


def test_deltas_say_nothing() -> None:
    """Nor does what ends before its size, or has no start code."""
    key, delta = vp8_frames(2)
    assert count_macroblocks(delta) == count_macroblocks(key[:9]) == count_macroblocks(b"") == 0
    assert Vp8Frames().check(delta) == delta
    assert count_macroblocks(key[:3] + b"\0\0\0" + key[6:]) == 0


def test_six_pictures_are_counted() -> None:
    """The largest so far counts; larger ones than may be are refused."""
    size = VP8_MACROBLOCK_BYTES * VP8_PICTURES
    frames = Vp8Frames()
    for width, height in ((640, 360), (4096, 2304), (320, 240)):
        key = vp8_streams.frame((width, height), zeros=20)
        assert frames.check(key) == key
    assert frames.kept == size * 256 * 144
    with pytest.raises(PicturesTooLarge):
        frames.check(vp8_streams.frame((4096, 4096), zeros=20))


@given(st.binary(max_size=20))
def test_any_bytes_are_survived(data: bytes) -> None:
    assert 0 <= count_macroblocks(data) <= 1024 * 1024
    with suppress(ValueError):
        assert Vp8Frames().check(data) == data
