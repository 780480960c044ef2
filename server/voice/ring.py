"""The last seconds of a microphone's sound, in RAM, aligned with the frames in time."""

from __future__ import annotations

import numpy as np

from server.core.sound import SOUND_RATE, Sound

# A piece that begins this much earlier or later than the end of the one before belongs to another
# stretch of sound; less is the clocks' drift.
_GAP_SECONDS = 0.25


class SoundRing:
    """Keeps the newest `seconds` of sound; the oldest is overwritten. 32 kB a second.

    Memory is taken with the first sound, and given back by `clear`.

    Bounds of a microphone's last sound: 30.3 s, 970 kB; the oldest is overwritten; freed while
    the microphone is off.
    """

    def __init__(self, seconds: float) -> None:
        self._most = round(seconds * SOUND_RATE)
        self._samples: np.ndarray[tuple[int], np.dtype[np.int16]] | None = None
        # The position after the newest sample, and the number of samples that are there
        self._at = self._count = 0
        # Time after the newest sample, monotonic seconds
        self._end = 0.0

    @property
    def seconds(self) -> float:
        """The length of what is there."""
        return self._count / SOUND_RATE

    @property
    def bytes(self) -> int:
        return 0 if self._samples is None else self._samples.nbytes

    @property
    def end(self) -> float:
        """The time after the newest sample, monotonic seconds; 0 without any."""
        return self._end

    def add(self, sound: Sound) -> None:
        """Append a piece. Silence fills a gap before it; a piece from before the end restarts the ring."""
        if not len(sound.samples):
            return
        if self._samples is None:
            self._samples = np.zeros(self._most, np.int16)
        gap = sound.captured - self._end if self._count else 0.0
        if gap < -_GAP_SECONDS or gap * SOUND_RATE >= self._most:
            self._count = 0
        elif gap > _GAP_SECONDS:
            self._append(np.zeros(round(gap * SOUND_RATE), np.int16))
        self._append(sound.samples)
        self._end = sound.end

    def slice(self, since: float, until: float) -> Sound | None:
        """Return a copy of the sound between two times, as far as it is there; None for nothing."""
        if self._samples is None or not self._count:
            return None
        first = self._end - self.seconds
        begin = max(0, round((since - first) * SOUND_RATE))
        end = min(self._count, round((until - first) * SOUND_RATE))
        if begin >= end:
            return None
        where = (self._at - self._count + np.arange(begin, end)) % self._most
        return Sound(self._samples[where], first + begin / SOUND_RATE)

    def clear(self) -> None:
        """Forget the sound and free its memory."""
        self._samples = None
        self._at = self._count = 0
        self._end = 0.0

    def _append(self, samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> None:
        assert self._samples is not None
        samples = samples[-self._most :]
        first = min(len(samples), self._most - self._at)
        self._samples[self._at : self._at + first] = samples[:first]
        self._samples[: len(samples) - first] = samples[first:]
        self._at = (self._at + len(samples)) % self._most
        self._count = min(self._most, self._count + len(samples))
