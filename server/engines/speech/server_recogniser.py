"""A recogniser on an OpenAI-compatible server: over the realtime socket where that is offered, else over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import httpx2
from pydantic import SecretStr

from server.core.errors import SpeechError
from server.core.sound import Sound
from server.engines.openai.bounded_socket import NotOffered
from server.engines.openai.discovery import address_of
from server.engines.speech.base import Words
from server.engines.speech.limits import SpeechLimits
from server.engines.speech.realtime import Realtime
from server.engines.speech.server_state import SpeechServer
from server.engines.speech.transcriptions import Transcriptions
from server.engines.speech.whole_sound import Pieces


class ServerRecogniser(SpeechServer):
    """One server; see `Recogniser`. `model` "" takes the first one that it lists.

    `realtime`: the socket is tried first. When it fails before any words, the sound so far goes over
    HTTP. `transport` replaces the network of HTTP, in tests.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: SecretStr | str = "",
        model: str = "",
        realtime: bool = False,
        limits: SpeechLimits | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        limits = limits or SpeechLimits()
        key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        address = address_of(base_url)
        self.name = "realtime" if realtime else "transcriptions"
        self._http = Transcriptions(address, key, limits, transport)
        self._socket = Realtime(address, key, limits)
        super().__init__(
            "transcription server",
            base_url,
            self._http.http,
            model=model,
            socket=realtime,
            seconds=limits.probe,
        )

    async def probe(self) -> bool:
        """Find whether the server answers, and its model; never raises an error."""
        return await self._state.probe()

    async def recognise(
        self, sound: AsyncIterator[Sound] | Sound, *, language: str | None
    ) -> AsyncGenerator[Words, None]:
        """See `Recogniser.recognise`."""
        pieces = Pieces(sound)
        model = self._state.model
        if self._state.tries_socket:
            said = False
            try:
                async with aclosing(self._socket.recognise(pieces, model=model)) as found:
                    async for words in found:
                        said = True
                        yield words
                return
            except (NotOffered, SpeechError) as exc:
                if said or pieces.too_long:
                    raise
                self._state.socket_failed(exc)
        whole = await pieces.rest()
        if whole is None:
            yield Words("", True)
            return
        asking = self._http.recognise(whole, model=model, language=language)
        async with aclosing(asking) as found:
            async for words in found:
                yield words
