"""Server-sent events, decoded without I/O.

Sources: WHATWG HTML, section 9.2.6 (event streams). Only `data` matters to us; `event`, `id` and `retry` are skipped.
"""

from __future__ import annotations

# An event of a chat stream has a few hundred bytes; a server that sends more than this is not one.
MAX_EVENT_BYTES = 1024 * 1024


class EventTooLong(ValueError):
    """An event did not end within `MAX_EVENT_BYTES`."""


class EventDecoder:
    """Bytes in, the data of whole events out. Comments, such as keep-alives, give nothing."""

    def __init__(self) -> None:
        # What came after the last line end, and the data lines of the event that is not complete yet.
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Data of the events that are complete now, in order.

        Raises EventTooLong.
        """
        block = self._rest + chunk
        # A "\r" at the end may be the first half of a line end.
        held = block.endswith(b"\r")
        lines = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if held:
            # The last line is empty and the one before it is not known to be complete: wait for what follows.
            lines = [*lines[:-2], lines[-2] + b"\r"]
        self._rest = lines.pop()
        events: list[bytes] = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data, self._size = [], 0
            elif line.startswith(b"data:"):
                value = line[5:].removeprefix(b" ")
                self._data.append(value)
                self._size += len(value)
        if self._size + len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLong(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        return events
