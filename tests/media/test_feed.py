"""One connection's writing end: what it leaves out, and that one whose place was taken changes nothing."""

from __future__ import annotations

import time
from dataclasses import replace

import av
import numpy as np
import pytest

from server.core.frames import Frame
from server.core.metrics import Metrics
from server.media.camera import Camera
from tests.support.rooms import make_frame


class Bench:
    def __init__(self) -> None:
        self.metrics = Metrics("test")
        self.camera = Camera(sample_rate=2.0, metrics=self.metrics, clock=time.monotonic)

    def skipped(self, reason: str) -> float:
        value = self.metrics.frames_skipped.labels(reason)._value.get()
        assert isinstance(value, float)
        return value


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def zeros(luma: int = 0, chroma: int = 0) -> Frame:
    """A picture whose planes all have one value."""
    planes = np.full((360, 320), luma, np.uint8)
    planes[240:] = chroma
    image = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    return replace(make_frame(), image=image)


async def test_memory_that_nobody_drew_into_is_left_out(bench: Bench) -> None:
    """A sender's first pictures may be all zeros, which shows as green; a black one is a picture."""
    feed = bench.camera.open_connection()
    feed.frame(zeros())
    assert bench.camera.newest is None
    assert bench.skipped("unwritten") == 1
    black = zeros(16, 128)
    feed.frame(black)
    assert bench.camera.newest is black
    # Later ones are what the camera shows, whatever that is.
    late = zeros()
    feed.frame(late)
    assert bench.camera.newest is late
    assert bench.skipped("unwritten") == 1
    bench.camera.close()


async def test_each_connection_begins_anew(bench: Bench) -> None:
    """A new connection has neither the refusal nor the doubted clock of the one before."""
    old = bench.camera.open_connection()
    old.refused("memory")
    old.clock_doubted = True
    new = bench.camera.open_connection()
    assert (new.refusal, new.clock_doubted, bench.camera.clock_doubted) == ("", False, False)
    bench.camera.close()


async def test_a_feed_whose_place_was_taken_changes_nothing(bench: Bench) -> None:
    """Packets of an older connection still come for a moment."""
    old = bench.camera.open_connection()
    new = bench.camera.open_connection()
    told: list[int | None] = []
    bench.camera.on_sender = told.append
    old.frame(make_frame())
    old.connected()
    old.rate(100_000, 5)
    old.key_frame_asked()
    old.refused("memory")
    old.ended()
    assert bench.camera.newest is None
    assert bench.camera.feed is new
    assert told == []
    assert new.refusal == ""
    bench.camera.close()


async def test_another_devices_clock_is_not_the_pages(bench: Bench) -> None:
    """Its stamps are not compared with when the page sent a question."""
    feed = bench.camera.new_connection(sender_controlled=False)
    bench.camera.open_connection(feed)
    feed.frame(replace(make_frame(), captured_sender=1.0, clock_doubted=True))
    newest = bench.camera.newest
    assert newest is not None
    assert (newest.captured_sender, newest.clock_doubted) == (None, False)
    bench.camera.close()
