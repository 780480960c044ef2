"""Times of two requests to the sender: for a key frame, and for the rest of a frame.

Pure: the caller gives the time. Requests for packets that are known to be missing: `holes`.
"""

from __future__ import annotations

import math

# Least time between two key frame requests.
PLI_S = 0.5
# The last packets of a frame are requested after these times without a packet, because an idle
# camera's next frame, which would reveal the loss, is far away. A sender that has not sent them yet
# ignores the request.
TAIL_AT = (0.08, 0.2)
TAIL_PACKETS = 2


class KeyFrameRequests:
    """Asks for a key frame, at most once in `PLI_S`."""

    __slots__ = ("_asked", "wanted")

    def __init__(self) -> None:
        # A key frame has to be requested.
        self.wanted = False
        # Time of the last request.
        self._asked = -PLI_S

    def due(self) -> float:
        """Return the time of the next request; infinite for never, in the past for now."""
        return self._asked + PLI_S if self.wanted else math.inf

    def take(self, now: float) -> bool:
        """Return True when one is due, and count it as sent."""
        if now < self.due():
            return False
        self._asked = now
        return True

    def anew(self) -> None:
        """Want one at once: the last request was lost."""
        self.wanted = True
        self._asked = -PLI_S


class TailRequests:
    """Asks for the last packets of the frame that is being collected."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        # Requests of `TAIL_AT` made since the frame's newest packet.
        self.asked = 0

    def due(self, last: float) -> float:
        """Return the time of the next request when no packet came after `last`; infinite for never."""
        return last + TAIL_AT[self.asked] if self.asked < len(TAIL_AT) else math.inf

    def take(self, last: float, now: float, expected: int) -> list[int]:
        """Return the 16-bit numbers to request now, from `expected` on, and count them as requested."""
        if now < self.due(last):
            return []
        while now >= self.due(last):
            self.asked += 1
        return [(expected + n) & 0xFFFF for n in range(TAIL_PACKETS)]
