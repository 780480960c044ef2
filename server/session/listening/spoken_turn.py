"""One spoken turn on its way to a question: its sound for the recogniser, and the frames of its time."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator

from server.core.frames import Frame
from server.core.sound import Sound

# Pieces of sound that wait for the recogniser: those of a turn of 30 s, and what comes before it
_MOST_PIECES = 2000
# Frames of one turn: so far apart, so many, and so many bytes of them (as 4:2:0)
_EVERY_SECONDS = 0.25
_MOST_FRAMES = 8
_MOST_FRAME_BYTES = 24 * 1024 * 1024


class SpokenTurn:
    """Owns the sound and the frames of one turn. `sound` has one reader.

    Bounds of a spoken turn: sound for the recogniser, frames of its time: 2,000 pieces, more are
    dropped and counted; 8 frames and 24 MiB, thinned with age. The next one replaces the one
    before.
    """

    def __init__(self, since: float, *, over_answer: bool = False) -> None:
        """`since`: the beginning of its sound, monotonic seconds. `over_answer`: an answer was heard then."""
        # That of the question which becomes of it
        self.id = f"v{secrets.token_hex(6)}"
        self.since = since
        self.over_answer = over_answer
        # It may be somebody else's in the room: only words that are meant for us count.
        self.doubtful = False
        # The beginning of the sound that was really there
        self.captured = since
        # The frame after the last word, while one is waited for or there; None before a pause
        self.after: asyncio.Task[Frame | None] | None = None
        # Recognises and asks; None before
        self.task: asyncio.Task[None] | None = None
        # Set when it has ended: the end of speech, and the whole sound
        self.said = 0.0
        self.whole: Sound | None = None
        self.dropped = 0
        # The client has words of it.
        self.worded = False
        self._pieces: asyncio.Queue[Sound | None] = asyncio.Queue(_MOST_PIECES)
        # No more sound follows.
        self.over = asyncio.Event()
        self._begun = False
        self._frames: deque[Frame] = deque()

    @property
    def frames(self) -> int:
        return len(self._frames)

    def add(self, sound: Sound) -> None:
        """Give the recogniser the next piece; one that does not fit is dropped and counted."""
        if self.over.is_set():
            return
        if not self._begun:
            self._begun, self.captured = True, sound.captured
        # The last place is kept for the end.
        if self._pieces.qsize() >= _MOST_PIECES - 1:
            self.dropped += 1
            return
        self._pieces.put_nowait(sound)

    def finish(self) -> None:
        """Note that no more sound follows."""
        if not self.over.is_set():
            self.over.set()
            self._pieces.put_nowait(None)

    async def sound(self) -> AsyncIterator[Sound]:
        """The pieces as they come, until `finish`."""
        while (piece := await self._pieces.get()) is not None:
            yield piece

    def show(self, frame: Frame | None) -> None:
        """Note the newest frame of the camera; it is kept when the last one is old enough."""
        if frame is None:
            return
        if self._frames and frame.captured < self._frames[-1].captured + _EVERY_SECONDS:
            return
        self._frames.append(frame)
        size = frame.width * frame.height * 3 // 2
        most = max(2, min(_MOST_FRAMES, _MOST_FRAME_BYTES // max(1, size)))
        if len(self._frames) > most:
            # The oldest neighbours that are closest to each other lose one: thinner with age
            times = [one.captured for one in self._frames]
            gaps = [later - earlier for earlier, later in zip(times, times[2:], strict=False)]
            del self._frames[1 + gaps.index(min(gaps))]

    def nearest(self, at: float) -> Frame | None:
        """Return the frame captured nearest to a time, monotonic seconds."""
        return min(self._frames, key=lambda one: abs(one.captured - at), default=None)

    def close(self) -> None:
        """Forget sound and frames, and stop what works on them."""
        self.finish()
        self.forget_pause()
        if self.task is not None:
            self.task.cancel()
        self.whole = None
        self._frames.clear()

    def forget_pause(self) -> None:
        """The person goes on: the frame after the last word is another one."""
        if self.after is not None:
            self.after.cancel()
            self.after = None
