"""The newest frame: who gets which one, the messages about it, and how the sender is steered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from functools import partial
from itertools import pairwise
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.errors import CameraFrozen, CameraStalled, NoCamera
from server.core.frames import CameraState, Frame
from server.core.metrics import Metrics
from server.media.camera import (
    HOLD_SECONDS,
    REQUEST_FRAME_SECONDS,
    START_WAKE_MS,
    UNMEASURED,
    WAKE_MS,
    Camera,
    CameraConnection,
    QuestionTime,
    Sampler,
)
from server.media.path_rate import ALERT_FPS, TOP
from tests.support.clients import sample
from tests.support.fakes_clock import on_clock
from tests.support.rooms import make_frame

# Offset of the sender's clock to this machine's monotonic clock, seconds.
SENDER = 1_700_000_000.0


def now() -> float:
    return asyncio.get_running_loop().time()


def picture(blur: float = 0.0, *, width: int = 320, height: int = 240) -> av.VideoFrame:
    """Squares with steep edges, blurred by a Gaussian of so many pixels."""
    rows, columns = np.indices((height, width)) // 48
    luma = np.where((rows + columns) % 2, 220, 40).astype(np.uint8)
    if blur:
        luma = np.asarray(cv2.GaussianBlur(luma, (0, 0), blur), np.uint8)
    chroma = np.full((height // 2, width), 128, np.uint8)
    return av.VideoFrame.from_ndarray(np.vstack([luma, chroma]), format="yuv420p")


SHARP, SOFT, SOFTER = picture(), picture(3.0), picture(6.0)


class Bench:
    """A camera with a feed, and everything that it told."""

    def __init__(self, sample_rate: float = 2.0) -> None:
        self.metrics = Metrics("test")
        self.camera = Camera(sample_rate=sample_rate, metrics=self.metrics, clock=now)
        self.statuses: list[CameraState | None] = []
        self.wakes: list[int | None] = []
        self.key_frames = 0
        self.count = 0
        self.camera.on_status.append(lambda: self.statuses.append(self.camera.state()))
        self.camera.on_sender.append(self.wakes.append)
        self.feed = self.open()

    def open(self) -> CameraConnection:
        return self.camera.open_connection(request_key_frame=self._key_frame)

    def _key_frame(self) -> None:
        self.key_frames += 1

    def frame(
        self,
        captured: float | None = None,
        *,
        arrived: float | None = None,
        sender: float | None = None,
        image: av.VideoFrame = SHARP,
        feed: CameraConnection | None = None,
        doubted: bool = False,
    ) -> Frame:
        """A frame comes; `captured` is its capture time by this machine's clock, `sender` by the page's."""
        self.count += 1
        at = now() if captured is None else captured
        frame = Frame(
            id=f"f{self.count}",
            image=image,
            width=image.width,
            height=image.height,
            captured=at,
            captured_sender=sender,
            arrived=now() if arrived is None else arrived,
            rtp_time=int(at * 90_000),
            clock_doubted=doubted,
        )
        (feed or self.feed).frame(frame)
        return frame

    def counted(self, name: str) -> float:
        return sample(self.metrics, name)


def question_time(sent: float | None = None, wall: float = SENDER) -> QuestionTime:
    return QuestionTime(at=now(), wall=wall, sent=sent)


def spawn(coro: Coroutine[Any, Any, Frame]) -> asyncio.Task[Frame]:
    return asyncio.create_task(coro)


@on_clock
async def test_a_question_gets_the_first_frame_captured_after_it_by_the_senders_clock() -> None:
    """A frame captured before the question is skipped, even if it arrives after it."""
    bench = Bench()
    bench.frame(sender=SENDER - 0.5)
    waiting = spawn(bench.camera.wait_for_frame(question_time(sent=SENDER)))
    await asyncio.sleep(0.05)
    bench.frame(sender=SENDER - 0.001)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    right = bench.frame(captured=0.0, sender=SENDER + 0.001)
    bench.frame(sender=SENDER + 0.03)
    # Both came within one turn of the loop: the newer one is no worse.
    assert (await waiting).captured_sender in (right.captured_sender, SENDER + 0.03)
    newest = bench.frame(sender=SENDER + 0.1)
    assert await bench.camera.wait_for_frame(question_time(sent=SENDER + 0.1)) is newest


@on_clock
async def test_each_listener_of_a_camera_is_told() -> None:
    """A session, and features that add themselves later, in any order."""
    bench = Bench()
    told: list[object] = []
    for n in range(2):
        bench.camera.on_stream.append(partial(told.append, f"stream {n}"))
        bench.camera.on_status.append(partial(told.append, f"status {n}"))
        bench.camera.on_sender.append(told.append)
    bench.camera.wake()
    bench.open()
    bench.camera.end()
    assert told == [1500, 1500, "stream 0", "stream 1", "status 0", "status 1"]
    assert (bench.statuses[-1], bench.wakes[-1]) == (CameraState.ENDED, 1500)


@on_clock
async def test_a_clock_that_is_not_believed_is_told() -> None:
    """By the frames themselves, or by a question's stamp; each change once, and not of another device's camera."""
    bench = Bench()
    told: list[bool] = []
    bench.frame()
    bench.camera.on_status.append(lambda: told.append(bench.camera.clock_doubted))
    for _ in range(3):
        bench.frame(doubted=True)
    assert told == [True]
    begin = now()

    def stamp() -> float:
        return SENDER + now() - begin

    # A frame's stamp that is a little behind is waited for, one far behind is not believed.
    for behind, doubted in ((0.4, False), (0.0, False), (0.6, True), (0.0, False)):
        await asyncio.sleep(0.1)
        waiting = spawn(bench.camera.wait_for_frame(question_time(sent=stamp(), wall=stamp())))
        await asyncio.sleep(0.02)
        bench.frame(sender=stamp() - behind)
        await asyncio.sleep(0.02)
        if behind == 0.4:
            assert not waiting.done()
            await asyncio.sleep(0.4)
            bench.frame(sender=stamp() - behind)
        await waiting
        assert bench.camera.clock_doubted is doubted
    assert told == [True, False, True, False]
    bench.frame(doubted=True)
    whip = bench.camera.open_connection(bench.camera.new_connection(sender_controlled=False))
    bench.frame(doubted=True, feed=whip)
    assert not bench.camera.clock_doubted


@pytest.mark.parametrize(
    ("sent", "reported"), [(None, True), (SENDER, False), (SENDER - 2.1, True), (SENDER + 9, True)]
)
@on_clock
async def test_without_the_senders_clock_the_local_capture_time_decides(
    sent: float | None, reported: bool
) -> None:
    """No stamp, no sender report, or a stamp too far away: captured 10 ms after the question's arrival, or not at all."""
    bench = Bench()
    question = question_time(sent=sent)
    waiting = spawn(bench.camera.wait_for_frame(question))
    await asyncio.sleep(0.02)
    sender = SENDER + 100 if reported else None
    bench.frame(question.at + 0.009, sender=sender)
    await asyncio.sleep(0.02)
    assert not waiting.done()
    right = bench.frame(question.at + 0.011, sender=sender)
    assert await waiting is right


@on_clock
async def test_no_frame_within_3_s_is_told_as_a_stalled_camera() -> None:
    """Not before and not after; the client hears once that it waits, after 600 ms; the answer is never taken from the old frame."""
    bench = Bench()
    bench.frame(now() - 0.2)
    start = now()
    told: list[float] = []
    with pytest.raises(CameraStalled, match="in time"):
        await bench.camera.wait_for_frame(question_time(), lambda: told.append(now() - start))
    assert now() - start == pytest.approx(3.0, abs=0.001)
    assert told == [pytest.approx(0.6, abs=0.001)]
    assert bench.key_frames == 0


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("size", "at most 3840×2160 pixels"),
        ("format", "8-bit 4:2:0"),
    ],
)
@on_clock
async def test_pictures_that_were_refused_are_told(reason: str, words: str) -> None:
    """The error says what fits, until a picture comes or another camera takes over; what an older one says is ignored."""
    bench = Bench()
    bench.feed.pictures_refused(reason)
    with pytest.raises(CameraStalled, match=words):
        await bench.camera.wait_for_frame(question_time())
    bench.frame(now() - 0.2)
    with pytest.raises(CameraStalled, match="in time"):
        await bench.camera.wait_for_frame(question_time())
    bench.feed.pictures_refused(reason)
    old, bench.feed = bench.feed, bench.camera.open_connection()
    old.pictures_refused(reason)
    with pytest.raises(CameraStalled, match="in time"):
        await bench.camera.wait_for_frame(question_time())


@pytest.mark.parametrize(("codec", "wakes"), [("H264", [START_WAKE_MS]), ("VP8", []), ("", [])])
@on_clock
async def test_an_h264_camera_begins_awake(codec: str, wakes: list[int]) -> None:
    """Its browser hears when it is connected, and only while it is the one that sends."""
    bench = Bench()
    bench.feed.codec = codec
    bench.feed.connection_made()
    assert bench.wakes == wakes
    old = bench.feed
    bench.camera.open_connection()
    old.connection_made()
    assert bench.wakes == wakes


@on_clock
async def test_a_waiting_question_wakes_the_sender_once() -> None:
    """After 150 ms without a frame the sender is woken; a key frame is asked for when there never was a picture."""
    bench = Bench()
    waiting = spawn(bench.camera.wait_for_frame(question_time()))
    await asyncio.sleep(REQUEST_FRAME_SECONDS - 0.01)
    assert (bench.wakes, bench.key_frames) == ([], 0)
    await asyncio.sleep(0.02)
    assert (bench.wakes, bench.key_frames) == ([WAKE_MS], 1)
    bench.frame()
    assert (await waiting).id == "f1"
    assert (bench.wakes, bench.key_frames) == ([WAKE_MS], 1)
    bench.camera.wake()
    assert bench.wakes == [WAKE_MS, WAKE_MS]


@on_clock
async def test_a_frame_that_is_late_is_waited_for() -> None:
    """A stall of 2 s: the sender is woken once more, and the first frame from after the question is taken, no older one."""
    bench = Bench()
    bench.frame()
    question = question_time()
    waiting = spawn(bench.camera.wait_for_frame(question))
    await asyncio.sleep(2.0)
    assert bench.wakes == [WAKE_MS, WAKE_MS]
    bench.frame(question.at - 0.01)
    await asyncio.sleep(0.1)
    assert not waiting.done()
    right = bench.frame()
    assert await waiting is right


@on_clock
async def test_what_waiting_does_not_help_is_told_after_600_ms() -> None:
    """A picture that stands still already, and pictures that are refused for their size."""
    bench = Bench()
    same = now()
    for _ in range(30):
        bench.frame(same)
        await asyncio.sleep(0.1)
    start, told = now(), 0

    def waits() -> None:
        nonlocal told
        told += 1

    with pytest.raises(CameraFrozen):
        await bench.camera.wait_for_frame(question_time(), waits)
    bench.feed = bench.camera.open_connection()
    bench.feed.pictures_refused("size")
    with pytest.raises(CameraStalled, match="3840×2160"):
        await bench.camera.wait_for_frame(question_time(), waits)
    assert now() - start == pytest.approx(1.2, abs=0.001)
    assert told == 0


@on_clock
async def test_a_camera_whose_picture_stands_still_is_frozen_and_a_silent_one_stalled() -> None:
    """Packets and pictures of the same capture time again and again are frozen; nothing at all is stalled."""
    bench = Bench()
    same = now()
    for _ in range(30):
        bench.frame(same)
        bench.feed.packet_received(now())
        await asyncio.sleep(0.1)
    assert bench.camera.state() is CameraState.FROZEN
    with pytest.raises(CameraFrozen, match="is frozen"):
        await bench.camera.wait_for_frame(question_time())
    # The browser repeats the old picture with a new time when the question wakes it.
    question = question_time()
    bench.frame()
    with pytest.raises(CameraFrozen):
        await bench.camera.wait_for_frame(question)
    with pytest.raises(CameraFrozen):
        await bench.camera.wait_for_sharpest()
    for _ in range(4):
        await asyncio.sleep(0.1)
        bench.frame()
    assert bench.camera.state() is CameraState.LIVE
    await asyncio.sleep(3)
    assert bench.camera.state() is CameraState.STALLED
    with pytest.raises(CameraStalled):
        await bench.camera.wait_for_frame(question_time())


@on_clock
async def test_behind_a_silence_a_question_waits_for_the_first_pictures() -> None:
    """After a cut packets come before the first whole picture: that is not a picture that stands still."""
    bench = Bench()
    for _ in range(10):
        bench.feed.packet_received(now())
        bench.frame()
        await asyncio.sleep(0.1)
    await asyncio.sleep(13)
    bench.feed.packet_received(now())
    assert bench.camera.state() is CameraState.FROZEN
    waiting = spawn(bench.camera.wait_for_frame(question_time()))
    for _ in range(12):
        await asyncio.sleep(0.1)
        bench.feed.packet_received(now())
    shown = [bench.frame()]
    for _ in range(3):
        await asyncio.sleep(0.1)
        shown.append(bench.frame())
    assert (await waiting) is shown[-1]
    # Heard of for longer, without another picture: now it stands still.
    for _ in range(30):
        await asyncio.sleep(0.1)
        bench.feed.packet_received(now())
    start = now()
    with pytest.raises(CameraFrozen):
        await bench.camera.wait_for_frame(question_time())
    assert now() - start == pytest.approx(0.6, abs=0.01)


@on_clock
async def test_a_source_with_a_picture_each_three_seconds_answers_from_the_next() -> None:
    """A question waits longer for it, and wakes nothing that would repeat the old one."""
    bench = Bench()
    shown: list[Frame] = []

    async def pictures() -> None:
        for second in range(40):
            bench.feed.packet_received(now())
            if second % 3 == 0:
                shown.append(bench.frame())
            await asyncio.sleep(1)

    task = asyncio.create_task(pictures())
    await asyncio.sleep(9.2)
    assert bench.camera.state() is CameraState.LIVE
    woken = len(bench.wakes)
    for late in (0.0, 1.7, 2.9):
        await asyncio.sleep(late)
        question, count = question_time(), len(shown)
        assert (await bench.camera.wait_for_frame(question)) is shown[count]
    assert len(bench.wakes) == woken
    # Another measurement of the path: the sender repeats its picture with a new capture time.
    question, count = question_time(), len(shown)
    bench.feed.rate(500_000, 8)
    await asyncio.sleep(0.3)
    bench.frame()
    assert await bench.camera.wait_for_frame(question) is shown[count]
    task.cancel()


@on_clock
async def test_a_new_picture_that_changes_the_rate_itself_is_no_repeat() -> None:
    """Its packets measure the path before it is decoded. The picture that proves a slow source answers a question, too."""
    bench = Bench()
    waiting: asyncio.Task[Frame] | None = None
    for number in range(6):
        arrived = now()
        bench.feed.rate(400_000 + number % 2 * 100_000, 8)
        await asyncio.sleep(0.05)
        shown = bench.frame(arrived, arrived=arrived)
        assert bench.camera.state() is CameraState.LIVE
        if waiting is not None:
            assert await waiting is shown
        for _ in range(2):
            await asyncio.sleep(1)
            bench.feed.packet_received(now())
        await asyncio.sleep(0.85)
        waiting = spawn(bench.camera.wait_for_frame(question_time()))
        await asyncio.sleep(0.1)
    assert waiting is not None
    waiting.cancel()


@on_clock
async def test_a_slow_camera_that_sends_at_its_own_rate_is_woken() -> None:
    """A fixed camera decodes nothing before; what it decodes then answers."""
    bench = Bench()
    feed = bench.camera.open_connection(bench.camera.new_connection(sender_controlled=False))
    for _ in range(4):
        bench.frame(feed=feed)
        await asyncio.sleep(3)

    def decode(wake_ms: int | None) -> None:
        if wake_ms is not None:
            asyncio.get_running_loop().call_later(0.1, partial(bench.frame, feed=feed))

    bench.camera.on_sender.append(decode)
    start = now()
    await bench.camera.wait_for_frame(question_time())
    assert now() - start < 0.5


@on_clock
async def test_a_question_waits_two_periods_of_a_camera_that_is_polled() -> None:
    """A picture counts from its request, so an answer that was under way at the question is too old."""
    bench = Bench()
    feed = bench.camera.open_connection(bench.camera.new_connection(sender_controlled=False))

    async def poll() -> None:
        while True:
            requested = now()
            await asyncio.sleep(3)
            bench.frame(requested, feed=feed)

    task = asyncio.create_task(poll())
    await asyncio.sleep(15.1)
    start = now()
    assert (await bench.camera.wait_for_frame(question_time())).captured >= start
    task.cancel()


@on_clock
async def test_the_age_of_a_picture_that_stands_still_is_told() -> None:
    bench = Bench()
    bench.frame()
    for _ in range(12):
        await asyncio.sleep(1)
        bench.feed.packet_received(now())
    with pytest.raises(CameraFrozen, match="for 13 s"):
        await bench.camera.wait_for_frame(question_time())


@on_clock
async def test_a_first_frame_that_never_comes_is_told() -> None:
    """Six seconds after connecting it is no longer starting; and the quiet of a live camera is noticed no later for it."""
    bench = Bench()
    bench.feed.connection_made()
    await asyncio.sleep(5.9)
    assert bench.statuses == [CameraState.STARTING]
    await asyncio.sleep(0.2)
    assert bench.statuses == [CameraState.STARTING, CameraState.STALLED]
    bench.feed = bench.open()
    bench.feed.connection_made()
    bench.frame()
    await asyncio.sleep(2.2)
    assert bench.statuses[-2:] == [CameraState.LIVE, CameraState.STALLED]


@on_clock
async def test_identical_pictures_that_are_captured_anew_are_an_unchanged_scene() -> None:
    """The camera stays live, and the question gets its frame."""
    bench = Bench()
    for _ in range(30):
        bench.frame(image=SHARP)
        await asyncio.sleep(0.1)
    assert bench.camera.state() is CameraState.LIVE
    waiting = spawn(bench.camera.wait_for_frame(question_time()))
    await asyncio.sleep(0.05)
    frame = bench.frame(image=SHARP)
    assert await waiting is frame


@on_clock
async def test_without_a_camera_questions_are_refused_at_once() -> None:
    """Before the first offer, after the end, and when it ends while somebody waits."""
    bare = Camera(sample_rate=2.0, metrics=Metrics("test"), clock=now)
    assert bare.state() is None
    assert not bare.offered
    for wait in (bare.wait_for_frame(question_time()), bare.wait_for_sharpest()):
        with pytest.raises(NoCamera, match="Start Camera"):
            await wait
    bench = Bench()
    start = now()
    waiting = [
        spawn(bench.camera.wait_for_frame(question_time())),
        spawn(bench.camera.wait_for_frame(question_time())),
        spawn(bench.camera.wait_for_sharpest()),
    ]
    await asyncio.sleep(0.01)
    bench.feed.stream_ended()
    for task in waiting:
        with pytest.raises(NoCamera):
            await task
    assert now() - start < 0.1
    assert bench.camera.state() is CameraState.ENDED
    assert bench.camera.newest is None
    with pytest.raises(NoCamera):
        await bench.camera.wait_for_frame(question_time())


@on_clock
async def test_closing_ends_every_waiter() -> None:
    """The session ends: nobody waits on, no timer is left, nothing is kept."""
    bench = Bench()
    bench.frame()
    waiting = spawn(bench.camera.wait_for_frame(question_time()))
    await asyncio.sleep(0.01)
    bench.camera.close()
    with pytest.raises(NoCamera):
        await waiting
    assert bench.camera.newest is None
    told = len(bench.statuses)
    bench.frame()
    bench.feed.stream_ended()
    await asyncio.sleep(60)
    assert len(bench.statuses) == told


@on_clock
async def test_several_wait_for_the_same_frame_and_one_may_leave() -> None:
    """A cancelled waiter takes nothing from the others."""
    bench = Bench()
    waiting = [spawn(bench.camera.wait_for_frame(question_time())) for _ in range(4)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    waiting[2].cancel()
    await asyncio.sleep(0.05)
    frame = bench.frame()
    assert await waiting[1] is frame
    assert await waiting[3] is frame
    assert waiting[0].cancelled()
    assert waiting[2].cancelled()


@on_clock
async def test_the_question_waits_on_over_a_new_connection() -> None:
    """A camera that reconnects while somebody waits still answers."""
    bench = Bench()
    waiting = spawn(bench.camera.wait_for_frame(question_time()))
    await asyncio.sleep(0.1)
    old, bench.feed = bench.feed, bench.open()
    old.stream_ended()
    await asyncio.sleep(0.1)
    frame = bench.frame()
    assert await waiting is frame


@on_clock
async def test_a_replaced_feed_is_deaf() -> None:
    """Frames, packets, rates and the end of an older connection change nothing; its drops still count."""
    bench = Bench()
    old, bench.feed = bench.feed, bench.open()
    told = len(bench.wakes), len(bench.statuses)
    assert bench.feed.current
    assert not old.current
    bench.frame(feed=old)
    old.packet_received(now())
    old.rate(1_000_000, 20)
    old.connection_made()
    old.key_frame_requested()
    old.pictures_refused("size")
    old.stream_ended()
    assert bench.camera.newest is None
    assert bench.camera.feed is bench.feed
    assert bench.feed.refusal == ""
    assert bench.camera.state() is CameraState.STARTING
    assert (len(bench.wakes), len(bench.statuses)) == told
    old.frames_dropped("broken", 3)
    assert bench.counted('frames_skipped_total{reason="broken"}') == 3


@on_clock
async def test_each_connection_begins_anew() -> None:
    """A new connection has neither the refusal nor the doubted clock of the one before."""
    bench = Bench()
    bench.feed.pictures_refused("size")
    bench.feed.clock_doubted = True
    new = bench.open()
    assert (new.refusal, new.clock_doubted, bench.camera.clock_doubted) == ("", False, False)


def even(luma: int, chroma: int) -> av.VideoFrame:
    """A picture whose planes all have one value."""
    planes = np.full((360, 320), luma, np.uint8)
    planes[240:] = chroma
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


@on_clock
async def test_memory_that_nobody_drew_into_is_left_out() -> None:
    """A sender's first pictures may be all zeros, which shows as green; a black one is a picture."""
    bench = Bench()
    bench.frame(image=even(0, 0))
    assert bench.camera.newest is None
    black = bench.frame(image=even(16, 128))
    assert bench.camera.newest is black
    # Later ones are what the camera shows, whatever that is.
    late = bench.frame(image=even(0, 0))
    assert bench.camera.newest is late
    assert bench.counted('frames_skipped_total{reason="unwritten"}') == 1


@on_clock
async def test_another_devices_clock_is_not_the_pages() -> None:
    """Its stamps are not compared with when the page sent a question."""
    bench = Bench()
    feed = bench.camera.open_connection(bench.camera.new_connection(sender_controlled=False))
    bench.frame(sender=1.0, doubted=True, feed=feed)
    newest = bench.camera.newest
    assert newest is not None
    assert (newest.captured_sender, newest.clock_doubted) == (None, False)


@on_clock
async def test_hold_takes_a_sharp_frame_at_once() -> None:
    """Among blurred ones the first sharp one ends the looking."""
    bench = Bench()
    bench.frame(image=SHARP)
    bench.frame(image=SOFTER)
    start = now()
    waiting = spawn(bench.camera.wait_for_sharpest())
    for image in (SOFT, SOFTER, SHARP, SHARP):
        await asyncio.sleep(0.05)
        last = bench.frame(image=image)
        if waiting.done():
            break
    held = await waiting
    assert held.image is SHARP
    assert held is not last
    assert now() - start < 0.3


@on_clock
async def test_hold_takes_the_best_of_what_came() -> None:
    """Without a sharp frame within 0.4 s the least blurred one is held, not the newest."""
    bench = Bench()
    start = now()
    waiting = spawn(bench.camera.wait_for_sharpest())
    for image in (SOFTER, SOFT, SOFTER, SOFTER):
        await asyncio.sleep(0.05)
        bench.frame(image=image)
    held = await waiting
    assert held.image is SOFT
    assert now() - start == pytest.approx(HOLD_SECONDS, abs=0.001)


@on_clock
async def test_hold_of_a_silent_camera_is_refused() -> None:
    """An old frame is not held; after 3 s the camera is called stalled."""
    bench = Bench()
    bench.frame()
    await asyncio.sleep(1.5)
    start = now()
    with pytest.raises(CameraStalled):
        await bench.camera.wait_for_sharpest()
    assert now() - start == pytest.approx(3.0, abs=0.001)
    assert bench.wakes == [WAKE_MS]


@on_clock
async def test_the_picture_of_a_frozen_camera_is_the_one_before_its_repeats() -> None:
    """A repeat has a later capture time; so its age would be wrong."""
    bench = Bench()
    first = bench.frame()
    for _ in range(3):
        await asyncio.sleep(1)
        bench.feed.packet_received(now())
    bench.camera.wake()
    await asyncio.sleep(0.1)
    bench.frame()
    with pytest.raises(CameraFrozen):
        await bench.camera.wait_for_sharpest()
    assert bench.camera.last_new is first
    for _ in range(4):
        await asyncio.sleep(0.1)
        last = bench.frame()
    assert bench.camera.last_new is last
    bench.feed.stream_ended()
    assert bench.camera.last_new is None


@on_clock
async def test_a_camera_whose_new_pictures_are_refused_is_not_frozen() -> None:
    """The picture before them is not what it shows."""
    bench = Bench()
    bench.frame()
    bench.feed.pictures_refused("size")
    for _ in range(5):
        await asyncio.sleep(1)
        bench.feed.packet_received(now())
    for wait in (bench.camera.wait_for_frame(question_time()), bench.camera.wait_for_sharpest()):
        with pytest.raises(CameraStalled, match="3840×2160"):
            await wait


@pytest.mark.parametrize("late", [0.5, 2.5])
@on_clock
async def test_hold_waits_for_a_late_first_frame(late: float) -> None:
    """A frame that comes between 0.4 and 3 s is taken."""
    bench = Bench()
    waiting = spawn(bench.camera.wait_for_sharpest())
    await asyncio.sleep(late)
    frame = bench.frame(image=SOFT)
    assert await waiting is frame


@pytest.mark.parametrize(("rate", "expected"), [(0.5, 5), (2.0, 20), (5.0, 50)])
@on_clock
async def test_sampled_frames_come_at_the_rate(rate: float, expected: int) -> None:
    """Of 30 frames a second, the callback gets as many as were asked for, and all are counted."""
    bench = Bench(sample_rate=rate)
    sampled: list[Frame] = []
    bench.camera.on_sample.append(sampled.append)
    start = now()
    for step in range(300):
        await asyncio.sleep(max(0.0, start + step / 30 - now()))
        bench.frame(image=SHARP if step % 30 else SOFT)
    assert len(sampled) == pytest.approx(expected, abs=1)
    assert bench.counted("frames_received_total") == 300
    assert bench.counted("frames_sampled_total") == len(sampled)
    assert bench.camera.fps() == pytest.approx(30, abs=1)
    bench.camera.on_sample.clear()
    await asyncio.sleep(5)
    bench.frame()
    assert len(sampled) == pytest.approx(expected, abs=1)


@on_clock
async def test_the_rate_may_change_while_it_runs() -> None:
    bench = Bench(sample_rate=1.0)
    sampled: list[Frame] = []
    bench.camera.on_sample.append(sampled.append)
    for step in range(120):
        if step == 60:
            bench.camera.set_sample_rate(10.0, working=True)
        bench.frame()
        await asyncio.sleep(1 / 30)
    assert len(sampled) == pytest.approx(2 + 20, abs=2)


@on_clock
async def test_status_is_told_on_changes_alone() -> None:
    """A hundred frames of the same kind tell nothing more; size, darkness, rate, state and end do."""
    bench = Bench()
    assert bench.statuses == [CameraState.STARTING]
    for _ in range(100):
        bench.frame()
        await asyncio.sleep(0.05)
    assert set(bench.statuses) == {CameraState.STARTING, CameraState.LIVE}
    # The first picture: its size and state, what its scene looks like, and how the frame rate settles.
    assert len(bench.statuses) <= 6
    told = len(bench.statuses)
    wide = picture(width=640, height=360)
    bench.frame(image=wide)
    assert len(bench.statuses) == told + 1
    assert bench.camera.newest is not None
    assert bench.camera.newest.width == 640
    await asyncio.sleep(10)
    assert bench.statuses[told + 1 :] == [CameraState.STALLED]
    bench.frame(image=wide)
    assert bench.statuses[-1] is CameraState.LIVE
    bench.feed.stream_ended()
    bench.feed.stream_ended()
    # Each once or twice: the frame rate is sent, too.
    assert list(dict.fromkeys(bench.statuses[told + 1 :])) == [
        CameraState.STALLED,
        CameraState.LIVE,
        CameraState.ENDED,
    ]
    await asyncio.sleep(60)
    assert bench.statuses[-1:] == [CameraState.ENDED]


@on_clock
async def test_asking_for_a_key_frame_wakes_the_sender() -> None:
    """For a second; a replaced feed wakes nobody."""
    bench = Bench()
    woken: list[int | None] = []
    bench.camera.on_sender.append(woken.append)
    old = bench.camera.open_connection()
    woken.clear()
    old.key_frame_requested()
    assert woken == [1000]
    bench.camera.open_connection()
    old.key_frame_requested()
    assert woken == [1000]


@on_clock
async def test_a_dark_or_blurred_scene_is_told_when_it_begins_and_ends() -> None:
    """The hints come from a frame a second and are sent once each way."""
    bench = Bench(sample_rate=10.0)
    black = even(16, 16)
    hints = []
    for image in (SHARP,) * 5 + (black,) * 5 + (SOFTER,) * 5 + (SHARP,) * 5:
        bench.frame(image=image)
        assert bench.camera.scene is not None
        hints.append((bench.camera.scene.dark, bench.camera.scene.blurred))
        await asyncio.sleep(0.3)
    assert hints[4] == (False, False)
    assert hints[9][0] is True
    assert hints[14] == (False, True)
    assert hints[19] == (False, False)
    # First frame (twice at most), dark, light and blurred, sharp.
    assert len(bench.statuses) <= 7


@on_clock
async def test_the_sender_is_told_the_rates_that_are_needed() -> None:
    """Idle is what sampling needs, and twice that while work runs on it; the awake limits are the path's."""
    bench = Bench(sample_rate=2.0)
    unmeasured = bench.camera.sender()
    assert (unmeasured.idle.max_framerate, unmeasured.wake_ms) == (2, None)
    assert unmeasured.awake.max_bitrate == UNMEASURED[0]
    bench.camera.set_sample_rate(2.0, working=True)
    assert bench.camera.sender().idle.max_framerate == 4
    bench.camera.set_sample_rate(2.0, working=True)
    bench.camera.set_sample_rate(0.3, working=False)
    assert bench.camera.sender().idle.max_framerate == 1
    assert bench.wakes == [None, None]
    bench.feed.rate(1_000_000, 25)
    sender = bench.camera.sender(wake_ms=700)
    assert bench.wakes == [None, None, None]
    assert (sender.awake.max_framerate, sender.awake.max_bitrate) == (25, 1_000_000)
    assert sender.idle.max_bitrate <= 1_000_000
    assert sender.wake_ms == 700
    assert sender.ramp
    bench.camera.set_sample_rate(30.0, working=True)
    assert bench.camera.sender().idle.max_framerate == 25
    bench.open()
    assert bench.camera.sender().awake.max_bitrate == 300_000


# Looking at a frame now and then


@on_clock
async def test_looks_are_rare() -> None:
    """At most one a second of capture time, and again when that goes back."""
    camera = Bench().camera
    for captured, dark, seen in ((5.0, 0, 0), (5.9, 1, 0), (6.0, 1, 1), (1.0, 0, 0)):
        camera.measure(make_frame(captured=captured, dark=bool(dark)))
        assert camera.scene is not None
        assert camera.scene.dark == seen, captured


@on_clock
async def test_hints_are_told_when_they_change() -> None:
    """The first look is news, one like it is none, the dark is; another connection begins anew."""
    bench = Bench()
    told = []
    for at in (1.0, 2.0, 3.0):
        bench.statuses.clear()
        bench.camera.measure(make_frame(captured=at, dark=at == 3.0))
        told.append(len(bench.statuses))
    assert told == [1, 0, 1]
    bench.open()
    assert bench.camera.scene is None
    bench.camera.measure(make_frame(captured=3.0))
    assert bench.camera.scene is not None


# The plan for one camera


@pytest.mark.parametrize(
    ("rate", "working", "idle"),
    [(0.1, False, 1), (2.0, False, 2), (2.0, True, 4), (2.1, False, 3), (30.0, True, 30)],
)
@on_clock
async def test_idle_follows_the_sampling(rate: float, working: bool, idle: int) -> None:
    """A whole number, never below the sampling's; twice as many while work runs on it, so that it is fresh."""
    bench = Bench(sample_rate=1.0)
    bench.feed.rate(TOP, 30)
    bench.wakes.clear()
    for _ in range(2):
        bench.camera.set_sample_rate(rate, working=working)
    assert bench.wakes == [None]
    assert bench.camera.sender().idle.max_framerate == idle


@on_clock
async def test_an_alert_camera_sends_smaller_frames_more_often() -> None:
    """So many that a change is soon in one, with the bits that it has anyway; fewer on a narrow path."""
    bench = Bench()
    bench.feed.rate(TOP, 30)
    bench.camera.set_sample_rate(2.0, working=True)
    before = bench.camera.sender()
    bench.wakes.clear()
    for _ in range(2):
        bench.camera.set_sample_rate(2.0, working=True, alert=True)
    assert bench.wakes == [None]
    alert = bench.camera.sender()
    assert (before.idle.max_framerate, alert.idle.max_framerate) == (4, ALERT_FPS)
    assert alert.idle.max_bitrate == before.idle.max_bitrate
    assert alert.awake == before.awake
    assert alert.settle[-1].max_bitrate == alert.idle.max_bitrate
    bench.feed.rate(120_000, 5)
    narrow = bench.camera.sender()
    assert narrow.idle.max_framerate == 4
    assert narrow.idle.max_bitrate <= 120_000


# Frames are taken at the rate: no drift, no bursts, none lost to jitter


def taken(sampler: Sampler, times: list[float]) -> list[float]:
    return [time for time in times if sampler.take(time)]


@pytest.mark.parametrize("rate", [0.1, 0.5, 2.0, 5.0, 7.0, 25.0, 30.0])
def test_fast_camera_is_sampled_at_exactly_the_rate(rate: float) -> None:
    """A 30/s camera gives rate times seconds frames over ten minutes."""
    times = [n / 30 for n in range(30 * 600)]
    assert len(taken(Sampler(rate), times)) == pytest.approx(rate * 600, abs=1)


@pytest.mark.parametrize("fps", [0.3, 1.0, 1.9, 2.0])
def test_slow_camera_gets_every_frame_taken(fps: float) -> None:
    times = [n / fps for n in range(400)]
    assert taken(Sampler(2.0), times) == times


@pytest.mark.parametrize("fps", [2.0, 5.0, 30.0])
def test_jitter_does_not_skip(fps: float) -> None:
    """A camera exactly at the rate, each frame a tenth of a period early or late, loses nothing."""
    dice = random.Random(3)
    times = [(n + dice.uniform(-0.1, 0.1)) / fps for n in range(1_000)]
    assert taken(Sampler(fps), times) == times


@given(rate=st.floats(0.1, 30), gaps=st.lists(st.floats(0.001, 3.0), min_size=1, max_size=300))
def test_never_a_burst(rate: float, gaps: list[float]) -> None:
    """Whatever the camera does, frames are half a period apart and never more than the rate."""
    times, now = [], 0.0
    for gap in gaps:
        times.append(now)
        now += gap
    kept = taken(Sampler(rate), times)
    assert all(b - a >= 0.499 / rate for a, b in pairwise(kept))
    assert len(kept) <= times[-1] * rate + 2


def test_waking_camera_gives_no_extra_frames() -> None:
    """A camera that goes from 2/s to 30/s and back is sampled at 2/s throughout."""
    times = [n * 0.5 for n in range(20)]
    times += [10 + n / 30 for n in range(300)]
    times += [20 + n * 0.5 for n in range(20)]
    assert len(taken(Sampler(2.0), times)) == pytest.approx(60, abs=1)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        # After a pause one frame is taken, and the grid starts there: nothing is caught up.
        ([0.0, 60.0, 60.03, 60.3, 60.5], [0.0, 60.0, 60.5]),
        # Times that jump back, as a new stream's do, are taken at once.
        ([100.0, 99.9, 3.0, 3.1, 3.5], [100.0, 3.0, 3.5]),
    ],
)
def test_a_pause_and_a_new_clock(times: list[float], expected: list[float]) -> None:
    assert taken(Sampler(2.0), times) == expected


def test_rate_changes_at_once() -> None:
    """A faster rate counts from the last frame taken."""
    sampler = Sampler(0.5)
    assert sampler.take(0.0)
    assert not sampler.take(0.4)
    sampler.set_rate(5.0)
    assert sampler.take(0.41)
    sampler.set_rate(1.0)
    assert not sampler.take(0.9)
    assert sampler.take(1.41)
