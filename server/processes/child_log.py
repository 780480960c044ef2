"""A child's log: the last lines as they may be shown, and a limit on how much of it is passed on.

Pure.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence

from server.core.redact import Redactor, plain

# Lines that are kept; characters of one (no line that explains anything is longer); and of a
# secret: a shorter one would match ordinary words.
KEPT_LINES = 400
LONGEST_LINE = 2000
_LONGEST_BYTES = 4 * LONGEST_LINE
_LEAST_SECRET = 6
# Bytes of a line that is kept and not passed on
_UNHEARD_BYTES = 500
# Bytes read a second; beyond, the child waits when it writes, and the event loop has its time for
# others.
READ_A_SECOND = 2 * 1024 * 1024
# Lines and bytes passed on a second. A model server writes less than a tenth of it while it starts.
LINES_A_SECOND = 200
BYTES_A_SECOND = 64 * 1024
BEYOND = f"more than {LINES_A_SECOND} or {BYTES_A_SECOND // 1024} KiB a second"


class LogBudget:
    """Limit how much of a log is read and passed on, second by second; unused room is lost."""

    def __init__(self) -> None:
        # Beginning of the current second, and the amounts in it
        self._second = 0.0
        self._read = self._lines = self._bytes = 0

    def turn(self, now: float) -> bool:
        """Begin another second where one is over; True when it did."""
        if now - self._second < 1.0:
            return False
        self._second, self._read, self._lines, self._bytes = now, 0, 0, 0
        return True

    def read(self, size: int) -> float | None:
        """Count what was read. Return when more may be read; None: at once."""
        self._read += size
        return self._second + 1.0 if self._read > READ_A_SECOND else None

    def take(self, size: int) -> bool:
        """Take room to pass on a line of so many bytes; False when there is none."""
        if self._lines >= LINES_A_SECOND or self._bytes >= BYTES_A_SECOND:
            return False
        self._lines += 1
        self._bytes += size
        return True


class LogRing:
    """Keep the last lines of a log: bounded, without secrets and control characters.

    A line that the program writes over (it ends in a carriage return, as progress bars do) is
    replaced by the next one; without `redrawn` it is dropped. Lines that match `without` are not
    shown.
    """

    def __init__(
        self,
        secrets: Sequence[str] = (),
        kept: int = KEPT_LINES,
        without: re.Pattern[str] | None = None,
        *,
        redrawn: bool = True,
    ) -> None:
        self._secrets = sorted(
            {s for s in secrets if len(s) >= _LEAST_SECRET}, key=len, reverse=True
        )
        self._kept = kept
        # Text as it may be shown; bytes where it was not asked for yet, since making it ready takes
        # its time.
        self._lines: deque[str | bytes] = deque(maxlen=kept)
        self._without = without
        self._redrawn = redrawn
        # For the lines that `feed` returns
        self._redactor = Redactor()
        self._rest = b""
        self._overwritten = False
        # Lines replaced by newer ones, kept but not returned by `feed`, and neither kept nor
        # returned
        self.dropped = self.unheard = self.withheld = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """Oldest first."""
        redactor = Redactor()
        ready = (one if isinstance(one, str) else self._shown(one, redactor) for one in self._lines)
        return tuple(line for line in ready if line)

    def feed(
        self, raw: bytes, take: Callable[[int], bool] = lambda size: True, *, quiet: bool = False
    ) -> list[str]:
        """Return the lines that `raw` completes, until `take` has no room for one of so many bytes.

        All are kept, as far as there is room. While it is `quiet` lines may quote somebody: they
        are neither returned nor kept, and counted.
        """
        raw = self._rest + raw
        # A line end may follow.
        held = b"\r" if raw.endswith(b"\r") else b""
        raw = raw.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\r\n")
        *whole, rest = raw.split(b"\n")
        self._rest = rest[:_LONGEST_BYTES] + held
        if not self._redrawn:
            whole = [line for line in whole if not line.endswith(b"\r")]
        given: list[str] = []
        for at, line in enumerate(whole):
            if not take(min(len(line), _LONGEST_BYTES)):
                self._keep_unheard(whole[at:], quiet)
                break
            given += self._heard(line, quiet)
        return given

    def end(self, *, quiet: bool = False) -> list[str]:
        """Return what stands without a line end."""
        rest, self._rest = self._rest, b""
        return self._heard(rest, quiet)

    def _heard(self, raw: bytes, quiet: bool) -> list[str]:
        shown = self._shown(raw, self._redactor)
        if not shown:
            return []
        if quiet:
            self.withheld += 1
            return []
        self._keep(shown, raw)
        return [shown]

    def _keep_unheard(self, lines: Sequence[bytes], quiet: bool) -> None:
        if quiet:
            self.withheld += len(lines)
            return
        self.unheard += len(lines)
        last = lines[-self._kept :]
        self.dropped += len(lines) - len(last)
        for line in last:
            if not line.isspace() and line:
                self._keep(_until_a_word(line), line)

    def _keep(self, line: str | bytes, raw: bytes) -> None:
        if self._overwritten and self._lines:
            self._lines.pop()
        if len(self._lines) == self._kept:
            self.dropped += 1
        self._lines.append(line)
        self._overwritten = raw.endswith(b"\r")

    def _shown(self, raw: bytes, redactor: Redactor) -> str:
        """Empty for a line that is not kept."""
        text = plain(raw[:_LONGEST_BYTES].decode("utf-8", "replace"))
        for secret in self._secrets:
            text = text.replace(secret, "********")
        if len(raw) >= _LONGEST_BYTES and self._secrets:
            # Half of one may stand where it was cut.
            text = text[: -len(self._secrets[0])]
        text = redactor.line(text, LONGEST_LINE).strip()
        return "" if self._without is not None and self._without.search(text) else text


def _until_a_word(line: bytes) -> bytes:
    """Return its beginning, without the word at the cut, which may be half of a secret."""
    if len(line) <= _UNHEARD_BYTES:
        return line
    return line[:_UNHEARD_BYTES].rpartition(b" ")[0]
