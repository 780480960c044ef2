"""A worker's own side of its pipes, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import pytest

from server.shared.processes.wire import MOST_WAITING, Message, encode, origin, read

WORKER = """
import sys
from server.shared.processes.wire import Jobs, claim_input, claim_output, leave

channel = claim_output()
incoming = claim_input()
# Output of a library
print("a print of a library")
assert sys.stdin.read() == ""
jobs = Jobs(channel, "work", busy={"code": "busy"}, other=lambda message: channel.send("got", what=message.type))
jobs.listen(incoming)
while True:
    message, stop = jobs.next()
    id = message.header["id"]
    channel.send("begun", message.payload, id=id)
    if message.header["last"]:
        leave(5)
    stop.wait()
    jobs.ended(id, "end")
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

    def receive(self) -> Message:
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
    assert peer.receive() == Message({"type": "begun", "id": 1}, b"abc")
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
    found = origin(raised.value)
    assert found.startswith("ValueError in test_worker_side.py:")
    assert "asked" not in found
    assert origin(KeyError("secret")) == "KeyError"
