"""One stream: from its packets to frames with capture times, and what it asks its sender for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from server.media.video import camera_state as silence
from server.media.video.payload import FULL, LIMITED, EncodedFrame
from server.media.video.video_stream import NTP_TO_UNIX, VideoStream
from tests.media.video.test_h264 import fu_a, stap_a, units_of
from tests.media.video.test_payload import BT601_LIMITED, BT709_FULL
from tests.support import vp8_streams
from tests.support.clients import soon
from tests.support.fakes_media import RecordingCamera, RtpPart, vp8_frames, vp8_parts
from tests.support.h264_streams import Sps, Stream

SSRC = 0x1234


def refreshed(count: int) -> tuple[list[np.ndarray[Any, Any]], list[list[bytes]]]:
    """Pictures (luma) that move, and their H.264 units: one IDR picture, then a column of intra blocks that goes over
    the picture in each 15 frames (intra refresh).
    """
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 160, 128, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": "intra-refresh=1:keyint=15:min-keyint=15:scenecut=0:threads=1:bitrate=2000",
    }
    noise = np.random.default_rng(1).integers(16, 235, (16, 60), np.uint8)
    wide = np.repeat(np.repeat(noise, 8, 0), 8, 1)
    shown, frames = [], []
    for number in range(count):
        luma = wide[:, 3 * number : 3 * number + 160]
        planes = np.full((192, 160), 128, np.uint8)
        planes[:128] = luma
        image = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        image.pts = number
        shown.append(luma.astype(int))
        frames += [units_of(bytes(packet)) for packet in encoder.encode(image)]
    return shown, frames


class Feedback:
    """Records the requests with their times, monotonic seconds."""

    def __init__(self) -> None:
        self.nacks: list[tuple[float, list[int]]] = []
        self.plis: list[float] = []

    def send_nack(self, ssrc: int, lost: list[int]) -> None:
        assert ssrc == SSRC
        self.nacks.append((time.monotonic(), lost))

    def send_pli(self, ssrc: int) -> None:
        assert ssrc == SSRC
        self.plis.append(time.monotonic())

    async def until_pli(self, count: int) -> None:
        await soon(lambda: len(self.plis) >= count, 5)


class Line:
    """A stream and a sender that numbers its packets."""

    def __init__(self, pool: ThreadPoolExecutor, codec: str = "VP8") -> None:
        self.camera = RecordingCamera()
        self.feedback = Feedback()
        self.stream = VideoStream(SSRC, codec, sink=self.camera, feedback=self.feedback, pool=pool)
        # Near the end of the sequence numbers, so that every test passes their wrap.
        self.sequence = 65530

    def number(self, parts: list[RtpPart]) -> list[tuple[int, RtpPart]]:
        numbered = [((self.sequence + i) & 0xFFFF, part) for i, part in enumerate(parts)]
        self.sequence = (self.sequence + len(parts)) & 0xFFFF
        return numbered

    def send(
        self, numbered: list[tuple[int, RtpPart]], *, again: bool = False, colors: bytes = b""
    ) -> None:
        """`colors`: on the last packet of a frame, as libwebrtc does it."""
        for sequence, part in numbered:
            self.stream.packet(
                sequence,
                part.timestamp & 0xFFFFFFFF,
                part.marker,
                part.data,
                time.monotonic(),
                retransmission=again,
                colors=colors if part.marker else b"",
            )

    def parts(self, index: int, begin: int = 0) -> list[tuple[int, RtpPart]]:
        """The packets of one of five frames, of which the first is a key frame."""
        return self.number(vp8_parts(vp8_frames(5)[index], begin + 9000 * index))

    def send_frame(self, index: int) -> None:
        self.send(self.parts(index))


@pytest.fixture
async def line(pool: ThreadPoolExecutor) -> AsyncIterator[Line]:
    one = Line(pool)
    yield one
    one.stream.close()


async def test_packets_become_frames_with_capture_times(line: Line) -> None:
    """Each frame comes out whole, once, in order; a sender report gives it the sender's time."""
    line.send_frame(0)
    await line.camera.until(lambda c: len(c.frames) == 1)
    assert line.camera.frames[0].captured_sender is None
    line.stream.report(int((1_700_000_000.0 + NTP_TO_UNIX) * 2**32), 9000, time.monotonic())
    for index in (1, 2, 3):
        line.send_frame(index)
    await line.camera.until(lambda c: len(c.frames) == 4)
    got = line.camera.frames
    assert [f.captured_sender for f in got[1:]] == pytest.approx(
        [1_700_000_000.0, 1_700_000_000.1, 1_700_000_000.2], abs=1e-4
    )
    assert [f.rtp_time for f in got] == [0, 9000, 18000, 27000]
    assert {(f.width, f.height) for f in got} == {(640, 360)}
    assert len({f.id for f in got}) == 4
    assert all(f.captured <= time.monotonic() for f in got)
    assert line.feedback.nacks == []
    assert line.feedback.plis == []


@pytest.mark.parametrize("sets", [True, False], ids=["with sets", "without"])
async def test_intra_refresh_goes_on_after_a_loss(pool: ThreadPoolExecutor, sets: bool) -> None:
    """No IDR picture comes: decoding begins at the next recovery point, and shows nothing before its end."""
    shown, frames = refreshed(70)
    line = Line(pool, "H264")
    for number, units in enumerate(frames):
        if number and not sets:
            units = [unit for unit in units if unit[0] & 31 not in (7, 8)]
        parts = [
            RtpPart(unit, at == len(units) - 1, 3000 * number) for at, unit in enumerate(units)
        ]
        numbered = line.number(parts)
        line.send(numbered[:-1] if number == 20 else numbered)
        await asyncio.sleep(0.01)
        if number == 35:
            await line.feedback.until_pli(1)
    await line.camera.until(lambda c: c.frames[-1].rtp_time == 3000 * 69)
    line.stream.close()
    came = [int(one.rtp_time // 3000) for one in line.camera.frames]
    assert came[:20] == list(range(20))
    assert 30 < came[20] <= 45
    assert came[20:] == list(range(came[20], 70))
    for number, one in zip(came, line.camera.frames, strict=True):
        luma = one.image.to_ndarray()[:128].astype(int)
        assert abs(luma - shown[number]).mean() < 10, number


async def test_a_repaired_hole_costs_nothing(line: Line) -> None:
    """A lost packet is asked for at once; sent again, all frames come out without a key frame."""
    line.send_frame(0)
    second = line.parts(1)
    lost = second.pop(1)
    line.send(second)
    line.send_frame(2)
    assert [asked for _, asked in line.feedback.nacks] == [[lost[0]]]
    line.send([lost], again=True)
    await line.camera.until(lambda c: len(c.frames) == 3)
    await asyncio.sleep(0.1)
    assert len(line.feedback.nacks) == 1
    assert line.feedback.plis == []
    assert not line.camera.drops


async def test_a_hole_that_is_never_repaired_is_given_up_by_time(line: Line) -> None:
    """Asked for four times, given up after 450 ms without a packet; then a key frame is asked for."""
    line.send_frame(0)
    second = line.parts(1)
    del second[1]
    start = time.monotonic()
    line.send(second)
    await line.feedback.until_pli(1)
    # The loop's own timers, which never fire early; how late they are is the machine's affair.
    # The exact times: test_assemble.py.
    assert line.feedback.plis[0] - start >= 0.43
    times = [at - start for at, _ in line.feedback.nacks]
    assert len(times) == 4
    assert all(at >= due - 0.02 for at, due in zip(times, (0.0, 0.08, 0.16, 0.32), strict=True))
    assert line.camera.drops["broken"] == 1
    # A delta has no reference now.
    line.send_frame(2)
    line.send_frame(0)
    await line.camera.until(lambda c: len(c.frames) == 2)
    # Told together with what is looked at next.
    await line.camera.until(lambda c: c.drops == {"broken": 1, "no_key": 1}, 1.0)


async def test_a_stream_without_a_key_frame_asks_for_one_twice_a_second(line: Line) -> None:
    """Deltas alone are never handed out; what is asked for is asked for again, and not oftener."""
    for _ in range(3):
        line.send_frame(1)
    await line.feedback.until_pli(2)
    assert line.feedback.plis[1] - line.feedback.plis[0] == pytest.approx(0.5, abs=0.1)
    assert line.camera.frames == []
    for _ in range(20):
        line.stream.request_key_frame()
    assert len(line.feedback.plis) == 2
    # Each time the camera is woken too, so that the answer is not half a second away.
    assert line.camera.asked_for_keys == 2
    line.send_frame(0)
    await line.camera.until(lambda c: len(c.frames) == 1)


async def test_a_frame_that_does_not_decode_asks_for_a_key_frame(line: Line) -> None:
    """Garbage in a well-formed packet is counted and repaired by a key frame."""
    line.send_frame(0)
    await line.camera.until(lambda c: len(c.frames) == 1)
    line.send(line.number(vp8_parts(b"\x00\x01" + b"garbage" * 30, 9000)))
    await line.camera.until(lambda c: c.drops["decode_error"] == 1)
    await line.feedback.until_pli(1)
    line.send_frame(0)
    await line.camera.until(lambda c: len(c.frames) == 2)


async def test_malformed_payloads_are_counted_as_lost(line: Line) -> None:
    """An empty or cut VP8 descriptor raises nothing; it is a hole, and repair goes on."""
    line.send_frame(0)
    bad = [RtpPart(data, False, 9000) for data in (b"\x80", b"\x80\x80", b"\x90\xff\x80")]
    line.send(line.number(bad))
    assert line.camera.drops["broken"] == 3
    line.send_frame(1)
    assert len(line.feedback.nacks) == 1


@pytest.mark.parametrize("format", ["yuv420p10le", "yuv444p", "gray"])
async def test_a_picture_that_nothing_reads_is_counted_and_passed_over(
    line: Line, format: str
) -> None:
    """Should a decoder ever give ten bits or 4:4:4: no exception, no frame."""
    encoded = EncodedFrame(b"", 0, True, 0.0)
    line.stream._decoded(encoded, av.VideoFrame(320, 240, format))
    assert line.camera.frames == []
    assert line.camera.drops == {"format": 1}


@pytest.mark.parametrize("way", ["single", "aggregate", "fragments"])
async def test_other_formats_are_refused_in_any_form(pool: ThreadPoolExecutor, way: str) -> None:
    """4:4:4 with 14 bits in mid-stream: counted and told, and a camera that goes on is shown."""
    line = Line(pool, "H264")
    honest, deep = Stream(Sps()), Stream(Sps(profile=244, chroma=3, depth=14, chroma_depth=14))

    def send(payloads: list[bytes], timestamp: int) -> None:
        last = len(payloads) - 1
        line.send(
            line.number([RtpPart(one, at == last, timestamp) for at, one in enumerate(payloads)])
        )

    send(units_of(honest.sets() + honest.key()), 0)
    await line.camera.until(lambda c: len(c.frames) == 1)
    sps, picture_set = units_of(deep.sets())
    ways = {
        "single": [sps, picture_set],
        "aggregate": [stap_a([sps, picture_set])],
        "fragments": [*fu_a(sps), picture_set],
    }
    send([*ways[way], *units_of(deep.key())], 9000)
    await line.camera.until(lambda c: c.refusals == 1)
    send(units_of(deep.skipped()), 18000)
    await line.camera.until(lambda c: c.drops["format"] == 2)
    assert len(line.camera.frames) == 1
    send(units_of(honest.sets() + honest.key()), 27000)
    await line.camera.until(lambda c: len(c.frames) == 2)
    line.stream.close()


async def test_pictures_that_are_too_large_are_refused(
    line: Line, pool: ThreadPoolExecutor
) -> None:
    """Nothing is decoded; drops are counted and the owner is notified."""
    line.stream = VideoStream(SSRC, "VP8", sink=line.camera, feedback=line.feedback, pool=pool)
    for index in range(3):
        huge = vp8_streams.frame((4096, 4096) if index == 0 else None, zeros=20)
        line.send(line.number(vp8_parts(huge, 9000 * index)))
    await line.camera.until(lambda c: c.refusals == 1 and c.drops["size"] == 3)
    assert line.camera.frames == []


async def test_a_closed_stream_is_silent(line: Line, pool: ThreadPoolExecutor) -> None:
    """No timer, no frame and no request comes after the end."""
    line.send_frame(0)
    parts = line.parts(1)
    line.send([parts[0], *parts[2:]])
    asked = len(line.feedback.nacks)
    line.stream.close()
    line.stream.request_key_frame()
    line.send_frame(0)
    await asyncio.get_running_loop().run_in_executor(pool, lambda: None)
    await asyncio.sleep(0.15)
    assert line.camera.frames == []
    assert line.feedback.plis == []
    assert len(line.feedback.nacks) == asked


async def test_a_silent_camera_is_asked_for_key_frames_and_woken_once(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes for a while: requests go out until something does, and none after the end."""
    monkeypatch.setattr(silence, "AFTER_S", 0.15)
    monkeypatch.setattr(silence, "EVERY_S", 0.04)
    line.send_frame(0)
    await line.feedback.until_pli(3)
    assert line.camera.asked_for_keys == 1
    # On a busy machine there may be more than three by now.
    asked, sent = len(line.feedback.plis), time.monotonic()
    line.send_frame(1)
    await line.feedback.until_pli(asked + 1)
    assert line.feedback.plis[asked] - sent > 0.1
    assert line.camera.asked_for_keys == 2
    line.stream.close()
    asked = len(line.feedback.plis)
    await asyncio.sleep(0.1)
    assert len(line.feedback.plis) == asked


async def test_a_still_camera_is_not_asked(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reports go on. One behind a silence has a key frame asked for: the link is back."""
    monkeypatch.setattr(silence, "AFTER_S", 0.5)
    monkeypatch.setattr(silence, "EVERY_S", 10.0)
    line.send_frame(0)
    for number in range(7):
        await asyncio.sleep(0.1)
        line.stream.report(number << 32, 0, time.monotonic())
    assert line.feedback.plis == []
    await line.feedback.until_pli(1)
    line.stream.report(9 << 32, 0, time.monotonic())
    assert len(line.feedback.plis) == 2


async def test_a_closed_stream_has_no_timer(line: Line) -> None:
    """Packets that still come after the end arm nothing."""
    line.stream.close()
    parts = line.parts(0)
    line.send([parts[0], *parts[2:]])
    assert line.feedback.nacks == []
    assert not line.stream._timer


async def test_frames_are_tagged_from_the_one_on_that_said_so(line: Line) -> None:
    """Not those before it that are still being decoded; also where the timestamps wrap."""
    begin = 4294965000
    for index, colors in enumerate([b"", BT709_FULL, b""]):
        line.send(line.parts(index, begin), colors=colors)
    await line.camera.until(lambda c: len(c.frames) == 3)
    for index, colors in enumerate([BT601_LIMITED, b"nonsense"], 3):
        line.send(line.parts(index, begin), colors=colors)
    await line.camera.until(lambda c: len(c.frames) == 5)
    tags = [(f.image.colorspace, f.image.color_range) for f in line.camera.frames]
    # Untold, VP8 is BT.601 (RFC 6386, section 9.2).
    assert tags == [(5, LIMITED), (1, FULL), (1, FULL), (6, LIMITED), (6, LIMITED)]
    assert (line.feedback.nacks, line.feedback.plis) == ([], [])
