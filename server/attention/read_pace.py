"""Decide when a text that is read over several pictures is complete, and which hint helps. Pure."""

from __future__ import annotations

from server.core.frames import Hint

# Seconds without a new line after which a text is over: with its end in view, with something
# beyond it, and before the first line
WHOLE_SECONDS = 3.0
QUIET_SECONDS = 9.0
FIRST_SECONDS = 20.0
# The longest time to speak the lines that were read, whatever a page reports
HEARING_SECONDS = 600.0
# Seconds without a new line before a hint: a person who moves on needs none
HINT_AFTER_SECONDS = 1.0
# Looks in a row with the same result, until it is the hint
_LOOKS = 2
# Seconds after which a hint that still holds is given again
AGAIN_SECONDS = 6.0


class ReadPace:
    """The course of one text. `now` is in seconds of any steady clock."""

    def __init__(self, now: float) -> None:
        # The last new line, or the last moment in which somebody was still hearing what came before
        self._news = now
        # The last new line
        self._read_at = now
        self._any = False
        self._seen: Hint | None = None
        self._count = 0
        self._given: Hint | None = None
        self._given_at = now

    def read(self, now: float) -> None:
        """Note that there was something new."""
        self._news = self._read_at = now
        self._any = True
        self._given = None

    def hearing(self, now: float) -> None:
        """Note that what was read is still being spoken."""
        self._news = max(self._news, min(now, self._read_at + HEARING_SECONDS))

    def see(self, found: Hint | None, now: float) -> Hint | None:
        """Take the advice about a picture; return it when it should be given now."""
        self._count = self._count + 1 if found is self._seen else 1
        self._seen = found
        if found is None or self._count < _LOOKS or now - self._news < HINT_AFTER_SECONDS:
            return None
        if found is self._given and now - self._given_at < AGAIN_SECONDS:
            return None
        if found is Hint.GOOD and self._any:
            return None  # its end comes next
        self._given, self._given_at = found, now
        return found

    def over(self, now: float) -> bool:
        """Return True when nothing more comes."""
        if not self._any:
            return now - self._news >= FIRST_SECONDS
        whole = self._seen is Hint.GOOD and self._count >= _LOOKS
        return now - self._news >= (WHOLE_SECONDS if whole else QUIET_SECONDS)
