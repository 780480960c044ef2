"""A camera that is not heard of: its link may be cut, and a key frame has to be on its way when it comes back. Pure.

The first frame behind a cut refers to what was lost in it, so it is of use only as a key frame; an idle camera's next one
is half a second later. Requests are lost in the cut, too: hence one after the other, of which the last comes through.

A camera that stands still is no silence, for its browser goes on reporting: asked for key frames it would send its last
picture again and again, and seem to move.
"""

from __future__ import annotations

import math

# Longer than a link that works is ever quiet: an idle camera sends one frame a second or more, and one that stands still a
# sender report every 0.5 to 1.5 s (RFC 3550, section 6.2, as libwebrtc does it for video).
AFTER_S = 1.8
EVERY_S = 0.2
# By then the connection is given up.
UNTIL_S = 30.0


class Silence:
    """One stream's."""

    __slots__ = ("_due", "_heard", "asks")

    def __init__(self) -> None:
        # When the newest one came; before the first there is nothing to come back to.
        self._heard = math.inf
        self._due = math.inf
        # Key frames asked for since then
        self.asks = 0

    def heard(self, now: float) -> None:
        """A packet or a sender report came."""
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
