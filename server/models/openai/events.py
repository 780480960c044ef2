"""Read a chat answer: the events of its stream, or its one JSON object. What says nothing is skipped.

Source: WHATWG HTML, section 9.2.6 (event streams); OpenAI's chat completions and what others make of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import anyio
import httpx2

from server.models.base import Usage
from server.models.openai.http import TooLarge
from server.models.reply import CallPiece, Piece

# One event; with an answer's sound 65 s at 24 kHz, since some send all of it at once
MAX_EVENT_BYTES = 4 * 1024 * 1024
# A read may hold thousands of small events; other tasks run after so many.
_EVENTS_AT_A_TIME = 64
# No count of tokens is larger.
_MOST_TOKENS = 2**31
_DRAIN_SECONDS = 0.05
_GARBAGE = "The model server sent something that is no chat answer."
# Errors of reading a response beside httpx2's own: openai knows these to slip through.
_NETWORK_ERRORS = (httpx2.HTTPError, httpx2.StreamError, anyio.EndOfStream, OSError)


class BrokenStream(Exception):
    """The stream broke, or held something that it must not hold. The text is ours.

    `connection`: it broke. Outside the tree of errors: the engine makes an EngineError of it.
    """

    def __init__(self, text: str, *, connection: bool = False) -> None:
        super().__init__(text)
        self.connection = connection


class EventStream:
    """The events of one response, or its one JSON object. Close it with `aclose`."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._events = self._read()
        # It is one JSON object; None before its first byte
        self.whole: bool | None = None
        # The server reported that the answer is complete.
        self.done = False

    async def next(self, due: float) -> bytes | None:
        """Return the next event's data, None at the end.

        `due` is loop time. Raises TimeoutError, BrokenStream.
        """
        try:
            async with asyncio.timeout_at(due):
                event = await anext(self._events, None)
        except TimeoutError:
            raise  # It is an OSError, too.
        except TooLarge:
            raise BrokenStream(_GARBAGE) from None
        except _NETWORK_ERRORS:
            text = "The connection to the model server broke in mid-answer. Ask again."
            raise BrokenStream(text, connection=True) from None
        if event is not None and event.strip() == b"[DONE]":
            self.done = True
            return None
        return event

    async def _read(self) -> AsyncGenerator[bytes]:
        """Yield the data of each event."""
        rest, data, count = bytearray(), bytearray(), 0
        async for chunk in self._response.aiter_bytes():
            rest += chunk
            if self.whole is None:
                rest = rest.removeprefix(b"\xef\xbb\xbf")
            if self.whole is None and (start := bytes(rest[:64]).lstrip()):
                self.whole = start[:1] == b"{"
            if len(rest) + len(data) > MAX_EVENT_BYTES:
                raise BrokenStream(_GARBAGE)
            if self.whole:
                continue
            # A "\r" at the end may be the first half of a line end.
            end = max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, -1)) + 1
            lines, rest = bytes(rest[:end]).splitlines(), rest[end:]
            for line in lines:
                if line.startswith(b"data:"):
                    data += (b"\n" if data else b"") + line[5:].removeprefix(b" ")
                elif not line and data:
                    yield bytes(data)
                    data.clear()
                    count += 1
                    if count % _EVENTS_AT_A_TIME == 0:
                        await asyncio.sleep(0)
        if rest.startswith(b"data:"):
            data += (b"\n" if data else b"") + rest[5:].strip()
        self.done = self.done or bool(self.whole)
        if last := bytes(rest if self.whole else data):
            yield last

    async def aclose(self) -> None:
        """Read what is there behind [DONE], so that the connection is used again, and close it."""
        if self.done:
            with suppress(TimeoutError, BrokenStream, *_NETWORK_ERRORS):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    async for _ in self._events:
                        pass
        await self._events.aclose()
        await self._response.aclose()


class ChatStream(EventStream):
    """The pieces of one answer."""

    async def piece(self, due: float) -> Piece | None:
        """Return the next piece that says something, None at the end. Raises as `next` does."""
        while (event := await self.next(due)) is not None:
            if event.strip() and (piece := read_event(event)) is not None:
                return piece
        return None


def read_event(event: bytes) -> Piece | None:
    """Read an event of a stream, or a whole answer; None for one that says nothing.

    Raises BrokenStream for what is no chat answer.
    """
    try:
        data = json.loads(event.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        raise BrokenStream(_GARBAGE) from None
    if not isinstance(data, dict):
        return None
    if data.get("error") or data.get("object") == "error":
        return Piece(error=data.get("error") or data)
    choices = data.get("choices")
    if not isinstance(choices, list | None):
        raise BrokenStream(_GARBAGE)
    choice = _object(choices[0] if choices else None)
    message = _object(choice.get("delta")) or _object(choice.get("message"))
    usage = _usage(data.get("usage") or choice.get("usage"), data.get("timings"))
    finish = _text(choice.get("finish_reason"))
    if not (message or usage or finish):
        return None
    sound, spoken = _sound(data, message)
    text, thought = _texts(None if spoken is None else message.get("content") or spoken)
    return Piece(
        text,
        # Both are sent by some, with the same text.
        _text(message.get("reasoning_content")) or _text(message.get("reasoning")) or thought,
        finish,
        began=any(value for name, value in message.items() if name != "role"),
        usage=usage,
        sound=sound,
        refused=bool(message.get("refusal")),
        tools=bool(message.get("tool_calls") or message.get("function_call")),
        calls=_calls(message.get("tool_calls")),
    )


def _sound(data: dict[str, Any], message: dict[str, Any]) -> tuple[str, str | None]:
    """Return an event's sound in base64, and its words; None where its content is the sound.

    OpenAI's form is base64 PCM in `audio.data`, vLLM-Omni's a base64 WAV file in the content of an event with
    `modality` "audio".
    """
    if data.get("modality") == "audio" and isinstance(message.get("content"), str):
        return _text(message["content"]), None
    audio = _object(message.get("audio"))
    return _text(audio.get("data")), _text(audio.get("transcript"))


def _calls(value: object) -> tuple[CallPiece, ...]:
    """Return the pieces of tool calls that can be read; a whole answer's calls have no index."""
    found = []
    for place, one in enumerate(value if isinstance(value, list) else []):
        function = _object(_object(one).get("function"))
        if not function:
            continue
        index, arguments = one.get("index"), function.get("arguments")
        # Some send the object itself.
        arguments = json.dumps(arguments) if isinstance(arguments, dict) else arguments
        parts = (one.get("id"), function.get("name"), arguments)
        found.append(CallPiece(index if type(index) is int else place, *map(_text, parts)))
    return tuple(found)


def _texts(content: object) -> tuple[str, str]:
    """Return the text and the thoughts of a message's content, which may be a list of parts."""
    if not isinstance(content, list):
        return _text(content), ""
    text = thought = ""
    for part in content:
        if isinstance(part, str):
            text += part
        elif _object(part).get("type") in ("thinking", "reasoning"):
            # Mistral's holds parts of its own.
            inner = part.get("thinking", part.get("text"))
            thought += "".join(_texts(inner))
        else:
            text += _text(_object(part).get("text"))
    return text, thought


def _usage(data: object, timings: object) -> Usage | None:
    """Read the usage; older llama.cpp counts cached tokens in its timings alone."""
    if not isinstance(data, dict):
        return None
    cached = _object(data.get("prompt_tokens_details")).get("cached_tokens")
    cached = _object(timings).get("cache_n") if cached is None else cached
    counts = (data.get("prompt_tokens"), data.get("completion_tokens"), cached)
    return Usage(*map(_count, counts))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
