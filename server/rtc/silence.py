"""A camera that is not heard of: its link may be cut, and a key frame has to be on its way when it comes back. Pure.

The first frame behind a cut refers to what was lost in it, so it is of use only as a key frame; an idle camera's next one
is half a second later. Requests are lost in the cut, too: hence one after the other, of which the last comes through.
"""

from __future__ import annotations

import math

# Longer than an idle camera is ever quiet, which sends one frame a second or more.
AFTER_S = 1.6
EVERY_S = 0.2
# By then the connection is given up, or the camera stands still by itself.
UNTIL_S = 30.0


class Silence:
    """One stream's."""

    __slots__ = ("_due", "_heard", "asks")

    def __init__(self) -> None:
        # When the newest packet came; before the first there is nothing to come back to.
        self._heard = math.inf
        self._due = math.inf
        # Key frames asked for since then
        self.asks = 0

    def heard(self, now: float) -> None:
        """A packet came."""
        self._heard = now
        self._due = now + AFTER_S
        self.asks = 0

    def deadline(self) -> float:
        """When `ask` has something to say; infinite for never. It compares with the very number returned here."""
        return self._due

    def ask(self, now: float) -> bool:
        """Whether to ask for a key frame now; true counts as asking."""
        if now < self._due:
            return False
        self.asks += 1
        self._due = now + EVERY_S
        if self._due > self._heard + UNTIL_S:
            self._due = math.inf
        return True
