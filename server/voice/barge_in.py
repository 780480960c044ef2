"""React to speech over the answer: lower it at once, hush it, stop it, or let it go on.

The first chunk of speech lowers the answer, and the person's of 60 ms hushes it; nothing is lost so far. Their speech of
250 ms within 400 ms stops it. Who may be somebody else in the room lowers it, no more. After 400 ms without speech it goes
on where it was.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from server.voice.detector import CHUNK_SECONDS, Chunk
from server.voice.foreground import Voice

# Speech that hushes the answer and that stops it, in chunks of the last 400 ms
_HUSH, _STOP = 2, 8
_WINDOW = round(0.4 / CHUNK_SECONDS)


class Loudness(IntEnum):
    """The loudness at which the answer is played, from louder to softer."""

    FULL = 0
    LOWERED = 1
    HUSHED = 2
    STOPPED = 3


class BargeIn:
    """The rule for one answer after the other: `hear` gets each chunk of the microphone."""

    def __init__(self) -> None:
        self._heard: deque[Voice] = deque(maxlen=_WINDOW)
        self._now = Loudness.FULL

    @property
    def now(self) -> Loudness:
        return self._now

    def hear(self, chunk: Chunk, voice: Voice, *, talking: bool) -> Loudness | None:
        """Return how the answer is to be played from now on, or None for no change.

        `voice`: who speaks in the chunk; `talking`: an answer is played, however softly.
        """
        if not talking:
            self.reset()
            return None
        if self._now is Loudness.STOPPED:
            return None
        self._heard.append(voice)
        sure = sum(one is Voice.PERSON for one in self._heard)
        # The weaker chunks of the person's own words count, once they are surely theirs.
        count = sum(map(bool, self._heard)) if sure >= _HUSH else sure
        if count >= _STOP:
            wanted = Loudness.STOPPED
        elif count >= _HUSH:
            wanted = Loudness.HUSHED
        else:
            wanted = Loudness.LOWERED if any(self._heard) else Loudness.FULL
        # Softer only, until nothing is heard any more
        if wanted is self._now or (wanted < self._now and wanted is not Loudness.FULL):
            return None
        self._now = wanted
        return wanted

    def reset(self) -> None:
        """Begin with the next answer."""
        self._heard.clear()
        self._now = Loudness.FULL
