"""Frames on the pipes of a worker: whole in every cut, bounded, and refused when they are none."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import pytest

from server.shared.processes import wire
from server.shared.processes.wire import (
    MOST_WAITING,
    WireError,
    WorkerMessage,
    encode,
    get_origin,
    read,
    receive,
)

FRAMES = [
    WorkerMessage({"type": "answer", "id": 1, "text": "Größe\n"}, b"\x00\xff" * 300),
    WorkerMessage({"type": "cancel", "id": 1}),
    WorkerMessage({"type": "state"}, b"x"),
]
STREAM = b"".join(encode(one.header, one.payload) for one in FRAMES)


def _holding(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    return reader


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
async def test_frames_come_whole_out_of_any_pieces(size: int) -> None:
    """However the stream is cut, the same frames come out, and half a frame at its end is none."""
    reader, stream = asyncio.StreamReader(), STREAM + STREAM[:20]
    for frame in FRAMES:
        reading = asyncio.ensure_future(receive(reader))
        while not reading.done():
            reader.feed_data(stream[:size])
            stream = stream[size:]
            await asyncio.sleep(0)
        assert await reading == frame
    reader.feed_data(stream)
    reader.feed_eof()
    assert await receive(reader) is None


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
async def test_a_header_that_is_none_is_refused(header: bytes) -> None:
    """Anything but an object with a type raises WireError and nothing else."""
    frame = len(header).to_bytes(4, "big") + bytes(4) + header
    with pytest.raises(WireError):
        await receive(_holding(frame))
    with pytest.raises(WireError):
        read(io.BytesIO(frame))


async def test_sizes_are_bounded_before_anything_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame says its sizes first: one too large is refused at its eighth byte, and never sent."""
    with pytest.raises(WireError, match="too large"):
        await receive(_holding(b"\xff" * 8))
    with pytest.raises(WireError, match="too large"):
        read(io.BytesIO(b"\x00\x00\x00\x02\xff\xff\xff\xff"))
    monkeypatch.setattr(wire, "MAX_PAYLOAD_BYTES", 10)
    assert await receive(_holding(encode({"type": "a"}, bytes(10))))
    with pytest.raises(WireError, match="too large"):
        encode({"type": "a"}, bytes(11))


WORKER = """
import sys
from server.shared.processes.wire import WorkerJobs, claim_input, claim_output, exit_process

channel = claim_output()
incoming = claim_input()
# Output of a library
print("a print of a library")
assert sys.stdin.read() == ""
jobs = WorkerJobs(channel, "work", busy={"code": "busy"}, other=lambda message: channel.send("got", what=message.type))
jobs.listen(incoming)
while True:
    message, stop = jobs.next_job()
    id = message.header["id"]
    channel.send("begun", message.payload, id=id)
    if message.header["last"]:
        exit_process(5)
    stop.wait()
    jobs.finish(id, "end")
"""


class Peer:
    """The server's side: a process, and frames to and from it."""

    def __init__(self, process: subprocess.Popen[bytes], sent: BinaryIO, got: BinaryIO) -> None:
        self.process = process
        self._sent = sent
        self._got = got

    def send(self, type: str, payload: bytes = b"", **fields: Any) -> None:
        self._sent.write(encode({"type": type, **fields}, payload))
        self._sent.flush()

    def work(self, id: int, payload: bytes = b"", *, last: bool = False) -> None:
        self.send("work", payload, id=id, last=last)

    def receive(self) -> WorkerMessage:
        message = read(self._got)
        assert message is not None
        return message

    def close(self) -> None:
        self._sent.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield Peer(process, cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout))
        finally:
            process.kill()


def test_prints_of_libraries_do_not_get_among_the_frames(peer: Peer) -> None:
    peer.work(1, b"abc", last=True)
    assert peer.receive() == WorkerMessage({"type": "begun", "id": 1}, b"abc")
    assert peer.process.wait(10) == 5
    assert peer.process.stderr is not None
    assert b"a print of a library" in peer.process.stderr.read()


def test_one_job_at_a_time_and_a_cancelled_one_ends(peer: Peer) -> None:
    peer.work(1)
    peer.work(2)
    assert peer.receive().header == {"type": "begun", "id": 1}
    peer.send("cancel", id=1)
    assert peer.receive().header == {"type": "end", "id": 1}
    assert peer.receive().header == {"type": "begun", "id": 2}


def test_a_job_may_be_cancelled_while_it_waits(peer: Peer) -> None:
    peer.work(1)
    peer.work(2)
    peer.send("cancel", id=2)
    peer.send("cancel", id=1)
    got = [peer.receive().header for _ in range(4)]
    assert [(one["type"], one["id"]) for one in got] == [
        ("begun", 1),
        ("end", 1),
        ("begun", 2),
        ("end", 2),
    ]


def test_too_many_jobs_are_refused(peer: Peer) -> None:
    peer.work(0)
    assert peer.receive().type == "begun"
    for id in range(1, MOST_WAITING + 2):
        peer.work(id)
    assert peer.receive().header == {"type": "error", "id": MOST_WAITING + 1, "code": "busy"}


def test_other_messages_are_answered_while_a_job_runs(peer: Peer) -> None:
    peer.work(1)
    assert peer.receive().type == "begun"
    peer.send("state")
    peer.send("cancel", id=99)
    assert peer.receive().header == {"type": "got", "what": "state"}


def test_it_ends_with_its_input(peer: Peer) -> None:
    peer.work(1)
    assert peer.receive().type == "begun"
    peer.close()
    assert peer.process.wait(10) == 0


def test_a_broken_frame_ends_it(peer: Peer) -> None:
    assert peer.process.stdin is not None
    peer.process.stdin.write(b"\xff" * 64)
    peer.process.stdin.flush()
    assert peer.process.wait(10) == 0


def test_the_origin_of_an_error_has_none_of_its_words() -> None:
    def fail() -> None:
        raise ValueError("what somebody asked")

    with pytest.raises(ValueError, match="asked") as raised:
        fail()
    found = get_origin(raised.value)
    assert found.startswith("ValueError in test_wire.py:")
    assert "asked" not in found
    assert get_origin(KeyError("secret")) == "KeyError"
