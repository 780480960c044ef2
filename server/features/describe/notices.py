"""The remarks that a person was told of what matters, and the pause before the next. Pure."""

from __future__ import annotations

import math
from collections import deque

from server.models.base import Told

# Least seconds after something was said, and after a look that found nothing new: in these the scene is not asked about
NEWS_SECONDS, LOOK_SECONDS = 5.0, 1.0
# What was said so long ago may be said again.
_SAID_SECONDS = 60.0
_MOST_SAID = 8


class Notices:
    """One session's notices since a stream began. `now` is in monotonic seconds.

    Bounds of what was said of what matters: the last 8 texts, of one minute; another stream, camera or socket drops
    them.
    """

    def __init__(self, *, first: bool) -> None:
        """`first`: nothing was told since the person has switched it on."""
        self.first = first
        self._until: float | None = None
        self._next = -math.inf
        self._said: deque[tuple[float, str]] = deque(maxlen=_MOST_SAID)

    def anew(self) -> Notices:
        """Return those of another stream: nothing of this one is known there, and the pause goes on."""
        found = Notices(first=self.first)
        found._next = self._next
        return found

    def due(self, now: float) -> bool:
        """Find whether the scene may be asked about."""
        return now >= self._next

    def told(self, now: float) -> Told:
        """Return what the person knows."""
        recent = tuple(text for at, text in self._said if now - at < _SAID_SECONDS)
        return Told(self.first, self._until, recent)

    def answered(self, now: float, captured: float, text: str) -> None:
        """Note an answer that counts, about a frame of this capture time. `text`: "" where it had nothing new."""
        self.first = False
        self._until = captured
        self._next = now + (NEWS_SECONDS if text else LOOK_SECONDS)
        if text:
            self._said.append((now, text))
