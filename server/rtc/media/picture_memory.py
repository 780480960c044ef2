"""Limit the memory of all cameras' decoded pictures. Pure; safe to call from several threads."""

from __future__ import annotations

import threading

# Memory guaranteed to each camera. Pictures of 1920×1088 take 18 MiB in VP8, and 29 MiB in H.264 with four references
# (the most of level 4); an H.264 decoder takes 14 MiB more, and 25 picture parameter sets 4 MiB.
OWN_BYTES = 48 << 20
# Memory that all cameras share for what exceeds their own.
SHARED_BYTES = 512 << 20


class PictureMemory:
    """Tracks each decoder's part of the shared memory. Its largest demand counts until it is closed."""

    def __init__(self, *, own: int = OWN_BYTES, shared: int = SHARED_BYTES) -> None:
        self._own = own
        self._free = shared
        self._taken: dict[object, int] = {}
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """Free bytes of the shared memory."""
        return self._free

    def take(self, owner: object, size: int) -> bool:
        """Reserve `size` bytes in all for `owner`'s decoder. Returns False, and reserves nothing, when too few are left."""
        with self._lock:
            more = size - self._own - self._taken.get(owner, 0)
            if more > self._free:
                return False
            if more > 0:
                self._taken[owner] = self._taken.get(owner, 0) + more
                self._free -= more
            return True

    def give_back(self, owner: object) -> None:
        """Release the reservation of a closed decoder. Safe to call more than once."""
        with self._lock:
            self._free += self._taken.pop(owner, 0)
