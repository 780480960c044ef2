"""The ways to a camera: a device and how it is opened, JPEGs over HTTP in pieces of any size, RTSP and when it is left."""

from __future__ import annotations

import base64
import contextlib
import errno
import itertools
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.rtsp.worker import sources
from server.features.rtsp.worker.rtsp import EncodedPicture, FailureReason, SourceFailed, read_head
from server.features.rtsp.worker.sources import (
    ChunkDecoder,
    Credentials,
    MultipartParser,
    SourceAddress,
    read_boundary,
)
from tests.features.rtsp.scripted import answer


class _Enough(Exception):
    """The test has seen enough."""


def failure(path: str) -> SourceFailed:
    with pytest.raises(SourceFailed) as failed:
        sources.read(SourceAddress(path, "", "", "", False), lambda codec: None, lambda unit: None)
    return failed.value


@pytest.mark.parametrize(
    ("path", "trouble"),
    [
        ("/dev/video250", FailureReason.DEVICE_MISSING),
        ("/dev/null", FailureReason.DEVICE_OTHER),
        (__file__, FailureReason.DEVICE_OTHER),
        ("/dev", FailureReason.DEVICE_OTHER),
    ],
)
def test_what_is_no_camera(path: str, trouble: FailureReason) -> None:
    assert failure(path).trouble is trouble


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (errno.EACCES, FailureReason.DEVICE_FORBIDDEN),
        (errno.EBUSY, FailureReason.DEVICE_BUSY),
        (errno.ENODEV, FailureReason.DEVICE_MISSING),
    ],
)
def test_a_device_is_opened_as_one(
    code: int, trouble: FailureReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Video4Linux and nothing else, as a camera that sends JPEGs; its refusal has words."""
    opened: dict[str, Any] = {}

    def refuses(path: str, **options: Any) -> None:
        opened.update(options, path=path)
        raise OSError(code, "refused")

    monkeypatch.setattr(av, "open", refuses)
    assert failure("/dev/video0").trouble is trouble
    assert (opened["path"], opened["format"]) == ("/dev/video0", "v4l2")
    assert opened["options"] == {"input_format": "mjpeg"}
    assert all(opened["timeout"])


ONE, TWO = b"\xff\xd8one\xff\xd9", b"\xff\xd8two\xff\xd9"


def part(data: bytes, *, length: bool) -> bytes:
    size = b"Content-Length: %d\r\n" % len(data) if length else b""
    return b"--xx\r\nContent-Type: image/jpeg\r\n" + size + b"\r\n" + data + b"\r\n"


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_parts(length: bool, step: int) -> None:
    """With and without their length, however they arrive."""
    body = part(ONE, length=length) + part(TWO, length=length) + b"--xx\r\n"
    parts = MultipartParser(b"--xx")
    found = []
    for at in range(0, len(body), step):
        found += parts.feed(body[at : at + step], float(at))
    assert [one for one, _ in found] == [ONE, TWO]
    # Each has the time of its first byte.
    assert [at for _, at in found] == [body.index(one) // step * step for one in (ONE, TWO)]


def test_what_is_no_jpeg_is_dropped() -> None:
    parts = MultipartParser(b"--xx")
    assert parts.feed(part(b"<html>", length=True) + part(ONE, length=True), 1.0) == [(ONE, 1.0)]


def test_boundaries() -> None:
    for kind in (
        'multipart/x-mixed-replace; boundary="xx"',
        "multipart/x-mixed-replace;boundary=--xx",
    ):
        head = read_head(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}".encode())
        assert read_boundary(head) == b"--xx"
    head = read_head(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4; codecs=x")
    with pytest.raises(SourceFailed) as failed:
        read_boundary(head)
    assert (failed.value.trouble, failed.value.detail) == (FailureReason.CODEC, "VIDEOMP4")


class Answering:
    """A socket whose other side sends these pieces, one after another, and then closes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def recv(self, _: int) -> bytes:
        return next(self._pieces, b"")

    def sendall(self, data: bytes) -> None:
        """Take a request."""

    def settimeout(self, _: float) -> None:
        pass

    def setsockopt(self, *_: int) -> None:
        pass

    def connect(self, _: object) -> None:
        pass

    def close(self) -> None:
        pass


def answered(
    kind: str, headers: str, body: bytes, monkeypatch: pytest.MonkeyPatch, more: int = 0
) -> list[EncodedPicture]:
    """Read a camera that answers each request so, for `more` pictures more than one."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{headers}\r\n".encode()
    units: list[EncodedPicture] = []

    def take(unit: EncodedPicture) -> None:
        units.append(unit)
        if len(units) > more:
            raise _Enough

    monkeypatch.setattr(sources, "ASK_SECONDS", 0.05)
    pieces = head + body[:5], body[5:]
    monkeypatch.setattr(socket, "socket", lambda *_: Answering(iter(pieces)))
    with contextlib.suppress(_Enough):
        sources.read(
            SourceAddress("http://127.0.0.1/", "", "", "", False), lambda codec: None, take
        )
    return units


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (f"Content-Length: {len(ONE)}\r\n", ONE),
        ("", ONE),
        ("Transfer-Encoding: chunked\r\n", b"5\r\n%b\r\n2\r\n%b\r\n0\r\n\r\n" % (ONE[:5], ONE[5:])),
    ],
)
def test_a_picture_that_comes_alone_is_asked_for_again(
    headers: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is that of the request: a camera may take a while to send it."""
    begun = time.monotonic()
    first, second = answered("image/jpeg", headers, body, monkeypatch, 1)
    assert first.data == second.data == ONE
    assert begun <= first.at < begun + 0.05 <= second.at


def test_a_picture_that_comes_alone_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a length it ends with the connection, or at the size of a frame."""
    monkeypatch.setattr(sources, "MAX_FRAME_BYTES", 1000)
    with pytest.raises(SourceFailed) as failed:
        answered("image/jpeg", "", b"\xff\xd8" + bytes(2000) + b"\xff\xd9", monkeypatch)
    assert failed.value.trouble is FailureReason.SIZE


@pytest.mark.parametrize(
    ("kind", "trouble"),
    [("text/html; charset=utf-8", FailureReason.WEB_PAGE), ("image/jpeg", FailureReason.MALFORMED)],
)
def test_a_web_page_is_named(
    kind: str, trouble: FailureReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceFailed) as failed:
        answered(kind, "Content-Length: 15\r\n", b"<!doctype html>", monkeypatch)
    assert failed.value.trouble is trouble


def feed_for_ever(parts: MultipartParser) -> None:
    for _ in range(10_000):
        parts.feed(b"z" * 1000, 0.0)
        assert len(parts._held) < 40_000


def test_a_picture_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is held than a picture may have."""
    monkeypatch.setattr(sources, "MAX_FRAME_BYTES", 10_000)
    parts = MultipartParser(b"--xx")
    parts.feed(b"--xx\r\n\r\n\xff\xd8", 0.0)
    with pytest.raises(SourceFailed) as failed:
        feed_for_ever(parts)
    assert failed.value.trouble is FailureReason.SIZE
    with pytest.raises(SourceFailed):
        MultipartParser(b"--xx").feed(b"--xx\r\nContent-Length: 99999999\r\n\r\n", 0.0)
    with pytest.raises(SourceFailed):
        MultipartParser(b"--xx").feed(b"--xx\r\n" + b"X: y\r\n" * 10_000, 0.0)


def test_chunks() -> None:
    body = b"5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n"
    for step in (1, 3, 100):
        chunks = ChunkDecoder()
        pieces = [chunks.feed(body[at : at + step]) for at in range(0, len(body), step)]
        assert b"".join(pieces) == b"hello world"
    with pytest.raises(SourceFailed):
        ChunkDecoder().feed(b"0\r\n\r\n")
    with pytest.raises(SourceFailed):
        ChunkDecoder().feed(b"zz\r\n")
    with pytest.raises(SourceFailed):
        ChunkDecoder().feed(b"1" * 100)


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_no_bytes_of_a_body_do_harm(pieces: list[bytes]) -> None:
    parts, chunks = MultipartParser(b"--xx"), ChunkDecoder()
    try:
        for piece in pieces:
            parts.feed(piece, 0.0)
            chunks.feed(piece)
    except SourceFailed:
        pass


SILENT_SECONDS = 0.2
DESCRIPTION = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:*\r\n"


class Playing(Answering):
    """One that answers each request well, and then sends these pieces."""

    def __init__(self, pieces: Iterator[bytes], description: str = DESCRIPTION) -> None:
        super().__init__(pieces)
        self._description = description
        self._answers = b""

    def sendall(self, data: bytes) -> None:
        text = data.decode()
        body = self._description if text.startswith("DESCRIBE") else ""
        headers = {"Session": "1", "Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"}
        self._answers += answer(text, "200 OK", body, **headers)

    def recv(self, count: int) -> bytes:
        data, self._answers = self._answers, b""
        return data or super().recv(count)


def packet(number: int, payload: bytes, kind: int = 96, channel: int = 0) -> bytes:
    """An interleaved packet with the marker of a frame's end."""
    rtp = bytes((0x80, 0x80 | kind)) + number.to_bytes(2, "big") + (number * 90).to_bytes(4, "big")
    rtp += b"\0\0\0\1" + payload
    return b"$" + bytes((channel,)) + len(rtp).to_bytes(2, "big") + rtp


def played(
    more: Callable[[int], bytes],
    monkeypatch: pytest.MonkeyPatch,
    take: Callable[[EncodedPicture], Any],
) -> None:
    """Read a camera that sends `more` for ever, once a millisecond."""

    def pieces() -> Iterator[bytes]:
        for number in itertools.count(1):
            time.sleep(0.001)
            yield more(number)

    monkeypatch.setattr(sources, "SILENT_SECONDS", SILENT_SECONDS)
    monkeypatch.setattr(socket, "socket", lambda *_: Playing(pieces()))
    address = SourceAddress("rtsp://127.0.0.1/x", "", "", "", False)
    sources.read(address, lambda codec: None, take)


@pytest.mark.parametrize(
    ("more", "trouble"),
    [
        # Of another stream, as after a change of its settings
        (lambda n: packet(n, b"\x65picture", kind=97), FailureReason.MALFORMED),
        # A kind of packet that was not agreed on
        (lambda n: packet(n, b"\x7fpicture"), FailureReason.MALFORMED),
        # A frame's middle without its beginning
        (lambda n: packet(n, b"\x7c\x05picture"), FailureReason.MALFORMED),
        # Sound alone
        (lambda n: packet(n, b"\x65picture", channel=2), FailureReason.SILENT),
        (lambda n: answer("CSeq: 9", "200 OK"), FailureReason.SILENT),
        (lambda n: b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", FailureReason.SILENT),
    ],
)
def test_what_makes_no_frame_keeps_no_connection(
    more: Callable[[int], bytes], trouble: FailureReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes without end, the camera is left, and tried again later."""
    began = time.monotonic()
    with pytest.raises(SourceFailed) as failed:
        played(more, monkeypatch, lambda unit: None)
    assert failed.value.trouble is trouble
    assert time.monotonic() - began >= SILENT_SECONDS


SPS, PPS = b"\x67\x42\x00\x1e\x80", b"\x68\xce"


@pytest.mark.parametrize(
    "odd", [b"#" * 37, b"A" * 37, b"#####$" + b"#" * 30, bytes(12), b"$\0\0\x20" + b"#" * 7]
)
def test_other_bytes_between_packets_cost_a_frame(
    odd: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frame before them is lost and counted; the key frame behind them is read."""
    units: list[EncodedPicture] = []

    def more(n: int) -> bytes:
        if n > 9:
            raise _Enough
        return packet(n, (b"\x65\x88picture", SPS, PPS)[n % 3]) + odd * (n == 6)

    with pytest.raises(_Enough):
        played(more, monkeypatch, units.append)
    assert [bool(unit.data) for unit in units] == [True, False, True]


def test_other_bytes_without_end_keep_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def more(n: int) -> bytes:
        if n > 50:
            raise _Enough
        return packet(n, SPS) if n < 3 else b"#" * 1000

    with pytest.raises(SourceFailed) as failed:
        played(more, monkeypatch, lambda unit: None)
    assert failed.value.trouble is FailureReason.MALFORMED


# Digest and Basic, and what a camera does not get.


def refused(of: Credentials, *headers: str) -> FailureReason:
    with pytest.raises(SourceFailed) as failed:
        of.choose_challenge(headers)
    return failed.value.trouble


def test_the_example_of_the_rfc() -> None:
    """RFC 2069's, without qop, as most cameras ask; the erratum's value."""
    one = Credentials("Mufasa", "CircleOfLife", clear=False)
    assert one.make_header("GET", "/dir/index.html") == ""
    one.choose_challenge(
        [
            'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",'
            ' opaque="5ccc069c403ebaf9f0171e9517f40e41"'
        ]
    )
    header = one.make_header("GET", "/dir/index.html")
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in header
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in header


def test_the_better_hash_is_chosen() -> None:
    """With qop each request has a count of its own."""
    one = Credentials("u", "p", clear=True)
    one.choose_challenge(
        [
            'Basic realm="x"',
            'Digest realm="x", nonce="1", qop="auth,auth-int"',
            'Digest realm="x", nonce="2", qop="auth", algorithm=SHA-256',
        ]
    )
    first, second = one.make_header("PLAY", "rtsp://h/x"), one.make_header("PLAY", "rtsp://h/x")
    assert 'nonce="2"' in first
    assert "algorithm=SHA-256" in first
    assert re.search(r'response="[0-9a-f]{64}"', first)
    assert "nc=00000001" in first
    assert "nc=00000002" in second


def test_no_password_in_clear_text_unless_the_operator_says_so() -> None:
    """Whoever stands between may ask for Basic in the camera's place."""
    assert (
        refused(Credentials("u", "p", clear=False), 'Basic realm="x"')
        is FailureReason.CLEAR_PASSWORD
    )
    one = Credentials("u", "p", clear=True)
    one.choose_challenge(['Basic realm="x"'])
    assert one.make_header("GET", "/") == f"Basic {base64.b64encode(b'u:p').decode()}"


def test_a_wrong_password_is_tried_once() -> None:
    one = Credentials("u", "p", clear=False)
    one.choose_challenge(['Digest realm="x", nonce="1"'])
    assert refused(one, 'Digest realm="x", nonce="2"') is FailureReason.CREDENTIALS
    assert refused(Credentials("", "", clear=True), 'Basic realm="x"') is FailureReason.CREDENTIALS
    assert refused(Credentials("u", "p", clear=True), "Bearer") is FailureReason.CREDENTIALS


def test_a_stale_nonce_is_replaced() -> None:
    """A few times: a camera cannot have us answer for ever."""
    one = Credentials("u", "p", clear=False)
    one.choose_challenge(['Digest realm="x", nonce="1"'])
    for number in range(2, 12):
        assert f'nonce="{number - 1}"' in one.make_header("OPTIONS", "rtsp://h/x")
        try:
            one.choose_challenge([f'Digest realm="x", nonce="{number}", stale=true'])
        except SourceFailed:
            assert number > 8
            return
    pytest.fail("it answered for ever")
