"""Limit how much of a program's log is passed on in a second: that is work for the event loop. Pure."""

from __future__ import annotations

# Read; beyond, the program waits when it writes, and the event loop has its time for others.
READ_A_SECOND = 2 * 1024 * 1024
# Passed on. A model server at its start says less than a tenth of it.
LINES_A_SECOND = 200
BYTES_A_SECOND = 64 * 1024
BEYOND = f"more than {LINES_A_SECOND} or {BYTES_A_SECOND // 1024} KiB a second"


class LogBudget:
    """Second by second: what one does not use is lost."""

    def __init__(self) -> None:
        # When the second began, and what came in it
        self._second = 0.0
        self._read = self._lines = self._bytes = 0

    def turn(self, now: float) -> bool:
        """Tell whether another second begins."""
        if now - self._second < 1.0:
            return False
        self._second, self._read, self._lines, self._bytes = now, 0, 0, 0
        return True

    def read(self, size: int) -> float | None:
        """Count what was read: when more may be, None being at once."""
        self._read += size
        return self._second + 1.0 if self._read > READ_A_SECOND else None

    def take(self, size: int) -> bool:
        """Tell whether there is room to pass on a line of so many bytes; it is taken."""
        if self._lines >= LINES_A_SECOND or self._bytes >= BYTES_A_SECOND:
            return False
        self._lines += 1
        self._bytes += size
        return True
