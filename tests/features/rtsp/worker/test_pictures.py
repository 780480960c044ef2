"""Decoding a camera: only pictures that somebody needs, and the newest one wins; H.265 and memory within bounds."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.rtsp.worker import pictures as module
from server.features.rtsp.worker.pictures import (
    MAX_UNITS,
    DecodedPicture,
    PictureDecoder,
    check_h265,
    check_set,
)
from server.features.rtsp.worker.rtsp import EncodedPicture, FailureReason, SourceFailed
from server.media.video.decode import FormatRefused, PicturesTooLarge

_ENCODERS = {
    "H264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}),
    "H265": (
        "libx265",
        {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "x265-params": "keyint=10:min-keyint=10:log-level=none:pools=none:frame-threads=1:repeat-headers=1",
        },
    ),
    "JPEG": ("mjpeg", {}),
}


@functools.cache
def encoded(
    codec: str, frames: int, width: int = 64, height: int = 48, format: str = "yuv420p"
) -> tuple[bytes, ...]:
    """Encode `frames` pictures, whose luma is 16, 17 and so on, a key frame every ten."""
    name, options = _ENCODERS[codec]
    context = av.CodecContext.create(name, "w")
    context.width, context.height = width, height  # type: ignore[attr-defined]
    context.pix_fmt = "yuvj420p" if codec == "JPEG" else format  # type: ignore[attr-defined]
    context.time_base = Fraction(1, 25)
    context.framerate = Fraction(25, 1)  # type: ignore[attr-defined]
    context.options = options
    context.thread_count = 1
    found: list[bytes] = []
    for number in range(frames):
        luma = np.full((height * 3 // 2, width), 128, np.uint8)
        luma[:height] = 16 + number
        if format == "yuv420p":
            image = av.VideoFrame.from_ndarray(luma, format="yuv420p")
        else:
            image = av.VideoFrame(width, height, format)
        if codec == "JPEG":
            image = image.reformat(format="yuvj420p")
        image.pts = number
        found += [bytes(one) for one in context.encode(image)]  # type: ignore[attr-defined]
    found += [bytes(one) for one in context.encode(None)]  # type: ignore[attr-defined]
    assert len(found) == frames
    return tuple(found)


class Run:
    """Pictures, decoded on a thread as in the process."""

    def __init__(self, codec: str) -> None:
        self.shots: list[DecodedPicture] = []
        self.more = threading.Event()
        self.pictures = PictureDecoder(codec, self._sent)

    def _sent(self, shot: DecodedPicture) -> None:
        self.shots.append(shot)
        self.more.set()

    def put(self, frames: tuple[bytes, ...], begin: int = 0, end: int | None = None) -> None:
        for number, data in enumerate(frames[begin:end], begin):
            self.pictures.put(EncodedPicture(data, number % 10 == 0, time.monotonic()))

    def shot(self) -> DecodedPicture:
        """Wait for the next picture, and take it."""
        assert self.more.wait(20)
        self.more.clear()
        shot = self.shots[-1]
        self.pictures.allow_next()
        return shot


@contextmanager
def run(codec: str) -> Iterator[Run]:
    one = Run(codec)
    thread = threading.Thread(target=one.pictures.run)
    thread.start()
    try:
        yield one
    finally:
        one.pictures.close()
        thread.join(20)
        assert not thread.is_alive()


def settled(one: Run, decoded: int) -> None:
    end = time.monotonic() + 20
    while one.pictures.decoded < decoded:
        assert time.monotonic() < end
        time.sleep(0.005)


def put_for_ever(one: Run, data: bytes, pause: float = 0.002) -> None:
    """Until it is refused."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        one.pictures.put(EncodedPicture(data, True, time.monotonic()))
        time.sleep(pause)


def luma(shot: DecodedPicture) -> int:
    return shot.data[shot.width * shot.height // 2]


@pytest.mark.parametrize("codec", ["H264", "H265"])
def test_nothing_is_decoded_that_nobody_needs(codec: str) -> None:
    """And whoever asks gets the newest picture at once: the frames since the key frame waited."""
    frames = encoded(codec, 27)
    with run(codec) as one:
        one.put(frames, 0, 25)
        time.sleep(0.1)
        assert (one.pictures.decoded, one.shots) == (0, [])
        one.pictures.set_rate(10)
        settled(one, 5)
        shot = one.shot()
        # Encoders change a value a little.
        assert abs(luma(shot) - (16 + 24)) <= 2
        assert (shot.width, shot.height) == (64, 48)
        assert one.pictures.decoded == 5
        # It goes on where it stopped, within the same group.
        one.pictures.set_rate(0)
        one.put(frames, 25, 27)
        time.sleep(0.05)
        assert one.pictures.decoded == 5
        one.pictures.set_rate(10)
        settled(one, 7)
        assert one.pictures.dropped == 20


def test_the_newest_picture_wins() -> None:
    """While one is not taken, nothing else is sent, and all but the newest are dropped."""
    frames = encoded("H264", 9)
    with run("H264") as one:
        one.pictures.set_rate(1000)
        one.put(frames, 0, 1)
        assert one.more.wait(20)
        one.put(frames, 1, 9)
        settled(one, 9)
        assert len(one.shots) == 1
        one.shot()
        assert abs(luma(one.shot()) - 24) <= 2
        assert len(one.shots) == 2


def test_jpegs_stand_alone() -> None:
    """Only those that are wanted are decoded, and each is 4:2:0 in the end."""
    frames = encoded("JPEG", 5)
    with run("JPEG") as one:
        for data in frames:
            one.pictures.put(EncodedPicture(data, True, time.monotonic()))
        one.pictures.set_rate(5)
        shot = one.shot()
        assert one.pictures.decoded == 1
        assert len(shot.data) == 64 * 48 * 3 // 2
        assert one.pictures.dropped == 4


def test_wide_pictures_are_taken() -> None:
    """A side may be longer than 4096; one that is too large is named with its size."""
    with run("JPEG") as one:
        one.pictures.set_rate(10)
        one.put(encoded("JPEG", 1, 5120, 1440))
        shot = one.shot()
        assert (shot.width, shot.height) == (5120, 1440)
        data = encoded("JPEG", 1, 8208, 16)[0]
        with pytest.raises(SourceFailed) as failed:
            put_for_ever(one, data)
        assert (failed.value.trouble, failed.value.detail) == (FailureReason.SIZE, "8208x16")


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group without an end is dropped, and the next key frame is waited for."""
    monkeypatch.setattr(module, "KEPT_UNITS", 50)
    monkeypatch.setattr(module, "KEPT_BYTES", 10_000)
    one = PictureDecoder("H264", lambda _: None)
    for number in range(300):
        one.put(EncodedPicture(b"x" * 100, number == 0, float(number)))
        assert len(one._units) <= 50
        assert one._bytes <= 10_000
    assert one.dropped == 300
    one.put(EncodedPicture(b"x", True, 301.0))
    one.put(EncodedPicture(b"x" * 20_000, False, 302.0))
    assert (len(one._units), one._bytes) == (0, 0)


def test_late_decoding_goes_on_at_the_next_key_frame() -> None:
    """Old frames are not worth the time when newer ones wait."""
    one = PictureDecoder("H264", lambda _: None)
    one.set_rate(10)
    one.put(EncodedPicture(b"k", True, 0.0))
    for number in range(20):
        one.put(EncodedPicture(b"x", False, number / 10))
    one.put(EncodedPicture(b"k", True, 2.0))
    assert [unit.at for unit in one._units] == [2.0]


@pytest.mark.parametrize(
    ("codec", "format", "trouble"),
    [("H264", "yuv444p", FailureReason.FORMAT), ("H265", "yuv420p10le", FailureReason.FORMAT)],
)
def test_other_formats_end_the_connection(codec: str, format: str, trouble: FailureReason) -> None:
    data = encoded(codec, 1, format=format)[0]
    with run(codec) as one:
        one.pictures.set_rate(10)
        one.pictures.put(EncodedPicture(data, True, time.monotonic()))
        with pytest.raises(SourceFailed) as failed:
            put_for_ever(one, data)
        assert failed.value.trouble is trouble


def test_a_picture_completed_from_others_is_none() -> None:
    """A key frame behind wrong parameter sets, and what refers to it: the next good one is shown."""
    frames, other = encoded("H264", 2), encoded("H264", 1, 96, 64)[0]
    bad = other[: other.index(b"\0\0\1\x65")] + frames[0][frames[0].index(b"\0\0\1\x65") :]
    with run("H264") as one:
        one.pictures.set_rate(1000)
        one.put((bad, frames[1]))
        end = time.monotonic() + 20
        while one.pictures.dropped < 2:
            assert time.monotonic() < end
            time.sleep(0.005)
        one.put(frames)
        settled(one, 2)
        assert {(shot.width, shot.height) for shot in one.shots} <= {(64, 48)}
        assert one.pictures.dropped == 2


def test_nothing_is_decoded_from_what_is_behind_a_hole() -> None:
    """A lost picture takes along those that need it; a plain picture behind sets is no key frame."""
    frames = encoded("H264", 8)
    sets = frames[0][: frames[0].index(b"\0\0\1\x65")]
    with run("H264") as one:
        one.pictures.set_rate(1000)
        one.put(frames, 0, 2)
        settled(one, 2)
        one.shot()
        one.pictures.put(EncodedPicture(b"", False, time.monotonic()))
        one.put(frames, 3, 6)
        one.pictures.put(EncodedPicture(sets + frames[6], True, time.monotonic()))
        one.pictures.put(EncodedPicture(frames[7], False, time.monotonic()))
        time.sleep(0.1)
        assert all(abs(luma(shot) - 16) <= 3 for shot in one.shots)
        assert one.pictures.dropped >= 4


def test_a_picture_has_the_time_of_its_own_frame() -> None:
    """Also where a decoder gives pictures in another order than their frames."""
    taken: dict[int, float] = {}
    context = av.CodecContext.create("libx265", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 64, 48, "yuv420p"
    context.time_base = Fraction(1, 25)
    context.options = {"preset": "ultrafast", "x265-params": "bframes=2:b-adapt=0:log-level=none"}
    packets = []
    for number in range(12):
        planes = np.full((72, 64), 40 + 10 * number, np.uint8)
        image = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        image.pts = number
        packets += context.encode(image)
    packets += context.encode(None)
    with run("H265") as one:
        one.pictures.set_rate(1000)
        for order, packet in enumerate(packets):
            assert packet.pts is not None
            taken[packet.pts] = float(order)
            one.pictures.put(EncodedPicture(bytes(packet), order == 0, float(order)))
            settled(one, order + 1)
            one.pictures.allow_next()
            time.sleep(0.01)
    assert len(one.shots) > 4
    for shot in one.shots:
        assert shot.at == taken[round((luma(shot) - 40) / 10)]


def test_a_cut_jpeg_shows_nothing_older() -> None:
    """The missing part is not filled from the memory of earlier pictures."""
    frames = [
        cv2.imencode(".jpg", np.full((256, 256, 3), level, np.uint8))[1].tobytes()
        for level in (90, 150, 210)
    ]
    frames[2] = frames[2][: len(frames[2]) * 2 // 3] + b"\xff\xd9"
    with run("JPEG") as one:
        one.pictures.set_rate(1000)
        for data in (*frames[:2], *frames[:2], frames[2]):
            one.put((data,))
            shot = one.shot()
    rows = np.frombuffer(shot.data, np.uint8)[: 256 * 256].reshape(256, 256)[:, 128].astype(int)
    assert all(min(abs(rows - level)) > 20 for level in (90, 150))


def test_a_picture_that_takes_too_long_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A progressive JPEG repeats its scans: 8 MiB of them take minutes."""
    monkeypatch.setattr(module, "DECODE_SECONDS", 0.1)
    flat = np.zeros((1024, 1024, 3), np.uint8)
    plain = cv2.imencode(".jpg", flat, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    scan = plain[plain.rindex(b"\xff\xda") : -2]
    with run("JPEG") as one:
        one.pictures.set_rate(10)
        one.put((plain,))
        one.shot()
        with pytest.raises(SourceFailed) as failed:
            put_for_ever(one, plain[:-2] + scan * (20_000 // len(scan)) + plain[-2:])
        assert failed.value.trouble is FailureReason.MALFORMED


@pytest.mark.parametrize(("pause", "most"), [(0.002, 1000), (0.1, 15)])
def test_rubbish_ends_the_connection(
    pause: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a time without a sound frame, however often key frames come."""
    monkeypatch.setattr(module, "FAILING_SECONDS", 0.3)
    good = encoded("H264", 1)[0]
    with run("H264") as one:
        one.pictures.set_rate(1000)
        one.pictures.put(EncodedPicture(good, True, time.monotonic()))
        began = time.monotonic()
        with pytest.raises(SourceFailed) as failed:
            put_for_ever(one, b"\0\0\1\x65" + b"\xff" * 40, pause)
        assert failed.value.trouble is FailureReason.MALFORMED
        assert time.monotonic() - began > 0.3
        assert one.pictures.decoded >= 1
        assert one.pictures.dropped < most


# H.265 is decoded as 4:2:0 of 8 bits within a size; all else is refused before libav sees it.


def sets(data: bytes) -> list[bytes]:
    """The sequence parameter sets of a frame, without NAL headers."""
    units = data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return [unit[2:] for unit in units if unit and unit[0] >> 1 & 63 == 33]


def test_a_good_stream_is_taken() -> None:
    for data in encoded("H265", 3):
        check_h265(data)
    (one,) = sets(encoded("H265", 3)[0])
    assert check_set(one) == (64, 48)


@pytest.mark.parametrize("format", ["yuv444p", "yuv422p", "yuv420p10le"])
def test_other_formats_are_refused(format: str) -> None:
    with pytest.raises(FormatRefused):
        check_h265(encoded("H265", 1, format=format)[0])


class Writer:
    def __init__(self) -> None:
        self.text = ""

    def bits(self, value: int, count: int) -> None:
        self.text += f"{value:0{count}b}"

    def read_ue(self, value: int) -> None:
        code = f"{value + 1:b}"
        self.text += "0" * (len(code) - 1) + code

    def bytes(self) -> bytes:
        text = self.text + "1"
        text += "0" * (-len(text) % 8)
        raw = int(text, 2).to_bytes(len(text) // 8, "big")
        return raw.replace(b"\0\0\0", b"\0\0\3\0")


def a_set(width: int, height: int, *, layers: int = 0) -> bytes:
    out = Writer()
    out.bits(0, 4)
    out.bits(layers, 3)
    out.bits(1, 1)
    # A general profile, whose bits do not matter, and a level
    for _ in range(12):
        out.bits(0xA5, 8)
    if layers:
        for number in range(8):
            out.bits(3 if number < layers else 0, 2)
        for _ in range(layers * 12):
            out.bits(0x5A, 8)
    for value in (0, 1, width, height):
        out.read_ue(value)
    out.bits(0, 1)
    out.read_ue(0)
    out.read_ue(0)
    return out.bytes()


def test_sizes() -> None:
    assert check_set(a_set(3840, 2160)) == (3840, 2160)
    assert check_set(a_set(4096, 4096, layers=3)) == (4096, 4096)
    assert check_set(a_set(4608, 1728)) == (4608, 1728)
    for width, height in ((8200, 16), (16, 1 << 20), (0, 16), (8192, 2056)):
        with pytest.raises(PicturesTooLarge):
            check_set(a_set(width, height))
    with pytest.raises(ValueError):
        check_set(b"\x0f" + bytes(40))


def test_units_are_bounded() -> None:
    with pytest.raises(ValueError):
        check_h265(b"\0\0\1\x02\x01" * (MAX_UNITS + 1))


@given(st.binary(max_size=300))
def test_no_bytes_do_harm(data: bytes) -> None:
    for text in (data, b"\0\0\1\x42\x01" + data):
        with contextlib.suppress(ValueError):
            check_h265(text)


# The memory of a camera's process is bounded by the kernel.

ROOT = Path(__file__).parents[4]
SCRIPT = """
import sys
sys.path.insert(0, {root!r})
import av, numpy
from server.features.rtsp.worker.pictures import limit_memory
limit_memory(128 << 20)
bytearray(32 << 20)
try:
    bytearray(256 << 20)
except MemoryError:
    print("refused")
"""


def test_memory_beyond_the_bound_is_refused() -> None:
    script = SCRIPT.format(root=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "refused\n", done.stderr
