"""A voice on an OpenAI-compatible server: over vLLM-Omni's socket where that is wanted, else over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx2
from pydantic import SecretStr

from server.core.errors import SpeechTimeout, SpeechUnavailable
from server.engines.openai.bounded_socket import NotOffered
from server.engines.openai.discovery import address_of
from server.engines.speech.limits import SpeechLimits, VoiceLimits
from server.engines.speech.server_state import SpeechServer
from server.engines.speech.synthesis import Synthesis
from server.engines.speech.synthesis_socket import SynthesisSocket
from server.voice.pcm import VoiceChunk

# Seconds between two looks at a server that answers, and at one that does not
PROBE_SECONDS = 10.0
_RETRY_SECONDS = 5.0


class ServerVoice(SpeechServer):
    """One server; see `Voice`. `model` "" takes the first one that it lists, `voice` "" its own.

    `socket`: vLLM-Omni's socket is tried first. `transport` replaces the network of HTTP, in tests.
    """

    name = "server"

    def __init__(
        self,
        *,
        base_url: str,
        api_key: SecretStr | str = "",
        model: str = "",
        voice: str = "",
        socket: bool = False,
        limits: SpeechLimits | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        limits = limits or VoiceLimits()
        key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        address = address_of(base_url)
        self._http = Synthesis(address, key, voice, limits, transport)
        self._socket = SynthesisSocket(address, key, voice, limits)
        super().__init__(
            "speech server",
            base_url,
            self._http.http,
            model=model,
            socket=socket,
            seconds=limits.probe,
        )

    async def probe(self) -> float:
        """Find whether the server answers, and its model. Returns seconds until the next look."""
        return PROBE_SECONDS if await self._state.probe() else _RETRY_SECONDS

    async def speak(self, text: str, *, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        """See `Voice.speak`. A server that does not answer is not ready until it is found to answer again."""
        try:
            async with aclosing(self._speak(text, language)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except (SpeechUnavailable, SpeechTimeout) as error:
            self._state.failed(error.message)
            raise

    async def _speak(self, text: str, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        model = self._state.model
        if self._state.tries_socket:
            try:
                asking = self._socket.speak(text, model=model, language=language)
                async with aclosing(asking) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except NotOffered as exc:
                self._state.socket_failed(exc)
        asking = self._http.speak(text, model=model, language=language)
        async with aclosing(asking) as chunks:
            async for chunk in chunks:
                yield chunk
