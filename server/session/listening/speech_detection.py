"""The sound of one microphone on its way through the speech detector, which runs in a thread."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from server.core.sound import SOUND_RATE, Sound
from server.voice.detector import CHUNK, Chunk, Detector, SpeechModel

log = logging.getLogger(__name__)

# Sound that may wait for the detector; beyond, all of it is dropped
_MOST_WAITING_SECONDS = 2.0


class SpeechDetection:
    """Owns the detector and the sound that waits for it. All methods are called on the event loop.

    `on_chunks` gets what was found, in order; `on_dropped` the number of pieces that were dropped.

    Bounds of a microphone's sound before its detector: 2 s; when full, all of it is dropped and
    counted.
    """

    def __init__(
        self,
        model: SpeechModel,
        pool: ThreadPoolExecutor | None,
        *,
        on_chunks: Callable[[list[Chunk]], None],
        on_dropped: Callable[[int], None],
        patience: Callable[[], int] = lambda: 1,
    ) -> None:
        """`pool`: None for threads of the event loop's own. `patience()`: the number of chunks that
        may wait for each other, because each way to the thread and back costs several times as much
        as a chunk.
        """
        self._model = model
        self._pool = pool
        self._on_chunks = on_chunks
        self._on_dropped = on_dropped
        self._patience = patience
        self._detector = Detector(model)
        # Sound that waits, and its samples beyond the last whole chunk
        self._waiting: deque[Sound] = deque()
        self._samples = 0
        self._detecting: asyncio.Future[list[Chunk]] | None = None

    @property
    def busy(self) -> bool:
        """True while the detector works."""
        return self._detecting is not None

    @property
    def waiting(self) -> int:
        """The number of pieces that wait."""
        return len(self._waiting)

    def add(self, sound: Sound) -> None:
        self._waiting.append(sound)
        self._samples += len(sound.samples)
        if self._samples > _MOST_WAITING_SECONDS * SOUND_RATE:
            # The machine is too slow; newer sound matters more.
            self._on_dropped(len(self._waiting))
            self._waiting.clear()
            self._samples = 0
        self._detect()

    def renew(self) -> None:
        """Take another detector: other sound follows, and the one before may be at work."""
        self._detector = Detector(self._model)
        self.close()

    def close(self) -> None:
        """Forget all sound; nothing more is found in it."""
        self._waiting.clear()
        self._samples = 0
        self._detecting = None

    def _detect(self) -> None:
        """Begin with the sound that waits, if it is enough and nothing is under way."""
        if self._detecting is not None or self._samples < CHUNK * self._patience():
            return
        first = self._waiting[0].captured
        samples = np.concatenate([piece.samples for piece in self._waiting])
        self._waiting.clear()
        self._samples %= CHUNK
        sound = Sound(samples, first)
        loop = asyncio.get_running_loop()
        self._detecting = loop.run_in_executor(self._pool, self._detector.feed, sound)
        self._detecting.add_done_callback(self._detected)

    def _detected(self, done: asyncio.Future[list[Chunk]]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if self._detecting is not done:
            return  # the microphone is off, or on again
        self._detecting = None
        if error is not None:
            log.error("speech detection failed", extra={"error": type(error).__name__})
            self._on_dropped(1)
            return
        self._on_chunks(done.result())
        self._detect()
