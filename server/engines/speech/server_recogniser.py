"""A recogniser on an OpenAI-compatible server: over the realtime socket where that is offered, else over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import httpx2
from pydantic import SecretStr

from server.core.errors import SpeechError
from server.core.sound import Sound
from server.engines.openai.discovery import address_of
from server.engines.openai.own_machine import Whereabouts
from server.engines.speech.base import Words
from server.engines.speech.realtime import NotOffered, Realtime
from server.engines.speech.transcriptions import SpeechLimits, Transcriptions
from server.engines.speech.whole_sound import Pieces

log = logging.getLogger(__name__)

# The socket is not tried again for so long after it was not offered or failed.
_PAUSE_SECONDS = 60.0


class ServerRecogniser:
    """One server; see `Recogniser`. `model` "" takes the first one that it lists.

    `realtime`: the socket is tried first. What was taken from a sound's pieces by then goes over
    HTTP when the socket fails before any words. `transport` replaces the network of HTTP, in tests.
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
        self._address = address_of(base_url)
        self._limits = limits
        self._wanted = model
        self._model = model
        self._whereabouts = Whereabouts(base_url)
        self._http = Transcriptions(self._address, key, limits, transport)
        self._socket = Realtime(self._address, key, limits) if realtime else None
        # Loop time before which the socket is not tried
        self._not_before = 0.0
        self._ready = False
        # The reason why it is not ready and the remedy, for operators; "" while it is
        self.trouble = f"Not yet asked: the transcription server at {self._address}."

    def __repr__(self) -> str:
        return f"ServerRecogniser(address={self._address!r}, ready={self._ready})"

    @property
    def name(self) -> str:
        return "realtime" if self._socket is not None else "transcriptions"

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def elsewhere(self) -> str:
        return self._whereabouts.other

    async def probe(self) -> bool:
        """Find whether the server answers, and its model; never raises an error."""
        await self._whereabouts.find()
        try:
            async with asyncio.timeout(self._limits.probe):
                status, names = await self._http.models()
        except TimeoutError:
            status, names = 0, []
        # Some list no models, and take sound all the same.
        ready = 0 < status < 500 and status not in (401, 403)
        if not self._wanted:
            self._model = names[0] if names else self._model
        if ready != self._ready:
            log.info(
                "recogniser",
                extra={"state": "ready" if ready else "unreachable", "reason": f"HTTP {status}"},
            )
        self._ready = ready
        self.trouble = "" if ready else self._http.trouble(status)
        return ready

    async def recognise(
        self, sound: AsyncIterator[Sound] | Sound, *, language: str | None
    ) -> AsyncGenerator[Words, None]:
        """See `Recogniser.recognise`."""
        pieces = Pieces(sound)
        if self._socket is not None and asyncio.get_running_loop().time() >= self._not_before:
            said = False
            try:
                async with aclosing(self._socket.recognise(pieces, model=self._model)) as found:
                    async for words in found:
                        said = True
                        yield words
                return
            except (NotOffered, SpeechError) as exc:
                if said or pieces.too_long:
                    raise
                self._not_before = asyncio.get_running_loop().time() + _PAUSE_SECONDS
                log.info("the realtime socket was not used", extra={"reason": type(exc).__name__})
        whole = await pieces.rest()
        if whole is None:
            yield Words("", True)
            return
        asking = self._http.recognise(whole, model=self._model, language=language)
        async with aclosing(asking) as found:
            async for words in found:
                yield words

    async def close(self) -> None:
        await self._http.close()
