"""Sound to words over HTTP: `POST /v1/audio/transcriptions` of an OpenAI-compatible server.

The answer comes as a stream of events or as a whole. Two forms of events are in use:
`transcript.text.delta` (OpenAI) and `transcription.chunk` (vLLM); both are read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx2

from server.core.sound import SOUND_RATE, Sound
from server.engines.openai import upstream
from server.engines.openai.bounded_http import AnswerRefused, BoundedTransport, Bounds
from server.engines.openai.chat_stream import BrokenStream, ChatStream
from server.engines.speech.base import MOST_WORDS_CHARS, Words, WordTime
from server.engines.speech.refusals import Refusals
from server.voice.wav import wav

log = logging.getLogger(__name__)

PATH = "/audio/transcriptions"
# The words of a minute are some kilobytes; in a stream each has an event around it.
_STREAM_BYTES = 4 * 1024 * 1024
_MOST_TIMES = 1000
# Fields that a server may refuse by name: they are left out from then on.
_OPTIONAL = ("stream", "language", "temperature")


@dataclass(frozen=True, slots=True)
class SpeechLimits:
    """Seconds."""

    connect: float = 3.0
    # From sending the request, or the end of what was said, to the first piece
    first: float = 20.0
    between: float = 10.0
    # The whole answer
    total: float = 60.0
    probe: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"The time limit {name} is {value}; it must be more than 0 seconds."
                )


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
        self._optional = set(_OPTIONAL)
        for library in ("httpx2", "httpcore2"):
            logging.getLogger(library).setLevel(logging.WARNING)
        network = transport or httpx2.AsyncHTTPTransport(
            trust_env=False, limits=httpx2.Limits(max_connections=64, keepalive_expiry=4.0)
        )
        self._address = address
        self._client = httpx2.AsyncClient(
            transport=BoundedTransport(network, self._bounds),
            # Sound goes to the configured address and nowhere else: no proxy, no redirect.
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=limits.connect, write=10.0, pool=1.0),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        )

    async def models(self) -> tuple[int, list[str]]:
        """List its models. Returns the HTTP status with the names, 0 when nothing answers."""
        try:
            answer = await self._client.get(f"{self._address}/models")
            data = json.loads(answer.content) if answer.status_code == 200 else {}
        except httpx2.HTTPError:
            return 0, []
        except (ValueError, RecursionError):
            return 200, []
        listed = data.get("data") if isinstance(data, dict) else None
        cards = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        names = [one["id"] for one in cards if isinstance(one.get("id"), str) and one["id"]]
        return answer.status_code, [name for name in names if len(name) <= 1024]

    def trouble(self, status: int) -> str:
        """Say for operators what an HTTP status means and what to do; 0: nothing answers."""
        error = self._refusals.of_status(status) if status else self._refusals.unreachable()
        return error.message

    async def recognise(
        self, sound: Sound, *, model: str, language: str | None
    ) -> AsyncGenerator[Words, None]:
        """See `Recogniser.recognise`. Fields that the server refuses are left out from then on."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._limits.total
        file = wav(sound.samples.tobytes(), SOUND_RATE)
        async with AsyncExitStack() as stack:
            try:
                answer = await self._send(file, model, language, stack)
                kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind not in ("text/event-stream", "application/json"):
                    raise self._refusals.garbage()
                stream = ChatStream(answer.aiter_bytes(), whole=kind == "application/json")
                reading = _Reading(self._refusals)
                due = min(deadline, now() + self._limits.first)
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
            except (TimeoutError, httpx2.ReadTimeout, httpx2.WriteTimeout):
                raise self._refusals.too_slow() from None
            except BrokenStream:
                raise self._refusals.broken() from None
            except AnswerRefused as exc:
                raise self._refusals.garbage(str(exc)) from None
            except httpx2.HTTPError:
                raise self._refusals.unreachable() from None

    async def _send(
        self, file: bytes, model: str, language: str | None, stack: AsyncExitStack
    ) -> httpx2.Response:
        """Send until it is taken. Raises SpeechError and httpx2's errors."""
        while True:
            fields = {"response_format": "json", "stream": "true", "temperature": "0"}
            if language:
                # ISO 639-1, as all of them expect
                fields["language"] = language.partition("-")[0].lower()
            fields = {k: v for k, v in fields.items() if k in self._optional or k not in _OPTIONAL}
            if model:
                fields["model"] = model
            request = self._client.build_request(
                "POST",
                f"{self._address}{PATH}",
                data=fields,
                files={"file": ("speech.wav", file, "audio/wav")},
            )
            answer = await self._client.send(request, stream=True)
            if answer.status_code < 300:
                stack.push_async_callback(answer.aclose)
                return answer
            try:
                body = await _body(answer)
            finally:
                await answer.aclose()
            sent = self._optional & fields.keys()
            named = upstream.refused_fields(body, sent) if answer.status_code in (400, 422) else ()
            if not named:
                wait = answer.headers.get("retry-after", "")
                raise self._refusals.of_status(
                    answer.status_code, min(float(wait), 600.0) if wait.isdecimal() else None
                )
            self._optional -= set(named)
            for name in named:
                log.info("the transcription server refuses a field", extra={"field": name})

    def _bounds(self, request: httpx2.Request) -> Bounds:
        if request.url.path.endswith(PATH):
            return Bounds(_STREAM_BYTES, self._limits.total)
        return Bounds(seconds=self._limits.probe)

    async def close(self) -> None:
        await self._client.aclose()


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


async def _body(answer: httpx2.Response) -> object:
    """Return the body of a refusal, for comparing only."""
    try:
        return json.loads(await answer.aread())
    except (ValueError, RecursionError):
        return None
