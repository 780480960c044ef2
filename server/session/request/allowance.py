"""Counts what one session's requests have used, and bounds its background work. Pure."""

from __future__ import annotations

from server.core.frames import Kind

_MINUTE = 60.0


class Allowance:
    """Tokens of pictures and sound of background work: so many a minute, and as many at once. `now` is in seconds of any
    steady clock.

    A request may go below zero, since its tokens are known when it is built; then it waits for as long as that takes.

    Bounds of tokens of pictures and sound of one session's background work:
    BACKGROUND_TOKENS_PER_MINUTE; beyond, it waits.
    """

    def __init__(self, tokens_per_minute: int, now: float) -> None:
        self._rate = tokens_per_minute / _MINUTE
        self._most = float(tokens_per_minute)
        self._left, self._at = self._most, now
        # Since the session's beginning: requests about questions and of background work, visual tokens of both
        self.questions = self.background = self.visual_tokens = 0
        # Requests of other programs, which have a rate of their own
        self.programs = 0

    def left(self, now: float) -> bool:
        """Return True while background work may send another request."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left > 0

    def wait(self, now: float) -> float:
        """Return the seconds until background work may send another request."""
        if self.left(now):
            return 0.0
        return -self._left / self._rate if self._rate > 0 else float("inf")

    def spent(self, kind: Kind, visual_tokens: int, now: float, *, heard: int = 0) -> None:
        """Count a request. `heard`: tokens of its sound."""
        self.visual_tokens += visual_tokens
        if kind is Kind.CHAT:
            self.questions += 1
            return
        if kind is Kind.PROGRAM:
            self.programs += 1
            return
        self.background += 1
        self.left(now)
        self._left -= visual_tokens + heard
