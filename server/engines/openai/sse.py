"""Server-sent events, decoded without I/O.

Sources: WHATWG HTML, section 9.2.6 (event streams). Only `data` matters to us; `event`, `id` and `retry` are skipped.
"""

from __future__ import annotations

# An event of a chat stream has a few hundred bytes; a server that sends more than this is not one.
MAX_EVENT_BYTES = 256 * 1024


class EventTooLong(ValueError):
    """An event did not end within `MAX_EVENT_BYTES`."""


class EventDecoder:
    """Bytes in, the data of whole events out. Comments, such as keep-alives, give nothing.

    Its work grows with the bytes, however small the pieces are that they come in.
    """

    def __init__(self) -> None:
        # Pieces of the line that is not complete yet, and the data lines of the event that is not.
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._data: list[bytes] = []
        self._size = 0
        # Whether the last byte was a "\r": a "\n" that follows belongs to the same line end.
        self._after_return = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Data of the events that are complete now, in order.

        Raises EventTooLong.
        """
        if self._after_return and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_return = False
        self._after_return = self._after_return or chunk.endswith(b"\r")
        lines = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events: list[bytes] = []
        for part in lines[:-1]:
            line = b"".join((*self._rest, part)) if self._rest else part
            self._rest, self._rest_size = [], 0
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data, self._size = [], 0
            elif line.startswith(b"data:"):
                value = line[5:].removeprefix(b" ")
                self._data.append(value)
                # With its line end: an empty line takes room, too.
                self._size += len(value) + 1
                self._check()
        if lines[-1]:
            self._rest.append(lines[-1])
            self._rest_size += len(lines[-1])
        self._check()
        return events

    def _check(self) -> None:
        if self._size + self._rest_size > MAX_EVENT_BYTES:
            raise EventTooLong(f"an event is longer than {MAX_EVENT_BYTES} bytes")
