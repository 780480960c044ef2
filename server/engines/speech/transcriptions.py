"""Sound to words over HTTP: `POST /v1/audio/transcriptions` of an OpenAI-compatible server.

The answer comes as a stream of events or as a whole. Two forms of events are in use:
`transcript.text.delta` (OpenAI) and `transcription.chunk` (vLLM); both are read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack

import httpx2

from server.core.sound import SOUND_RATE, Sound
from server.engines.openai import upstream
from server.engines.openai.chat_stream import ChatStream
from server.engines.speech.base import MOST_WORDS_CHARS, Words, WordTime
from server.engines.speech.http_client import SpeechHttp
from server.engines.speech.limits import SpeechLimits
from server.engines.speech.refusals import Refusals
from server.voice.wav import wav

PATH = "/audio/transcriptions"
# The words of a minute are some kilobytes; in a stream each has an event around it.
_STREAM_BYTES = 4 * 1024 * 1024
_MOST_TIMES = 1000
# Fields that a server may refuse by name: they are left out from then on.
_OPTIONAL = ("stream", "language", "temperature")


class Transcriptions:
    """One server. `transport` replaces the network, in tests."""

    def __init__(
        self,
        address: str,
        api_key: str,
        limits: SpeechLimits,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._limits = limits
        self._refusals = Refusals("transcription server", "TRANSCRIPTION", address, PATH)
        self.http = SpeechHttp(
            self._refusals,
            api_key,
            limits,
            most_bytes=_STREAM_BYTES,
            optional=_OPTIONAL,
            transport=transport,
        )

    async def recognise(
        self, sound: Sound, *, model: str, language: str | None
    ) -> AsyncGenerator[Words, None]:
        """See `Recogniser.recognise`. Fields that the server refuses are left out from then on."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._limits.total
        due = min(deadline, now() + self._limits.first)
        fields = {"response_format": "json", "stream": "true", "temperature": "0"}
        if language:
            # ISO 639-1, as all of them expect
            fields["language"] = language.partition("-")[0].lower()
        if model:
            fields["model"] = model
        file = wav(sound.samples.tobytes(), SOUND_RATE)
        async with AsyncExitStack() as stack:
            with self.http.errors():
                async with asyncio.timeout_at(due):
                    answer = await self.http.send(fields, stack, file=file)
                kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind not in ("text/event-stream", "application/json"):
                    raise self._refusals.garbage()
                stream = ChatStream(answer.aiter_bytes(), whole=kind == "application/json")
                reading = _Reading(self._refusals)
                while (event := await stream.next(due)) is not None:
                    words = reading.take(event)
                    if words is not None:
                        yield words
                        if words.final:
                            return
                    due = min(deadline, now() + self._limits.between)
                if not (stream.done or reading.ended):
                    raise self._refusals.broken()
                yield reading.end()

    async def close(self) -> None:
        await self.http.close()


class _Reading:
    """The words of one answer so far."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._text = ""
        # The server reported that these are all.
        self.ended = False

    def take(self, event: bytes) -> Words | None:
        """Read an event of a stream, or a whole answer; return what is known then, None for nothing new.

        Raises SpeechError.
        """
        try:
            data = json.loads(event)
        except (ValueError, RecursionError):
            raise self._refusals.garbage() from None
        if not isinstance(data, dict):
            raise self._refusals.garbage()
        if data.get("error"):
            status = upstream.event_status(data["error"])
            raise self._refusals.of_status(status)
        kind = data.get("type")
        if kind == "transcript.text.delta":
            return self._more(data.get("delta"))
        if isinstance(data.get("text"), str) and kind in (None, "transcript.text.done"):
            self._text = data["text"]
            return self.end(_times(data.get("words")))
        if isinstance(choices := data.get("choices"), list):
            choice = choices[0] if choices and isinstance(choices[0], dict) else {}
            self.ended = self.ended or isinstance(choice.get("finish_reason"), str)
            delta = choice.get("delta")
            return self._more(delta.get("content") if isinstance(delta, dict) else delta)
        if isinstance(kind, str):
            # A kind of event that is not known yet
            return None
        raise self._refusals.garbage()

    def end(self, times: tuple[WordTime, ...] = ()) -> Words:
        return Words(self._text.strip()[:MOST_WORDS_CHARS], True, times)

    def _more(self, piece: object) -> Words | None:
        if not isinstance(piece, str) or not piece:
            return None
        self._text += piece
        if len(self._text) >= MOST_WORDS_CHARS:
            return self.end()
        text = self._text.strip()
        return Words(text, False) if text else None


def _times(words: object) -> tuple[WordTime, ...]:
    """Read the words' times; none for a list that is not well-formed."""
    found = []
    for one in words[:_MOST_TIMES] if isinstance(words, list) else ():
        if not isinstance(one, Mapping) or not isinstance(one.get("word"), str):
            return ()
        begin, end = _seconds(one.get("start")), _seconds(one.get("end"))
        if begin is None or end is None:
            return ()
        found.append(WordTime(one["word"].strip()[:100], begin, end))
    return tuple(found)


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        return None
    return float(value)
