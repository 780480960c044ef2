"""The queue of messages to one client. It outlives sockets: the next socket gets the waiting messages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from server.core.messages import (
    DeltaMessage,
    Ready,
    Response,
    Sender,
    ServerMessage,
    Thinking,
    Transcript,
)

MAX_BYTES = 256 * 1024

# Messages with a piece of a text, which are merged while they wait
_PIECES = (DeltaMessage, Thinking)


class OutboxClosed(Exception):
    """The outbox is closed and empty, or a newer reader has replaced this one.

    Not a QwenCameraError: no client gets it.
    """


class OutboxOverflowed(Exception):
    """The client reads too slowly, and its socket should be closed. Remaining messages wait for the next socket.

    Not a QwenCameraError: no client gets it.
    """


@dataclass(eq=False, slots=True)
class _Queued:
    message: ServerMessage
    # None after a merge, encoded again at delivery
    encoded: str | None
    # Bytes on the wire
    size: int
    # All pieces of a merged delta; [] otherwise
    texts: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, message: ServerMessage) -> _Queued:
        encoded = message.encode()
        return cls(message, encoded, len(encoded.encode()))

    def encode(self, operator: bool) -> str:
        """Return the message as JSON. `operator`: the reader has the operator token."""
        if operator and (special := self.message.for_operators()) is not self.message:
            return special.encode()
        if self.encoded is not None:
            return self.encoded
        return self.message.model_copy(update={"text": "".join(self.texts)}).encode()


class Outbox:
    """A message queue with one reader at a time, on the event loop.

    Consecutive deltas of an answer are merged, and so are thoughts. A new transcript replaces a waiting
    transcript of the same question. A `newest_only` message replaces a waiting message of its kind; senders
    of a `log` first check that none is waiting. A `ready` is delivered before everything else. If there is no
    reader, the deltas of an answer are dropped when its response is put, which has the complete text. If the
    size exceeds `max_bytes`, the oldest messages are dropped and counted, and the reader gets OutboxOverflowed.

    Bounds of messages to a client: 256 KiB; deltas merge, a status replaces the previous one, one
    `log` waits at a time; when full, the socket closes.
    """

    def __init__(
        self, max_bytes: int = MAX_BYTES, on_drop: Callable[[], None] = lambda: None
    ) -> None:
        """`on_drop` is called for each dropped message."""
        self._max_bytes = max_bytes
        self._on_drop = on_drop
        self._waiting: deque[_Queued] = deque()
        self._size = 0
        self._reader: Reader | None = None
        self._closed = False
        # True after messages were dropped during reading, until the next reader
        self.overflowed = False
        # Number of dropped messages
        self.dropped = 0
        # True if the reader has the operator token; set by `Operators`
        self.operator = False

    @property
    def empty(self) -> bool:
        return not self._waiting

    @property
    def size(self) -> int:
        """Size of all waiting messages in bytes; at most `max_bytes`."""
        return self._size

    def put(self, message: ServerMessage) -> None:
        """Add a message. Never blocks or raises; does nothing after `close`."""
        if self._closed:
            return
        if isinstance(message, Response) and self._reader is None:
            self._drop(_PIECES, message.id)
        if isinstance(message, Transcript):
            self._drop((Transcript,), message.id)
        if (outdated := message.outdates()) is not None:
            # First, because the message may take the place of an older one.
            self._keep(lambda one: not outdated(one))
        if not (isinstance(message, _PIECES) and self._merge(message)):
            if message.newest_only:
                self._put_snapshot(message)
            else:
                self._append(_Queued.of(message))
        if self._enforce_bound():
            self.overflowed = self._reader is not None
        if self._reader is not None:
            self._reader._wake()

    def attach(self) -> Reader:
        """Return a new reader. `get` of an earlier reader then raises OutboxClosed."""
        if self._reader is not None:
            self._reader.detach()
        self.overflowed = False
        self._reader = Reader(self)
        return self._reader

    def waits(self, kind: type[ServerMessage]) -> bool:
        """Return whether a message of this kind is waiting."""
        return self._find(kind) is not None

    def discard(self, kind: type[ServerMessage]) -> None:
        """Remove the waiting message of a `newest_only` kind."""
        entry = self._find(kind)
        if entry is not None:
            self._waiting.remove(entry)
            self._size -= entry.size

    def close(self) -> None:
        """Accept no more messages; waiting ones can still be read. Safe to call twice."""
        self._closed = True
        if self._reader is not None:
            self._reader._wake()

    def _find(self, kind: type[ServerMessage]) -> _Queued | None:
        return next((one for one in self._waiting if type(one.message) is kind), None)

    def _append(self, entry: _Queued) -> None:
        self._waiting.append(entry)
        self._size += entry.size

    def _prepend(self, entry: _Queued) -> None:
        self._waiting.appendleft(entry)
        self._size += entry.size

    def _merge(self, message: DeltaMessage | Thinking) -> bool:
        last = self._waiting[-1] if self._waiting else None
        if (
            last is None
            or not isinstance(last.message, _PIECES)
            or last.message.type != message.type
            or last.message.id != message.id
        ):
            return False
        if not last.texts:
            last.texts.append(last.message.text)
        last.texts.append(message.text)
        last.encoded = None
        # JSON escapes characters individually, so the sizes of texts can be added.
        envelope = len(message.model_copy(update={"text": ""}).encode().encode())
        more = len(message.encode().encode()) - envelope
        last.size += more
        self._size += more
        return True

    def _put_snapshot(self, message: ServerMessage) -> None:
        kind = type(message)
        older = self._find(kind)
        if isinstance(message, Sender) and older is not None and message.wake_ms is None:
            # Keep the wake-up of the replaced message.
            assert isinstance(older.message, Sender)
            message = message.model_copy(update={"wake_ms": older.message.wake_ms})
        entry = _Queued.of(message)
        if kind is Ready:
            self.discard(kind)
            self._prepend(entry)
        elif older is not None:
            # In the place of the older message: no later message needs the older state.
            self._waiting[self._waiting.index(older)] = entry
            self._size += entry.size - older.size
        else:
            self._append(entry)

    def _drop(self, kinds: tuple[type[ServerMessage], ...], id: str) -> None:
        """Remove the waiting messages of these kinds about one question."""
        self._keep(lambda one: not (isinstance(one, kinds) and getattr(one, "id", "") == id))

    def _keep(self, wanted: Callable[[ServerMessage], bool]) -> None:
        kept = [entry for entry in self._waiting if wanted(entry.message)]
        self._waiting = deque(kept)
        self._size = sum(entry.size for entry in kept)

    def _enforce_bound(self) -> bool:
        """Drop the oldest messages until the size is within the bound. Return whether any were dropped."""
        beyond = False
        while self._size > self._max_bytes:
            beyond = True
            self._take()
            self.dropped += 1
            self._on_drop()
        return beyond

    def _take(self) -> _Queued:
        entry = self._waiting.popleft()
        self._size -= entry.size
        return entry


class Reader:
    """A socket's interface for reading an outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._changed = asyncio.Event()
        self._detached = False
        # The delivered message; the next call of `get` confirms that it was sent
        self._sending: _Queued | None = None

    async def get(self) -> str:
        """Return the next message as JSON. A call confirms that the previous one was sent.

        Raises OutboxClosed, OutboxOverflowed. Cancelling loses nothing. One caller at a time.
        """
        self._sending = None
        while not self._detached:
            if self._outbox.overflowed:
                raise OutboxOverflowed
            if not self._outbox.empty:
                self._sending = self._outbox._take()
                return self._sending.encode(self._outbox.operator)
            if self._outbox._closed:
                break
            self._changed.clear()
            await self._changed.wait()
        raise OutboxClosed

    def detach(self) -> None:
        """Stop reading, and requeue a message that was perhaps not sent. Safe to call twice."""
        if self._detached:
            return
        self._detached = True
        outbox = self._outbox
        outbox._reader = None
        entry, self._sending = self._sending, None
        # A repeated delta would garble the text, which the response contains anyway.
        if entry is not None and not (
            entry.message.newest_only or isinstance(entry.message, _PIECES)
        ):
            outbox._prepend(entry)
            outbox._enforce_bound()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
