"""A recogniser in a process of this program: a speech model of transformers (see `worker`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from server.core.errors import Draining
from server.core.sound import Sound
from server.features.voice_in.server_recogniser import (
    MOST_WORDS_CHARS,
    Pieces,
    Recogniser,
    Words,
    WordTime,
)
from server.shared.speech.errors import SpeechFailed, SpeechTimeout, SpeechUnavailable
from server.shared.speech.local_worker import SpeechWorker

# Large weights come from slow disks.
LOAD_SECONDS = 600.0
# From the end of the sound to its words
WORDS_SECONDS = 60.0


class LocalRecogniser(SpeechWorker):
    """One model in one worker, one sound at a time; see `Recogniser`. `start` loads it beside everything
    else.

    `chosen`: an operator chose it, and the settings do not name it.

    Bounds of a local recogniser's worker: one sound at a time, 60 s each for sound and words; its
    log like an engine's.
    """

    def __init__(
        self,
        folder: Path,
        python: str,
        *,
        env: Mapping[str, str] | None = None,
        chosen: bool = False,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            "recogniser",
            (python, "-m", "server.features.voice_in.worker", "--model", str(folder)),
            env or {},
            load_seconds=LOAD_SECONDS,
            remedy="Set ENGINE_PYTHON to a Python with torch and transformers.",
            again=(
                "Load it again in the operator's panel." if chosen else "Start the server again."
            ),
            on_change=on_change,
        )
        self._folder, self._chosen = folder, chosen

    def cannot_load(self, reason: str) -> str:
        remedy = (
            "Load another one in the operator's panel."
            if self._chosen
            else "Set TRANSCRIPTION_LOCAL_MODEL to the folder of another one."
        )
        return f"The speech model {self._folder.name} could not be loaded ({reason}). {remedy}"

    async def recognise(
        self, sound: AsyncIterator[Sound] | Sound, *, language: str | None
    ) -> AsyncGenerator[Words, None]:
        """See `Recogniser.recognise`. The words come after the end of the sound."""
        whole = await Pieces(sound).rest()
        if whole is None:
            yield Words("", True)
            return
        header = {"type": "recognise", "language": language}
        async with self.job(header, whole.samples.tobytes()) as job:
            try:
                message = await job.next(asyncio.get_running_loop().time() + WORDS_SECONDS)
            except TimeoutError:
                raise SpeechTimeout(
                    f"The local recogniser did not finish within {WORDS_SECONDS:g} s. Choose a smaller model, or a GPU."
                ) from None
        if message is None:
            raise SpeechFailed("The local recogniser's process ended while it worked.")
        if message.type == "error":
            raise SpeechFailed("The local recogniser failed. The log has the error's name.")
        found = message.header
        times = tuple(WordTime(str(w), float(b), float(e)) for w, b, e in found["times"])
        yield Words(str(found["text"])[:MOST_WORDS_CHARS], True, times)


# The recogniser that answers: the one of the settings, or a local one that an operator has
# chosen.


class ChosenRecogniser:
    """See `Recogniser`. Owner of the chosen one, which answers once it is loaded.

    Until then, and when it fails, the one of the settings answers.

    Bounds of the recogniser that an operator chose: one; another one replaces it when its process
    has ended. That of the settings stays, and answers until the chosen one is loaded.
    """

    def __init__(
        self,
        settled: Recogniser | None,
        make: Callable[[Path], LocalRecogniser],
        on_change: Callable[[], None],
    ) -> None:
        """`settled`: that of the settings; `make(folder)`: a local one, not started yet."""
        self.settled = settled
        self._make = make
        self._on_change = on_change
        # The chosen one with the name of its folder; None without one
        self.chosen: tuple[str, LocalRecogniser] | None = None
        self._choosing = asyncio.Lock()
        self._closed = False

    @property
    def now(self) -> Recogniser | None:
        """The one that answers; None without any."""
        if self.chosen is not None and self.chosen[1].ready:
            return self.chosen[1]
        return self.settled

    @property
    def name(self) -> str:
        return self.now.name if self.now is not None else "local"

    @property
    def ready(self) -> bool:
        return self.now is not None and self.now.ready

    @property
    def elsewhere(self) -> str:
        return self.now.elsewhere if self.now is not None else ""

    async def recognise(
        self, sound: AsyncIterator[Sound] | Sound, *, language: str | None
    ) -> AsyncGenerator[Words, None]:
        """See `Recogniser.recognise`."""
        now = self.now
        if now is None:
            raise SpeechUnavailable("No recogniser is set: TRANSCRIPTION_BASE_URL is empty.")
        async with aclosing(now.recognise(sound, language=language)) as found:
            async for words in found:
                yield words

    async def choose(self, folder: Path) -> None:
        """Begin to load the model of a folder, in place of the one chosen before. Raises Draining."""
        async with self._choosing:
            await self._end()
            if self._closed:
                raise Draining("The server is about to stop and loads nothing any more.")
            chosen = self._make(folder)
            self.chosen = folder.name, chosen
            chosen.start()

    async def forget(self) -> None:
        """End the chosen one and its memory."""
        async with self._choosing:
            await self._end()

    async def _end(self) -> None:
        if self.chosen is not None:
            # Whoever comes next ends it, should this be cancelled meanwhile.
            await self.chosen[1].close()
            self.chosen = None
            if not self._closed:
                self._on_change()

    async def close(self) -> None:
        """End both; nothing is loaded after it. Safe to call twice."""
        self._closed = True
        async with AsyncExitStack() as stack:
            if self.settled is not None:
                stack.push_async_callback(self.settled.close)
            stack.push_async_callback(self.forget)
