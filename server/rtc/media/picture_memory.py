"""How much of decoded pictures all cameras together may have kept. Pure; safe to call from several threads."""

from __future__ import annotations

import threading

# What each camera may have kept whatever the others have. Pictures of 1920×1088 are 18 MiB in VP8, and 29 MiB in H.264 with
# four references (the most of level 4); a decoder of H.264 takes 14 MiB beside them, and 25 picture parameter sets 4 MiB.
OWN_BYTES = 48 << 20
# What goes beyond comes out of this, for all cameras.
SHARED_BYTES = 512 << 20


class PictureMemory:
    """Who has how much of the shared part. A decoder's most counts until it is closed."""

    def __init__(self, *, own: int = OWN_BYTES, shared: int = SHARED_BYTES) -> None:
        self._own = own
        self._free = shared
        self._taken: dict[object, int] = {}
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """Bytes of the shared part that nobody has."""
        return self._free

    def take(self, owner: object, size: int) -> bool:
        """Whether `owner`'s decoder may have so many bytes kept in all; true counts as taking them."""
        with self._lock:
            more = size - self._own - self._taken.get(owner, 0)
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
