"""A stand-in for what makes words of a session's speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np

from server.core.sound import Sound
from server.features.voice_in.recogniser import Transcription, WordTime
from tests.support.sounds import Samples


class FakeWords:
    """A recogniser with a script: `texts` in turn, each word as soon as sound has come for it."""

    name = "fake"
    elsewhere = ""

    def __init__(self, *texts: str) -> None:
        self.ready = True
        # Words come before the speech ends.
        self.early = True
        self.texts = list(texts)
        self.times: tuple[WordTime, ...] = ()
        self.languages: list[str | None] = []
        self.error: Exception | None = None
        # Turns that it began to hear, the sound of each, and turns whose words were given up
        self.begun = 0
        self.heard: list[Samples] = []
        self.given_up = 0
        self.hold: asyncio.Event | None = None

    async def recognise(
        self, sound: AsyncIterator[Sound], *, language: str | None
    ) -> AsyncGenerator[Transcription, None]:
        self.begun += 1
        self.languages.append(language)
        parts = []
        text = self.texts[len(self.heard) % len(self.texts)]
        try:
            async for piece in sound:
                parts.append(piece.samples)
                if self.early and len(parts) == 20:
                    yield Transcription(text.split()[0], final=False)
            if self.hold is not None:
                await self.hold.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.given_up += 1
            raise
        self.heard.append(np.concatenate(parts))
        if self.error is not None:
            raise self.error
        yield Transcription(text, final=True, times=self.times)

    async def close(self) -> None: ...
