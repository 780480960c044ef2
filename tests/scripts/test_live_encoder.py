from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.bench import clock_code
from scripts.bench.live_encoder import BACKLOG, LiveEncoder


@pytest.mark.parametrize(("codec", "decoder"), [("vp8", "vp8"), ("h264", "h264")])
async def test_frames_decode_and_show_their_capture_time(codec: str, decoder: str) -> None:
    """Every frame, from the first on, decodes to a picture whose clock is the frame's capture time."""
    async with LiveEncoder(rate=30, codec=codec) as encoder:
        feed = encoder.subscribe()
        decode: Any = av.CodecContext.create(decoder, "r")
        for i in range(6):
            frame = await asyncio.wait_for(feed.frames.get(), 5)
            assert frame.key == (i == 0)
            (picture,) = decode.decode(av.Packet(frame.data))
            shown = clock_code.read(np.asarray(picture.to_ndarray(format="bgr24"), np.uint8))
            assert shown == int(frame.captured * 1000) & 0xFFFFFFFF
            assert abs(time.time() - frame.captured) < 2


async def test_a_late_subscriber_begins_with_a_key_frame_and_nobody_else_is_disturbed() -> None:
    """A later reader gets a key frame first; earlier readers continue frame by frame."""
    async with LiveEncoder(rate=30) as encoder:
        first = encoder.subscribe()
        frames = [await asyncio.wait_for(first.frames.get(), 5) for _ in range(10)]
        second = encoder.subscribe()
        opening = await asyncio.wait_for(second.frames.get(), 5)
        assert opening.key
        while frames[-1].captured < opening.captured:
            frames.append(await asyncio.wait_for(first.frames.get(), 5))
        assert frames[-1] is opening
        assert encoder.frames - len(frames) <= 2


async def test_a_feed_that_nobody_reads_is_bounded_and_counted() -> None:
    """A sender out of breath loses frames, with a count, and goes on at a key frame."""
    async with LiveEncoder(rate=30) as encoder:
        feed = encoder.subscribe()
        while feed.dropped == 0:
            await asyncio.sleep(0.02)
        assert feed.frames.qsize() == BACKLOG
        waiting = [feed.frames.get_nowait() for _ in range(BACKLOG)]
        assert [frame.key for frame in waiting] == [True] + [False] * (BACKLOG - 1)
        assert (await asyncio.wait_for(feed.frames.get(), 5)).key


# The clock


Pixels = NDArray[np.uint8]


def scene(seed: int = 0) -> Pixels:
    """A picture with texture and coloured blocks, 1280×720."""
    rng = np.random.default_rng(seed)
    frame = np.full((720, 1280, 3), 96, np.uint8)
    for _ in range(60):
        x, y = rng.integers(0, 1200), rng.integers(0, 640)
        frame[y : y + 80, x : x + 80] = rng.integers(0, 255, 3)
    return frame


NUMBERS = [0, 1, 0xFFFFFFFF, 0x55555555, 0xAAAAAAAA, 1_795_166_220_123]


@pytest.mark.parametrize("ms", NUMBERS)
@pytest.mark.parametrize(
    ("size", "quality"), [((1280, 720), 95), ((1288, 728), 85), ((840, 448), 70), ((320, 180), 60)]
)
def test_the_clock_survives_resizing_and_jpeg(ms: int, size: tuple[int, int], quality: int) -> None:
    """A drawn code can be read after a resize and a JPEG."""
    frame = scene()
    clock_code.draw(frame, ms)
    resized = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
    assert clock_code.read(decoded) == ms & 0xFFFFFFFF


@pytest.mark.slow
def test_the_clock_survives_vp8_at_a_low_bit_rate() -> None:
    """At 300 kbit/s and 30 frames/s no frame is read wrong, and nearly all are read."""
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.bit_rate = 1280, 720, "yuv420p", 300_000
    encoder.options = {"deadline": "realtime", "cpu-used": "-6", "lag-in-frames": "0"}
    decoder = av.CodecContext.create("vp8", "r")
    clock, right, seen = 1_795_166_220_000, 0, 0
    for i in range(45):
        frame = scene()
        frame[300:380, i * 12 : i * 12 + 80] = 230
        clock_code.draw(frame, clock + i * 33)
        picture = av.VideoFrame.from_ndarray(frame, format="bgr24")
        picture.pts = i
        for packet in encoder.encode(picture):
            for decoded in decoder.decode(packet):
                shown = clock_code.read(np.asarray(decoded.to_ndarray(format="bgr24"), np.uint8))
                seen += 1
                assert shown in (None, (clock + i * 33) & 0xFFFFFFFF)
                right += shown is not None
    assert seen == 45
    assert right >= 43


def test_pictures_without_a_clock_read_as_none() -> None:
    """Scenes, plain colours, noise and tiny pictures are no clocks."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (720, 1280, 3)).astype(np.uint8)
    for frame in (
        scene(),
        np.zeros((720, 1280, 3), np.uint8),
        noise,
        np.zeros((4, 4, 3), np.uint8),
    ):
        assert clock_code.read(frame) is None


def test_age_goes_over_the_wrap_and_may_be_negative() -> None:
    """The age is right where the 32 bits wrap, and negative for a clock that is ahead."""
    wrap = 0x1_0000_0000
    assert clock_code.compute_age_ms(0xFFFFFFFE, wrap + 8.5) == pytest.approx(10.5)
    assert clock_code.compute_age_ms(20, wrap + 10) == -10
    now = 1_795_166_220_123.25
    before = random.Random(2).randrange(1, 2_000_000_000)
    assert clock_code.compute_age_ms((int(now) - before) & 0xFFFFFFFF, now) == pytest.approx(
        before + 0.25
    )
