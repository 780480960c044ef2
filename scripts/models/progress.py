"""Show the progress of a long run, and notice when it stalls."""

from __future__ import annotations

import json as json_lines
import sys
import time

from scripts.models.disk import in_words
from scripts.models.trouble import ModelError, say

# Less than so much in so long is no download: 3.5 KB/s.
LEAST_BYTES = 1024 * 1024
STALL_SECONDS = 300.0
# More than so little may be thrown away so often, where a hub does not go on in the middle of a
# file.
MOST_RESTARTS = 20


class Progress:
    """Shows the progress: on a terminal one line that changes, elsewhere a line now and then.

    `json`: for a program, as lines of JSON on standard output: `phase`, `done`, `total` (bytes).
    """

    def __init__(self, what: str, total: int, done: int = 0, *, json: bool = False) -> None:
        self._json = json
        self._what = what
        self._total = total
        self._first = done
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._next = self._began + (0.0 if json else 0.5 if self._terminal else 10.0)
        self._in_line = False

    def show(self, done: int, *, last: bool = False) -> None:
        now = time.monotonic()
        if now < self._next and not (last and (self._terminal or self._json)):
            return
        if self._json:
            self._next = now + 0.5
            told = {"phase": self._what.lower(), "done": done, "total": self._total}
            print(json_lines.dumps(told), flush=True)
            return
        self._next = now + (0.5 if self._terminal else 10.0)
        rate = max(0, done - self._first) / max(0.1, now - self._began)
        # The first bytes show little of the rest.
        known = rate > 0 and done - self._first >= LEAST_BYTES
        left = f", {_duration((self._total - done) / rate)} left" if known and not last else ""
        text = (
            f"{self._what} {100 * done // max(1, self._total)} %: {in_words(done)} of {in_words(self._total)},"
            f" {in_words(rate)}/s{left}"
        )
        if self._terminal:
            print(f"\r\x1b[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
            self._in_line = not last
        else:
            say(text)

    def end(self) -> None:
        """End the progress line, so that the next output begins a new line."""
        if self._in_line:
            self._in_line = False
            say("")


class Stall:
    """A server that sends a byte now and then breaks no other rule. `now` is monotonic seconds."""

    def __init__(self, done: int, now: float) -> None:
        self._done = done
        self._at = now
        self._restarts = 0

    def look(self, done: int, now: float) -> None:
        """Raises ModelError when hardly anything came for long, or again and again what came is
        thrown away.
        """
        if done < self._done:
            self._restarts += self._done - done >= LEAST_BYTES
            self._done = done
            if self._restarts > MOST_RESTARTS:
                raise ModelError(
                    f"The connection broke {self._restarts} times, and what had come was of no use: the hub does not go on in the"
                    " middle of a file. Set HF_ENDPOINT to another mirror, or fetch it by other means."
                )
        if done - self._done >= LEAST_BYTES:
            self._done, self._at = done, now
        elif now - self._at > STALL_SECONDS:
            raise ModelError(
                f"Hardly anything came for {STALL_SECONDS / 60:g} minutes ({in_words(done - self._done)}). Check the network, or"
                " set HF_ENDPOINT to a mirror; run this again: what came is kept."
            )


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes + 1} min"
