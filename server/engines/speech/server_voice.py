"""A voice on an OpenAI-compatible server: over vLLM-Omni's socket where that is wanted, else over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx2
from pydantic import SecretStr

from server.core.errors import SpeechTimeout, SpeechUnavailable
from server.engines.openai.discovery import address_of
from server.engines.openai.own_machine import Whereabouts
from server.engines.speech.base import VoiceChunk
from server.engines.speech.synthesis import Synthesis, VoiceLimits
from server.engines.speech.synthesis_socket import NotOffered, SynthesisSocket

log = logging.getLogger(__name__)

# Seconds between two looks at a server that answers, and at one that does not
PROBE_SECONDS = 10.0
_RETRY_SECONDS = 5.0
# The socket is not tried again for so long after it was not offered.
_PAUSE_SECONDS = 60.0


class ServerVoice:
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
        limits: VoiceLimits | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        limits = limits or VoiceLimits()
        key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        self._address = address_of(base_url)
        self._limits = limits
        self._wanted = self._model = model
        self._whereabouts = Whereabouts(base_url)
        self._http = Synthesis(self._address, key, voice, limits, transport)
        self._socket = SynthesisSocket(self._address, key, voice, limits) if socket else None
        # Loop time before which the socket is not tried
        self._not_before = 0.0
        self._ready = False

    def __repr__(self) -> str:
        return f"ServerVoice(address={self._address!r}, ready={self._ready})"

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def elsewhere(self) -> str:
        return self._whereabouts.other

    async def probe(self) -> float:
        """Find whether the server answers, and its model. Returns seconds until the next look."""
        await self._whereabouts.find()
        try:
            async with asyncio.timeout(self._limits.probe):
                status, names = await self._http.models()
        except TimeoutError:
            status, names = 0, []
        # Some list no models, and speak all the same.
        ready = 0 < status < 500 and status not in (401, 403)
        if not self._wanted:
            self._model = names[0] if names else self._model
        if ready != self._ready:
            log.info(
                "voice",
                extra={"state": "ready" if ready else "unreachable", "reason": f"HTTP {status}"},
            )
        self._ready = ready
        return PROBE_SECONDS if ready else _RETRY_SECONDS

    async def speak(self, text: str, *, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        """See `Voice.speak`. A server that does not answer is not ready until it is found to answer again."""
        try:
            async with aclosing(self._speak(text, language)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except (SpeechUnavailable, SpeechTimeout):
            self._ready = False
            raise

    async def _speak(self, text: str, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        loop = asyncio.get_running_loop()
        if self._socket is not None and loop.time() >= self._not_before:
            try:
                asking = self._socket.speak(text, model=self._model, language=language)
                async with aclosing(asking) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except NotOffered:
                self._not_before = loop.time() + _PAUSE_SECONDS
                log.info("the speech socket is not offered")
        asking = self._http.speak(text, model=self._model, language=language)
        async with aclosing(asking) as chunks:
            async for chunk in chunks:
                yield chunk

    async def close(self) -> None:
        await self._http.close()
