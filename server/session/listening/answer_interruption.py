"""Lower, pause and stop the spoken answer when somebody speaks over it."""

from __future__ import annotations

from typing import Protocol

from server.voice.barge_in import BargeIn, Loudness
from server.voice.detector import Chunk
from server.voice.foreground import Voice


class Talker(Protocol):
    """The speech of answers."""

    @property
    def talking(self) -> bool:
        """True while an answer is spoken, however softly."""
        ...

    def lower(self) -> None: ...

    def hush(self) -> None:
        """Pause where it is."""
        ...

    def restore(self) -> None:
        """Go on where it was, at full loudness."""
        ...

    def stop(self) -> object:
        """Stop it, and the answer behind it."""
        ...


class AnswerInterruption:
    """Owns the state of one interruption. Does nothing where no answers are spoken."""

    def __init__(self, talker: Talker | None) -> None:
        self._talker = talker
        self._barge_in = BargeIn()

    @property
    def answering(self) -> bool:
        """True while an answer is heard, or about to be."""
        return self._talker is not None and self._talker.talking

    def hear(self, chunk: Chunk, voice: Voice) -> None:
        """Take the next chunk of the microphone's sound, and who speaks in it."""
        change = self._barge_in.hear(chunk, voice, talking=self.answering)
        if change is not None:
            self._set(change)

    def stop(self) -> None:
        """Stop an answer at once."""
        if self._talker is not None and self._talker.talking:
            self._talker.stop()

    def end(self) -> None:
        """Let an answer that was lowered go on: nobody is heard over it any more."""
        if self._barge_in.now is not Loudness.FULL:
            self._set(Loudness.FULL)
        self._barge_in.reset()

    def _set(self, loudness: Loudness) -> None:
        if self._talker is None:
            return
        match loudness:
            case Loudness.FULL:
                self._talker.restore()
            case Loudness.LOWERED:
                self._talker.lower()
            case Loudness.HUSHED:
                self._talker.hush()
            case Loudness.STOPPED:
                self._talker.stop()
