"""Frames on the pipes of a worker: whole in every cut, bounded, and refused when they are none."""

from __future__ import annotations

import io

import pytest

from server.shared.processes import wire
from server.shared.processes.wire import Decoder, Message, WireError, encode, read

FRAMES = [
    Message({"type": "answer", "id": 1, "text": "Größe\n"}, b"\x00\xff" * 300),
    Message({"type": "cancel", "id": 1}),
    Message({"type": "state"}, b"x"),
]
STREAM = b"".join(encode(one.header, one.payload) for one in FRAMES)


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_frames_come_whole_out_of_any_pieces(size: int) -> None:
    """However the stream is cut, the same frames come out, and nothing is held in the end."""
    decoder = Decoder()
    found = []
    for at in range(0, len(STREAM), size):
        found += decoder.feed(STREAM[at : at + size])
    assert found == FRAMES
    assert not decoder._held


def test_a_stream_is_read_to_its_end() -> None:
    """The blocking side gets the same frames, then None."""
    stream = io.BytesIO(STREAM)
    assert [read(stream) for _ in FRAMES] == FRAMES
    assert read(stream) is None


@pytest.mark.parametrize("length", [1, 7, 9, len(STREAM) - 1])
def test_an_end_within_a_frame_is_an_error(length: int) -> None:
    """Half a frame is never taken for one, nor for the end."""
    stream = io.BytesIO(STREAM[:length])
    with pytest.raises(WireError, match="within a frame"):
        list(iter(lambda: read(stream), None))


@pytest.mark.parametrize("header", [b"{", b"[]", b"{}", b'{"type":1}', b"\xff", b"[" * 9999])
def test_a_header_that_is_none_is_refused(header: bytes) -> None:
    """Anything but an object with a type raises WireError and nothing else."""
    frame = len(header).to_bytes(4, "big") + bytes(4) + header
    with pytest.raises(WireError):
        Decoder().feed(frame)
    with pytest.raises(WireError):
        read(io.BytesIO(frame))


def test_sizes_are_bounded_before_anything_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame says its sizes first: one too large is refused at its eighth byte, and never sent."""
    with pytest.raises(WireError, match="too large"):
        Decoder().feed(b"\xff" * 8)
    with pytest.raises(WireError, match="too large"):
        read(io.BytesIO(b"\x00\x00\x00\x02\xff\xff\xff\xff"))
    monkeypatch.setattr(wire, "MAX_PAYLOAD_BYTES", 10)
    assert Decoder().feed(encode({"type": "a"}, bytes(10)))
    with pytest.raises(WireError, match="too large"):
        encode({"type": "a"}, bytes(11))
