"""The words of what a person said: the one way on which a session's sound goes to the recogniser."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from server.core.errors import SpeechUnavailable
from server.core.sound import Sound
from server.engines.speech.base import Words
from server.session.request.builder import RequestBuilder
from server.session.request.session_tools import SessionTools


class Recognising:
    """One session's use of the server's recogniser."""

    def __init__(self, tools: SessionTools, requests: RequestBuilder) -> None:
        self._tools = tools
        self._requests = requests

    @property
    def available(self) -> bool:
        """True while there is a recogniser that answers."""
        return self._tools.recogniser is not None and self._tools.recogniser.ready

    async def words(self, sound: AsyncIterator[Sound] | Sound) -> AsyncGenerator[Words, None]:
        """See `Recogniser.recognise`; in the language that the client has set.

        Raises NotConfirmed before any sound is sent to a machine without consent, and SpeechError.
        """
        recogniser = self._tools.recogniser
        if recogniser is None:
            raise SpeechUnavailable("No recogniser is set: TRANSCRIPTION_BASE_URL is empty.")
        self._requests.consent.check_sound()
        language = self._requests.preferences.language or None
        async with aclosing(recogniser.recognise(sound, language=language)) as found:
            async for words in found:
                yield words
