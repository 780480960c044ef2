"""JPEGs out of an HTTP answer, in pieces of any size."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.rtsp.worker import sources as mjpeg
from server.features.rtsp.worker.rtsp import read_head
from server.features.rtsp.worker.sources import Chunks, Parts, read_boundary
from server.features.rtsp.worker.trouble import SourceFailed, Trouble

ONE, TWO = b"\xff\xd8one\xff\xd9", b"\xff\xd8two\xff\xd9"


def part(data: bytes, *, length: bool) -> bytes:
    size = b"Content-Length: %d\r\n" % len(data) if length else b""
    return b"--xx\r\nContent-Type: image/jpeg\r\n" + size + b"\r\n" + data + b"\r\n"


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_parts(length: bool, step: int) -> None:
    """With and without their length, however they arrive."""
    body = part(ONE, length=length) + part(TWO, length=length) + b"--xx\r\n"
    parts = Parts(b"--xx")
    found = []
    for at in range(0, len(body), step):
        found += parts.feed(body[at : at + step])
    assert found == [ONE, TWO]


def test_what_is_no_jpeg_is_dropped_and_counted() -> None:
    parts = Parts(b"--xx")
    assert parts.feed(part(b"<html>", length=True) + part(ONE, length=True)) == [ONE]
    assert parts.dropped == 1


def test_boundaries() -> None:
    for kind in (
        'multipart/x-mixed-replace; boundary="xx"',
        "multipart/x-mixed-replace;boundary=--xx",
    ):
        head = read_head(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}".encode())
        assert read_boundary(head) == b"--xx"
    head = read_head(b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8")
    with pytest.raises(SourceFailed) as failed:
        read_boundary(head)
    assert (failed.value.trouble, failed.value.detail) == (Trouble.CODEC, "TEXTHTML")


def feed_for_ever(parts: Parts) -> None:
    for _ in range(10_000):
        parts.feed(b"z" * 1000)
        assert len(parts._held) < 40_000


def test_a_picture_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is held than a picture may have."""
    monkeypatch.setattr(mjpeg, "MAX_FRAME_BYTES", 10_000)
    parts = Parts(b"--xx")
    parts.feed(b"--xx\r\n\r\n\xff\xd8")
    with pytest.raises(SourceFailed) as failed:
        feed_for_ever(parts)
    assert failed.value.trouble is Trouble.SIZE
    with pytest.raises(SourceFailed):
        Parts(b"--xx").feed(b"--xx\r\nContent-Length: 99999999\r\n\r\n")
    with pytest.raises(SourceFailed):
        Parts(b"--xx").feed(b"--xx\r\n" + b"X: y\r\n" * 10_000)


def test_a_part_byte_by_byte_is_searched_once() -> None:
    """A byte costs as much behind 4 MiB of a part without an end as behind 4 KiB."""
    seconds = []
    for held in (4 << 10, 4 << 20):
        parts = Parts(b"--xx")
        parts.feed(b"--xx\r\n\r\n" + b"-x" * (held // 2))
        began = time.process_time()
        for _ in range(3_000):
            parts.feed(b"-")
        seconds.append(time.process_time() - began)
    assert seconds[1] < 10 * seconds[0]
    parts = Parts(b"--xx")
    drip = b"--xx\r\n\r\n\xff\xd8-x--\xff\xd9--xx"
    found = [one for at in range(len(drip)) for one in parts.feed(drip[at : at + 1])]
    assert found == [b"\xff\xd8-x--\xff\xd9"]


def test_chunks() -> None:
    body = b"5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n"
    for step in (1, 3, 100):
        chunks = Chunks()
        pieces = [chunks.feed(body[at : at + step]) for at in range(0, len(body), step)]
        assert b"".join(pieces) == b"hello world"
    with pytest.raises(SourceFailed):
        Chunks().feed(b"0\r\n\r\n")
    with pytest.raises(SourceFailed):
        Chunks().feed(b"zz\r\n")
    with pytest.raises(SourceFailed):
        Chunks().feed(b"1" * 100)


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_no_bytes_do_harm(pieces: list[bytes]) -> None:
    parts, chunks = Parts(b"--xx"), Chunks()
    try:
        for piece in pieces:
            parts.feed(piece)
            chunks.feed(piece)
    except SourceFailed:
        pass
