"""Request key frames while a camera is silent, so that one follows as soon as its link is back.

Pure.

The first frame after a cut refers to lost frames, so only a key frame can be decoded, and an idle
camera's next frame is half a second away. Requests are lost in the cut, too, so they are repeated
until one gets through.

A frozen camera is not silent, because its browser still sends reports. With key frame requests it
would repeat its last picture and appear to move.
"""

from __future__ import annotations

import math

# Time without packets before the first request. A working link is never quiet for longer: an idle
# camera sends at least one frame per second, a frozen one a sender report every 0.5 to 1.5 s (RFC
# 3550, section 6.2, libwebrtc's interval).
AFTER_S = 1.8
EVERY_S = 0.2
# Requests stop after this time, when the connection is given up.
UNTIL_S = 30.0


class Silence:
    """Request times of one stream."""

    __slots__ = ("_due", "_heard", "asks")

    def __init__(self) -> None:
        # Time of the newest packet or report; infinite before the first, when nothing is requested.
        self._heard = math.inf
        self._due = math.inf
        # Requests since then
        self.asks = 0

    def heard(self, now: float) -> None:
        """Note a packet or a sender report: the silence is over."""
        self._heard = now
        self._due = now + AFTER_S
        self.asks = 0

    def deadline(self) -> float:
        """Return the time of the next request; infinite for never.

        `ask` compares `now` with exactly this number.
        """
        return self._due

    def ask(self, now: float) -> bool:
        """Return True when a key frame should be requested now, and count it as requested."""
        if now < self._due:
            return False
        self.asks += 1
        self._due = now + EVERY_S
        if self._due > self._heard + UNTIL_S:
            self._due = math.inf
        return True
