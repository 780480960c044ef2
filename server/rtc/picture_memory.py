"""How much of decoded pictures all cameras together may have kept. Pure; safe to call from several threads."""

from __future__ import annotations

import threading

# A macroblock: 16×16 pixels of 8 bits, 4:2:0.
MACROBLOCK_BYTES = 384
# What each camera may have kept whatever the others have: five pictures of 1920×1088, 15 MiB, which are four
# references and the present one (the most of H.264's level 4, and more than VP8's).
OWN_MACROBLOCKS = 5 * 120 * 68
# What goes beyond comes out of this, 512 MiB for all: fifteen cameras of 3840×2160 in VP8.
SHARED_MACROBLOCKS = (512 << 20) // MACROBLOCK_BYTES


class PictureMemory:
    """Who has how much of the shared part. A decoder's most counts until it is closed."""

    def __init__(self, *, own: int = OWN_MACROBLOCKS, shared: int = SHARED_MACROBLOCKS) -> None:
        """Both in macroblocks."""
        self._own = own
        self._free = shared
        self._taken: dict[object, int] = {}
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """Macroblocks of the shared part that nobody has."""
        return self._free

    def take(self, owner: object, macroblocks: int) -> bool:
        """Whether `owner`'s decoder may have so many kept in all; true counts as taking them."""
        with self._lock:
            more = macroblocks - self._own - self._taken.get(owner, 0)
            if more > self._free:
                return False
            if more > 0:
                self._taken[owner] = self._taken.get(owner, 0) + more
                self._free -= more
            return True

    def give_back(self, owner: object) -> None:
        """The owner's decoder is gone. Safe to call more than once."""
        with self._lock:
            self._free += self._taken.pop(owner, 0)
