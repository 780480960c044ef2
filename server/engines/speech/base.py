"""The protocols of speech: a recogniser makes words of sound, a voice makes sound of words."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from server.core.sound import Sound
from server.voice.pcm import VoiceChunk

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


class Voice(Protocol):
    """A way from words to sound.

    Errors raised are `server.core.errors.SpeechError`s and nothing else.
    """

    @property
    def name(self) -> str:
        """Bounded, so that it may label a metric."""
        ...

    @property
    def ready(self) -> bool:
        """True while a text can be given to it, as far as is known without a request."""
        ...

    @property
    def elsewhere(self) -> str:
        """The other machine that texts go to; "" while they stay on this one."""
        ...

    def speak(self, text: str, *, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        """Stream the sound of a text. `language`: BCP 47; None lets the voice decide.

        Closing the generator (`aclose`) or cancelling its consumer stops the work at once.
        """
        ...

    async def close(self) -> None: ...
