"""A camera that plays over RTSP: what counts as a picture on its way, and when it is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from server.features.rtsp.worker import sources
from server.features.rtsp.worker.rtp import Unit
from server.features.rtsp.worker.sources import Address
from server.features.rtsp.worker.trouble import SourceFailed, Trouble
from tests.features.rtsp.scripted import answer

SILENT_SECONDS = 0.2
DESCRIPTION = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:*\r\n"


class Playing:
    """A connection that answers each request well, and then has `more` without end."""

    def __init__(self, more: Callable[[int], bytes]) -> None:
        self._more = more
        self._held = bytearray()
        self._count = 0

    def send(self, data: bytes) -> None:
        text = data.decode()
        body = DESCRIPTION if text.startswith("DESCRIBE") else ""
        headers = {"Session": "1", "Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"}
        self._held += answer(text, "200 OK", body, **headers)

    def _fill(self) -> None:
        time.sleep(0.001)
        self._count += 1
        self._held += self._more(self._count)

    def peek(self) -> int:
        while not self._held:
            self._fill()
        return self._held[0]

    def exactly(self, count: int) -> bytes:
        while len(self._held) < count:
            self._fill()
        data = bytes(self._held[:count])
        del self._held[:count]
        return data

    def head(self) -> bytes:
        return self.exactly(self._held.index(b"\r\n\r\n") + 4)[:-4]

    def close(self) -> None:
        pass


def packet(number: int, payload: bytes, kind: int = 96, channel: int = 0) -> bytes:
    """An interleaved packet with the marker of a frame's end."""
    rtp = bytes((0x80, 0x80 | kind)) + number.to_bytes(2, "big") + (number * 90).to_bytes(4, "big")
    rtp += b"\0\0\0\1" + payload
    return b"$" + bytes((channel,)) + len(rtp).to_bytes(2, "big") + rtp


class _Enough(Exception):
    """The test has seen enough."""


def played(
    more: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch, take: Callable[[Unit], Any]
) -> None:
    monkeypatch.setattr(sources, "SILENT_SECONDS", SILENT_SECONDS)
    monkeypatch.setattr(Address, "connect", lambda self: Playing(more))
    address = Address("rtsp://camera.example/x", "", "", "", False)
    sources.read(address, lambda codec, sets: None, take)


@pytest.mark.parametrize(
    ("more", "trouble"),
    [
        # Of another stream, as after a change of its settings
        (lambda n: packet(n, b"\x65picture", kind=97), Trouble.MALFORMED),
        # A kind of packet that was not agreed on
        (lambda n: packet(n, b"\x7fpicture"), Trouble.MALFORMED),
        # A frame's middle without its beginning
        (lambda n: packet(n, b"\x7c\x05picture"), Trouble.MALFORMED),
        # Sound alone
        (lambda n: packet(n, b"\x65picture", channel=2), Trouble.SILENT),
        (lambda n: answer("CSeq: 9", "200 OK"), Trouble.SILENT),
        (lambda n: b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", Trouble.SILENT),
    ],
)
def test_what_makes_no_frame_keeps_no_connection(
    more: Callable[[int], bytes], trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes without end, the camera is left, and tried again later."""
    began = time.monotonic()
    with pytest.raises(SourceFailed) as failed:
        played(more, monkeypatch, lambda unit: None)
    assert failed.value.trouble is trouble
    assert time.monotonic() - began >= SILENT_SECONDS


def test_frames_keep_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    until = time.monotonic() + 4 * SILENT_SECONDS

    def take(unit: Unit) -> None:
        assert unit.data == b"\0\0\0\1\x65picture"
        if time.monotonic() > until:
            raise _Enough

    with pytest.raises(_Enough):
        played(lambda n: packet(n, b"\x65picture"), monkeypatch, take)
