"""Decoding a camera: only pictures that somebody needs, and the newest one wins."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from server.features.rtsp.worker import pictures as module
from server.features.rtsp.worker.pictures import DecodedPicture, Pictures
from server.features.rtsp.worker.rtp import Unit
from server.features.rtsp.worker.trouble import SourceFailed, Trouble
from tests.features.rtsp.worker.streams import encoded


class Run:
    """Pictures, decoded on a thread as in the process."""

    def __init__(self, codec: str) -> None:
        self.shots: list[DecodedPicture] = []
        self.more = threading.Event()
        self.pictures = Pictures(codec, self._sent)

    def _sent(self, shot: DecodedPicture) -> None:
        self.shots.append(shot)
        self.more.set()

    def put(self, frames: tuple[bytes, ...], begin: int = 0, end: int | None = None) -> None:
        for number, data in enumerate(frames[begin:end], begin):
            self.pictures.put(Unit(data, number % 10 == 0, time.monotonic()))

    def shot(self) -> DecodedPicture:
        """Wait for the next picture, and take it."""
        assert self.more.wait(20)
        self.more.clear()
        shot = self.shots[-1]
        self.pictures.taken()
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


def put_for_ever(one: Run, data: bytes) -> None:
    """Until it is refused."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        one.pictures.put(Unit(data, True, time.monotonic()))
        time.sleep(0.002)


def luma(shot: DecodedPicture) -> int:
    return shot.data[shot.width * shot.height // 2]


@pytest.mark.parametrize("codec", ["H264", "H265"])
def test_nothing_is_decoded_that_nobody_needs(codec: str) -> None:
    """And whoever asks gets the newest picture at once: the frames since the key frame waited."""
    frames = encoded(codec, 25)
    with run(codec) as one:
        one.put(frames)
        time.sleep(0.1)
        assert (one.pictures.decoded, one.shots) == (0, [])
        one.pictures.want(10)
        settled(one, 5)
        shot = one.shot()
        # Encoders change a value a little.
        assert abs(luma(shot) - (16 + 24)) <= 2
        assert (shot.width, shot.height) == (64, 48)
        assert one.pictures.decoded == 5
        assert one.pictures.dropped == 20


def test_it_goes_on_where_it_stopped() -> None:
    """Not wanted in between: the frames of the same group are decoded later, without a break."""
    frames = encoded("H264", 9)
    with run("H264") as one:
        one.pictures.want(1000)
        one.put(frames, 0, 3)
        settled(one, 3)
        one.pictures.want(0)
        one.put(frames, 3, 9)
        time.sleep(0.05)
        assert one.pictures.decoded == 3
        one.pictures.want(1000)
        settled(one, 9)
        assert one.pictures.dropped == 0


def test_the_newest_picture_wins() -> None:
    """While one is not taken, nothing else is sent, and all but the newest are dropped."""
    frames = encoded("H264", 9)
    with run("H264") as one:
        one.pictures.want(1000)
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
            one.pictures.put(Unit(data, True, time.monotonic()))
        one.pictures.want(5)
        shot = one.shot()
        assert one.pictures.decoded == 1
        assert len(shot.data) == 64 * 48 * 3 // 2
        assert one.pictures.dropped == 4


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group without an end is dropped, and the next key frame is waited for."""
    monkeypatch.setattr(module, "KEPT_UNITS", 50)
    monkeypatch.setattr(module, "KEPT_BYTES", 10_000)
    one = Pictures("H264", lambda _: None)
    for number in range(300):
        one.put(Unit(b"x" * 100, number == 0, float(number)))
        assert len(one._units) <= 50
        assert one._bytes <= 10_000
    assert one.dropped == 300
    one.put(Unit(b"x", True, 301.0))
    one.put(Unit(b"x" * 20_000, False, 302.0))
    assert (len(one._units), one._bytes) == (0, 0)


def test_late_decoding_goes_on_at_the_next_key_frame() -> None:
    """Old frames are not worth the time when newer ones wait."""
    one = Pictures("H264", lambda _: None)
    one.want(10)
    one.put(Unit(b"k", True, 0.0))
    for number in range(20):
        one.put(Unit(b"x", False, number / 10))
    one.put(Unit(b"k", True, 2.0))
    assert [unit.at for unit in one._units] == [2.0]


@pytest.mark.parametrize(
    ("codec", "format", "trouble"),
    [("H264", "yuv444p", Trouble.FORMAT), ("H265", "yuv420p10le", Trouble.FORMAT)],
)
def test_other_formats_end_the_connection(codec: str, format: str, trouble: Trouble) -> None:
    data = encoded(codec, 1, format=format)[0]
    with run(codec) as one:
        one.pictures.want(10)
        one.pictures.put(Unit(data, True, time.monotonic()))
        with pytest.raises(SourceFailed) as failed:
            put_for_ever(one, data)
        assert failed.value.trouble is trouble


def test_a_picture_that_takes_too_long_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A progressive JPEG repeats its scans: 8 MiB of them take minutes."""
    monkeypatch.setattr(module, "DECODE_SECONDS", 0.1)
    flat = np.zeros((1024, 1024, 3), np.uint8)
    plain = cv2.imencode(".jpg", flat, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    scan = plain[plain.rindex(b"\xff\xda") : -2]
    with run("JPEG") as one:
        one.pictures.want(10)
        one.put((plain,))
        one.shot()
        with pytest.raises(SourceFailed) as failed:
            put_for_ever(one, plain[:-2] + scan * (150_000 // len(scan)) + plain[-2:])
        assert failed.value.trouble is Trouble.MALFORMED


def test_rubbish_ends_the_connection() -> None:
    """Not at the first bad frame."""
    good = encoded("H264", 1)[0]
    with run("H264") as one:
        one.pictures.want(1000)
        one.pictures.put(Unit(good, True, time.monotonic()))
        with pytest.raises(SourceFailed) as failed:
            put_for_ever(one, b"\0\0\1\x65" + b"\xff" * 40)
        assert failed.value.trouble is Trouble.MALFORMED
        assert one.pictures.decoded >= 1
