"""Frames on the pipes between the server and its workers, and the worker's side: sending frames, and waiting jobs.

`worker_process` is the server's side. Only the standard library is used, because workers run in other environments.

A frame consists of two unsigned 32-bit big-endian numbers (bytes of the header, bytes of the payload), the header, a
JSON object with a `type`, and the raw payload.
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

# Maximum bytes of a header: more than a chat that fills a context of a million tokens
MAX_HEADER_BYTES = 8 * 1024 * 1024
# Maximum bytes of a payload: a picture or a generated video
MAX_PAYLOAD_BYTES = 256 * 1024 * 1024
_SIZES = struct.Struct(">II")


class WireError(ValueError):
    """The received data is not a frame, or the data to send is too large for one.

    Not a QwenCameraError: workers use this module without the server.
    """


@dataclass(frozen=True, slots=True)
class WorkerMessage:
    header: dict[str, Any]
    payload: bytes = b""

    @property
    def type(self) -> str:
        return str(self.header["type"])


def encode(header: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """Encode a frame. Raises WireError if header or payload are too large."""
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    _check(len(text), len(payload))
    return _SIZES.pack(len(text), len(payload)) + text + payload


def read(stream: BinaryIO) -> WorkerMessage | None:
    """Read the next frame of a blocking stream; None at its end. Raises WireError, also if it ends within a frame."""
    head = stream.read(_SIZES.size)
    if not head:
        return None
    if len(head) < _SIZES.size:
        raise WireError("the stream ended within a frame")
    header, payload = _parse_sizes(head)
    body = stream.read(header + payload)
    if len(body) < header + payload:
        raise WireError("the stream ended within a frame")
    return _parse_message(body, header)


async def receive(stream: asyncio.StreamReader) -> WorkerMessage | None:
    """Read the next frame on an event loop; None at the end of the stream, also within a frame. Raises WireError."""
    try:
        header, payload = _parse_sizes(await stream.readexactly(_SIZES.size))
        return _parse_message(await stream.readexactly(header + payload), header)
    except EOFError:
        return None


def _parse_sizes(head: bytes) -> tuple[int, int]:
    header, payload = _SIZES.unpack(head)
    _check(header, payload)
    return header, payload


def _check(header: int, payload: int) -> None:
    if header > MAX_HEADER_BYTES or payload > MAX_PAYLOAD_BYTES:
        raise WireError(
            f"a frame of {header} + {payload} bytes is too large: {MAX_HEADER_BYTES} + {MAX_PAYLOAD_BYTES} are allowed"
        )


def _parse_message(body: bytes, header_bytes: int) -> WorkerMessage:
    try:
        header = json.loads(body[:header_bytes])
    except (ValueError, RecursionError):
        raise WireError("a frame's header is not JSON") from None
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise WireError("a frame's header is not an object with a type")
    return WorkerMessage(header, body[header_bytes:])


# Maximum jobs waiting for the running one; more are refused.
MOST_WAITING = 8


class Channel:
    """Sends frames, from any thread. When the reader is gone, the process ends."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._lock = threading.Lock()

    def send(self, type: str, payload: bytes = b"", **fields: Any) -> None:
        """Send a frame. Raises WireError if it is too large."""
        frame = encode({"type": type, **fields}, payload)
        with self._lock:
            try:
                self.stream.write(frame)
                self.stream.flush()
            except (OSError, ValueError):
                os._exit(0)


def claim_output() -> Channel:
    """Reserve standard output for frames. Libraries print to standard error from now on."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return Channel(stream)


def claim_input() -> BinaryIO:
    """Reserve standard input for frames. For libraries it is empty from now on."""
    stream = os.fdopen(os.dup(0), "rb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return stream


def get_origin(error: BaseException) -> str:
    """Return an error's type and the line that raised it, without its text, which may quote users."""
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    return "".join(
        [type(error).__name__, *(f" in {Path(at.filename).name}:{at.lineno}" for at in frames)]
    )


def exit_process(status: int) -> NoReturn:
    """Exit without waiting for the threads of libraries."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class WorkerJobs:
    """The jobs of a worker that runs one at a time: one thread reads them, the main thread runs them.

    The last message of a job is `end` or `error`. A job that does not fit ends immediately with `busy`.
    """

    def __init__(
        self,
        channel: Channel,
        kind: str,
        *,
        busy: dict[str, Any],
        other: Callable[[WorkerMessage], None] = lambda _message: None,
    ) -> None:
        """Create an empty queue.

        `kind`: the type of a job's message. `busy`: the fields of the error of a job that does not fit.
        `other` gets messages that are neither jobs nor `cancel`, on the reading thread.
        """
        self._channel = channel
        self._kind = kind
        self._busy = busy
        self._other = other
        self._waiting: queue.Queue[tuple[WorkerMessage, threading.Event]] = queue.Queue(
            MOST_WAITING
        )
        # Events of the jobs that may still be cancelled, by id
        self._stops: dict[int, threading.Event] = {}

    def listen(self, stream: BinaryIO) -> None:
        """Read messages in a new thread. When the stream ends, the process exits."""
        threading.Thread(target=self._listen, args=(stream,), name="reader", daemon=True).start()

    def next_job(self) -> tuple[WorkerMessage, threading.Event]:
        """Wait for the next job. Return it, and an event that is set if the job is cancelled. Call `finish` at its end."""
        return self._waiting.get()

    def finish(self, id: int, type: str, **fields: Any) -> None:
        """Send the last message of a job."""
        self._stops.pop(id, None)
        self._channel.send(type, id=id, **fields)

    def _listen(self, stream: BinaryIO) -> None:
        try:
            while (message := read(stream)) is not None:
                self._take(message)
        finally:
            # The reaper ends the processes that it started.
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
