"""The protocols of speech: a recogniser makes words of sound, a voice makes sound of words."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from server.core.errors import SpeechError, SpeechRefused
from server.core.sound import SOUND_RATE, Sound

# The longest sound that a recogniser takes, in seconds
MOST_SOUND_SECONDS = 60.0
# The longest text that it returns
MOST_WORDS_CHARS = 4000


@dataclass(frozen=True, slots=True)
class WordTime:
    """A word, and its place in the sound in seconds from the beginning."""

    word: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Words:
    """The whole text understood so far."""

    text: str
    # True: nothing follows
    final: bool
    # In order; empty where the recogniser gives none
    times: tuple[WordTime, ...] = ()


class Recogniser(Protocol):
    """A way from sound to words.

    Errors raised are `server.core.errors.SpeechError`s and nothing else.
    """

    @property
    def name(self) -> str:
        """One of "transcriptions", "realtime" and "local": bounded, so that it may label a metric."""
        ...

    @property
    def ready(self) -> bool:
        """True while sound can be given to it, as far as is known without a request."""
        ...

    @property
    def elsewhere(self) -> str:
        """The other machine that sound goes to; "" while it stays on this one."""
        ...

    def recognise(
        self, sound: AsyncIterator[Sound] | Sound, *, language: str | None
    ) -> AsyncGenerator[Words, None]:
        """Stream the text so far, then the whole text once with `final`.

        `sound`: all of it, or its pieces while it is spoken; the text of nothing said is empty.
        `language`: BCP 47; None lets the recogniser decide. Closing the generator (`aclose`) or
        cancelling its consumer stops the work at once.
        """
        ...

    async def close(self) -> None: ...


# Sound that comes in pieces, as one; bounded.


class Pieces:
    """Pass sound on, and keep what was passed on: at most `MOST_SOUND_SECONDS`.

    Iterating again goes on after the last piece. Raises SpeechRefused for more.

    Bounds of sound on its way to a recogniser: 60 s, 1.9 MB; more is refused. The words' stream 4
    MiB, 4,096 messages of 64 KiB on the socket, and 4,000 characters of words.
    """

    def __init__(self, sound: AsyncIterator[Sound] | Sound) -> None:
        self._source = _once(sound) if isinstance(sound, Sound) else sound
        self._kept: list[Sound] = []
        self._samples = 0
        # More came than may.
        self.too_long = False

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> Sound:
        while True:
            piece = await anext(self._source)
            if len(piece.samples):
                break
        self._samples += len(piece.samples)
        if self._samples > MOST_SOUND_SECONDS * SOUND_RATE:
            self.too_long = True
            raise _refusal()
        self._kept.append(piece)
        return piece

    async def rest(self) -> Sound | None:
        """Take what is still to come, and return everything as one; None for no sound at all."""
        async for _ in self:
            pass
        if not self._kept:
            return None
        if len(self._kept) == 1:
            return self._kept[0]
        return Sound(
            np.concatenate([piece.samples for piece in self._kept]), self._kept[0].captured
        )


def _refusal() -> SpeechError:
    return SpeechRefused(
        f"More than {MOST_SOUND_SECONDS:g} s of sound were to be recognised at once.",
        visitors=f"That was longer than {MOST_SOUND_SECONDS:g} seconds. Ask in a shorter sentence.",
    )


async def _once(sound: Sound) -> AsyncIterator[Sound]:
    yield sound
