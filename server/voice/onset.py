"""Find the beginning of a sound that stands out from the constant ones: a bark, a bell, a crash.

The background is followed slowly upwards and quickly downwards, so that a fan or rain becomes it.
"""

from __future__ import annotations

from server.voice.detector import CHUNK_SECONDS, Chunk

# A sound stands out by so many decibels, and is no softer than this, for so many chunks.
_ABOVE_DB = 12.0
_LEAST_DB = -50.0
_CHUNKS = 3
# Decibels a second by which the background follows
_UP_DB, _DOWN_DB = 2.0, 30.0
# Another sound begins after so long without one.
_QUIET_SECONDS = 1.0


class Onset:
    """One microphone's sounds. Speech is one, too."""

    def __init__(self) -> None:
        # dBFS; None before the first chunk
        self._background: float | None = None
        # Chunks in a row that stand out
        self._loud = 0
        # The end of the last chunk that stood out; None before one
        self._last: float | None = None

    def hears(self, chunk: Chunk) -> bool:
        """Return True once for each sound, when it is known to be one."""
        if self._background is None:
            self._background = chunk.level
            return False
        out = chunk.level >= max(_LEAST_DB, self._background + _ABOVE_DB)
        step = chunk.level - self._background
        self._background += min(_UP_DB * CHUNK_SECONDS, max(-_DOWN_DB * CHUNK_SECONDS, step))
        self._loud = self._loud + 1 if out else 0
        apart = self._last is None or chunk.at - self._last >= _QUIET_SECONDS
        if self._loud < _CHUNKS:
            return False
        self._last = chunk.end
        return apart
