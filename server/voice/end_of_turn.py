"""Decide by a model's word whether a pause may end a turn. Pure: silence and answers in, no clock.

The person's own silence is the least that ends a turn. A model that calls the turn unfinished makes
it wait for longer: until a later check calls it complete, at most for `MOST_WAIT_SECONDS`. Without
an answer the silence alone decides.
"""

from __future__ import annotations

from server.voice.detector import CHUNK_SECONDS

# Silence after which the model is asked, as long as it has not called the turn complete. A check
# takes about 0.1 s of a core, so there are no more.
CHECKS = (0.2, 0.4, 0.8)
# Silence that ends a turn whatever the model says
MOST_WAIT_SECONDS = 2.0


class EndOfTurn:
    """The rule for one pause after the other. Each check has a number, and takes one answer."""

    def __init__(self) -> None:
        self._number = 0
        self.begin()

    def begin(self) -> None:
        """Note that somebody speaks: what was asked or answered about the pause before holds no more."""
        # Checks of this pause so far
        self._count = 0
        # The one without an answer yet; None without any
        self._asked: int | None = None
        # The last answer, True for a turn that is complete; None without any
        self._complete: bool | None = None

    def ask(self, silence: float, wanted: float) -> int | None:
        """Return the number of the check to make now, None for none. `wanted`: the person's silence."""
        due = sum(reached(silence, one) for one in CHECKS)
        if due <= self._count or self._asked is not None or self._complete:
            return None
        if wanted >= MOST_WAIT_SECONDS:
            return None  # no answer would change anything
        self._number += 1
        self._count, self._asked = due, self._number
        return self._number

    def answer(self, number: int, complete: bool | None) -> bool:
        """Take the answer to a check, None for none; returns False where it is of no use any more."""
        if number != self._asked:
            return False
        self._asked, self._complete = None, complete
        return True

    def over(self, silence: float, wanted: float) -> bool:
        """Find whether a silence ends the turn."""
        if not reached(silence, wanted):
            return False
        waits = self._asked is not None or self._complete is False
        return not waits or reached(silence, MOST_WAIT_SECONDS)


def reached(silence: float, wanted: float) -> bool:
    """Compare a silence of whole chunks with a wish, to the nearest chunk."""
    return silence >= wanted - CHUNK_SECONDS / 2
