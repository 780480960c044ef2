"""The frames on the pipes between this program and its workers, and a worker's own side of them: frames out, and the jobs
that wait. `worker_process` is the server's side.

Standard library only: workers run in environments of their own.

A frame is two unsigned 32-bit numbers, big end first (bytes of the header, bytes of the payload),
then the header, a JSON object with a `type`, then the payload as it is.
"""

from __future__ import annotations

import json
import os
import queue
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

if TYPE_CHECKING:
    import asyncio

# A chat that fills a context of a million tokens has fewer bytes than that.
MAX_HEADER_BYTES = 8 * 1024 * 1024
# A picture, or a video that was made.
MAX_PAYLOAD_BYTES = 256 * 1024 * 1024
_SIZES = struct.Struct(">II")


class WireError(ValueError):
    """The received data is no frame, or the data to send is too large for one.

    Outside the tree of errors: workers use this module without the server.
    """


@dataclass(frozen=True, slots=True)
class WorkerMessage:
    header: dict[str, Any]
    payload: bytes = b""

    @property
    def type(self) -> str:
        return str(self.header["type"])


def encode(header: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """Encode a frame. Raises WireError when header or payload are too large."""
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    _check(len(text), len(payload))
    return _SIZES.pack(len(text), len(payload)) + text + payload


def read(stream: BinaryIO) -> WorkerMessage | None:
    """Read the next frame of a blocking stream; None at its end.

    Raises WireError, also when it ends within a frame.
    """
    head = stream.read(_SIZES.size)
    if not head:
        return None
    if len(head) < _SIZES.size:
        raise WireError("the stream ended within a frame")
    header, payload = _sizes(head)
    body = stream.read(header + payload)
    if len(body) < header + payload:
        raise WireError("the stream ended within a frame")
    return _message(body, header)


async def receive(stream: asyncio.StreamReader) -> WorkerMessage | None:
    """Read the next frame on an event loop; None at the stream's end, also within a frame. Raises WireError."""
    try:
        header, payload = _sizes(await stream.readexactly(_SIZES.size))
        return _message(await stream.readexactly(header + payload), header)
    except EOFError:
        return None


def _sizes(head: bytes) -> tuple[int, int]:
    header, payload = _SIZES.unpack(head)
    _check(header, payload)
    return header, payload


def _check(header: int, payload: int) -> None:
    if header > MAX_HEADER_BYTES or payload > MAX_PAYLOAD_BYTES:
        raise WireError(
            f"a frame of {header} + {payload} bytes is too large: {MAX_HEADER_BYTES} + {MAX_PAYLOAD_BYTES} are allowed"
        )


def _message(body: bytes, header_bytes: int) -> WorkerMessage:
    try:
        header = json.loads(body[:header_bytes])
    except (ValueError, RecursionError):
        raise WireError("a frame's header is no JSON") from None
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise WireError("a frame's header is no object with a type")
    return WorkerMessage(header, body[header_bytes:])


# Jobs that may wait for the one in work. More are refused.
MOST_WAITING = 8


class Channel:
    """Frames out, from any thread. When nobody reads them any more, the process ends."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._lock = threading.Lock()

    def send(self, type: str, payload: bytes = b"", **fields: Any) -> None:
        """Raises WireError when the frame is too large."""
        frame = encode({"type": type, **fields}, payload)
        with self._lock:
            try:
                self.stream.write(frame)
                self.stream.flush()
            except (OSError, ValueError):
                os._exit(0)


def claim_output() -> Channel:
    """Take standard output for frames. Prints of libraries go to standard error from now on."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return Channel(stream)


def claim_input() -> BinaryIO:
    """Take standard input for frames. Libraries find it empty from now on."""
    stream = os.fdopen(os.dup(0), "rb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return stream


def origin(error: BaseException) -> str:
    """Describe an error by its type and the line that raised it.

    Its own words may hold what people asked, and are left out.
    """
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    return "".join(
        [type(error).__name__, *(f" in {Path(at.filename).name}:{at.lineno}" for at in frames)]
    )


def exit_process(status: int) -> NoReturn:
    """End the process without waiting for threads of libraries."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class WorkerJobs:
    """The jobs of a worker that does one at a time: one thread reads them, the main one works.

    A job's last message is `end` or `error`. Bounded: one that does not fit ends at once with `busy`.
    """

    def __init__(
        self,
        channel: Channel,
        kind: str,
        *,
        busy: dict[str, Any],
        other: Callable[[WorkerMessage], None] = lambda _message: None,
    ) -> None:
        """`kind`: the type of a job's message. `busy`: the fields of the error of a job that does
        not fit. `other` gets messages that are neither jobs nor `cancel`, on the reading thread.
        """
        self._channel = channel
        self._kind = kind
        self._busy = busy
        self._other = other
        self._waiting: queue.Queue[tuple[WorkerMessage, threading.Event]] = queue.Queue(
            MOST_WAITING
        )
        # The jobs that may still be cancelled, by id
        self._stops: dict[int, threading.Event] = {}

    def listen(self, stream: BinaryIO) -> None:
        """Read messages on a thread of their own. When the stream ends, so does the process."""
        threading.Thread(target=self._listen, args=(stream,), name="reader", daemon=True).start()

    def next(self) -> tuple[WorkerMessage, threading.Event]:
        """Wait for the next job; its event is set when it is cancelled. `finish` ends it."""
        return self._waiting.get()

    def finish(self, id: int, type: str, **fields: Any) -> None:
        """Send a job's last message."""
        self._stops.pop(id, None)
        self._channel.send(type, id=id, **fields)

    def _listen(self, stream: BinaryIO) -> None:
        try:
            while (message := read(stream)) is not None:
                self._take(message)
        finally:
            # Its keeper ends the processes that it has started.
            os._exit(0)

    def _take(self, message: WorkerMessage) -> None:
        if message.type == self._kind:
            id = message.header["id"]
            stop = self._stops[id] = threading.Event()
            try:
                self._waiting.put_nowait((message, stop))
            except queue.Full:
                self.finish(id, "error", **self._busy)
        elif message.type == "cancel":
            if (found := self._stops.get(message.header["id"])) is not None:
                found.set()
        else:
            self._other(message)
