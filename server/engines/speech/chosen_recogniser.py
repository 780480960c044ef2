"""The recogniser that answers: the one of the settings, or a local one that an operator has chosen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from server.core.errors import Draining, SpeechUnavailable
from server.core.sound import Sound
from server.engines.speech.base import Recogniser, Words
from server.engines.speech.local_recogniser import LocalRecogniser


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
        self._settled = settled
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
        return self._settled

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
            if self._settled is not None:
                stack.push_async_callback(self._settled.close)
            stack.push_async_callback(self.forget)
