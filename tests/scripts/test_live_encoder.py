from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from scripts.bench import clock_code
from scripts.bench.camera_peer import EncodedTrack
from scripts.bench.live_encoder import BACKLOG, EncodedFrame, LiveEncoder


@pytest.mark.parametrize(("codec", "decoder"), [("vp8", "vp8"), ("h264", "h264")])
async def test_frames_decode_and_show_their_capture_time(codec: str, decoder: str) -> None:
    """Every frame, from the first on, decodes to a picture whose clock is the frame's capture time."""
    encoder = LiveEncoder(rate=30, codec=codec)
    feed = encoder.subscribe()
    decode: Any = av.CodecContext.create(decoder, "r")
    try:
        for i in range(6):
            frame = await asyncio.wait_for(feed.frames.get(), 5)
            assert frame.key == (i == 0)
            (picture,) = decode.decode(av.Packet(frame.data))
            shown = clock_code.read(np.asarray(picture.to_ndarray(format="bgr24"), np.uint8))
            assert shown == int(frame.captured * 1000) & 0xFFFFFFFF
            assert abs(time.time() - frame.captured) < 2
    finally:
        await encoder.close()


async def test_a_late_subscriber_begins_with_a_key_frame_and_nobody_else_is_disturbed() -> None:
    """A later reader gets a key frame first; earlier readers continue frame by frame."""
    encoder = LiveEncoder(rate=30)
    first = encoder.subscribe()
    try:
        frames = [await asyncio.wait_for(first.frames.get(), 5) for _ in range(10)]
        second = encoder.subscribe()
        opening = await asyncio.wait_for(second.frames.get(), 5)
        assert opening.key
        while frames[-1].captured < opening.captured:
            frames.append(await asyncio.wait_for(first.frames.get(), 5))
        assert frames[-1] is opening
        assert encoder.frames - len(frames) <= 2
    finally:
        await encoder.close()


async def test_a_feed_that_nobody_reads_is_bounded_and_counted() -> None:
    """A sender out of breath loses frames, with a count, and goes on at a key frame."""
    encoder = LiveEncoder(rate=30)
    feed = encoder.subscribe()
    try:
        while feed.dropped == 0:
            await asyncio.sleep(0.02)
        assert feed.frames.qsize() == BACKLOG
        waiting = [feed.frames.get_nowait() for _ in range(BACKLOG)]
        assert [frame.key for frame in waiting] == [True] + [False] * (BACKLOG - 1)
        assert (await asyncio.wait_for(feed.frames.get(), 5)).key
    finally:
        await encoder.close()


async def test_the_rate_changes_at_once_and_without_a_key_frame() -> None:
    """From 2 to 30 frames a second the next frames come at the new rate, as deltas."""
    encoder = LiveEncoder(rate=2)
    feed = encoder.subscribe()
    try:
        for _ in range(2):
            await asyncio.wait_for(feed.frames.get(), 5)
        encoder.rate = 30
        frames = [await asyncio.wait_for(feed.frames.get(), 5) for _ in range(6)]
        # At the old rate they would span two and a half.
        assert frames[-1].captured - frames[0].captured < 1.5
        assert not any(frame.key for frame in frames)
    finally:
        await encoder.close()


async def test_capture_time_stands_still_while_frozen() -> None:
    """A frozen camera goes on sending, with one and the same capture time."""
    encoder = LiveEncoder(rate=30)
    feed = encoder.subscribe()
    try:
        await asyncio.wait_for(feed.frames.get(), 5)
        encoder.frozen = True
        await asyncio.wait_for(feed.frames.get(), 5)
        times = {(await asyncio.wait_for(feed.frames.get(), 5)).rtp_time for _ in range(4)}
        assert len(times) == 1
    finally:
        await encoder.close()


async def test_a_track_gives_frames_as_packets_with_rtp_time() -> None:
    """aiortc gets the encoded frame and its time in 1/90,000 s."""
    encoder = LiveEncoder()
    feed = encoder.subscribe()
    track = EncodedTrack(feed)
    try:
        feed.frames.put_nowait(EncodedFrame(b"abc", 1.5, 90_000, True))
        packet = await asyncio.wait_for(track.recv(), 5)
        assert (bytes(packet), packet.pts, packet.time_base) == (
            b"abc",
            90_000,
            Fraction(1, 90_000),
        )
        assert (track.sent, track.bytes) == (1, 3)
    finally:
        track.stop()
        await encoder.close()
