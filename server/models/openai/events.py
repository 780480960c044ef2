"""Parse a chat answer: an event stream, or a single JSON object.

Sources: WHATWG HTML, section 9.2.6 (event streams); OpenAI's chat completions and their variants.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import anyio
import httpx2

from server.models.answer_parser import CallPiece, Piece
from server.models.base import Usage
from server.models.openai.http import ResponseTooLarge

# Maximum size of an event: 65 s of sound at 24 kHz, which some servers send at once
MAX_EVENT_BYTES = 4 * 1024 * 1024
# Events handled before yielding to other tasks: a read may return thousands
_EVENTS_AT_A_TIME = 64
# Maximum plausible token count
_MOST_TOKENS = 2**31
_DRAIN_SECONDS = 0.05
_PAGE = "The program there is not an OpenAI-compatible model server."
_GARBAGE = "The model server sent something that is no chat answer."
# Errors of reading a response, including those that httpx2 does not wrap
_NETWORK_ERRORS = (httpx2.HTTPError, httpx2.StreamError, anyio.EndOfStream, OSError)


class BrokenStream(Exception):
    """A broken or invalid stream; the text contains nothing from the server.

    `connection`: the connection broke. Not a QwenCameraError: the engine turns it into an EngineError.
    """

    def __init__(self, text: str, *, connection: bool = False) -> None:
        super().__init__(text)
        self.connection = connection


class EventStream:
    """The events of one response, or its single JSON object. Close it with `aclose`."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._events = self._read()
        # True for a single JSON object; None before the first byte
        self.whole: bool | None = None
        # The server reported the end of the answer
        self.done = False

    async def next(self, due: float) -> bytes | None:
        """Return the next event's data; None at the end.

        `due`: loop time. Raises TimeoutError, BrokenStream.
        """
        try:
            async with asyncio.timeout_at(due):
                event = await anext(self._events, None)
        except TimeoutError:
            raise  # It is an OSError, which the next clauses catch.
        except ResponseTooLarge:
            raise BrokenStream(_GARBAGE) from None
        except _NETWORK_ERRORS:
            text = "The connection to the model server broke in mid-answer. Ask again."
            raise BrokenStream(text, connection=True) from None
        if event is not None and event.strip() == b"[DONE]":
            self.done = True
            return None
        return event

    async def _read_lines(self) -> AsyncGenerator[bytes]:
        """Yield the lines of a stream, or a JSON object as one line."""
        rest = bytearray()
        async for chunk in self._response.aiter_bytes():
            rest += chunk
            if self.whole is None:
                rest = rest.removeprefix(b"\xef\xbb\xbf")
                start = bytes(rest[:64]).lstrip()[:1]
                if start == b"<":
                    raise BrokenStream(_PAGE)
                self.whole = start in b"{[" if start else None
            if len(rest) > MAX_EVENT_BYTES:
                raise BrokenStream(_GARBAGE)
            if not self.whole:
                # A final "\r" may be the first half of "\r\n".
                end = max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, -1)) + 1
                lines, rest = bytes(rest[:end]).splitlines(), rest[end:]
                for line in lines:
                    yield line
        if rest:
            yield bytes(rest)

    async def _read(self) -> AsyncGenerator[bytes]:
        """Yield the data of each event."""
        data, name, count = b"", b"", 0
        async for line in self._read_lines():
            if self.whole:
                self.done = True
                yield line
                return
            key, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            # llama.cpp before September 2025 has lines "error: {...}".
            name = value if key == b"event" else b"error" if key == b"error" else name
            if key in (b"data", b"error"):
                data += (b"\n" if data else b"") + value
                if len(data) > MAX_EVENT_BYTES:
                    raise BrokenStream(_GARBAGE)
            elif not line:
                # Events with other names, such as ping, are ignored unless they carry JSON.
                if name == b"error":
                    yield b'{"error":%b}' % (data or b"1")
                elif data and (name in (b"", b"message") or data.startswith(b"{")):
                    yield data
                data = name = b""
                count += 1
                if count % _EVENTS_AT_A_TIME == 0:
                    await asyncio.sleep(0)
        if data:
            yield data

    async def aclose(self) -> None:
        """Close the response; read its end first, so that the connection can be reused."""
        if self.done:
            with suppress(TimeoutError, BrokenStream, *_NETWORK_ERRORS):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    async for _ in self._events:
                        pass
        await self._events.aclose()
        await self._response.aclose()


class ChatStream(EventStream):
    """The stream of pieces of one answer."""

    # True after a first piece: a complete message that follows repeats the answer
    _streamed = False

    async def piece(self, due: float) -> Piece | None:
        """Return the next piece with content; None at the end. Raises what `next` raises."""
        while (event := await self.next(due)) is not None:
            piece = read_event(event, streamed=self._streamed) if event.strip() else None
            if piece is not None:
                self._streamed = self._streamed or piece.began
                return piece
        return None


def read_event(event: bytes, *, streamed: bool = False) -> Piece | None:
    """Return the piece in an event or in a complete answer; None if it has no content.

    `streamed`: a part of the answer has arrived, so a complete answer is ignored. Raises BrokenStream for an invalid
    event.
    """
    try:
        data = json.loads(event.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        raise BrokenStream(_GARBAGE) from None
    # Gemini sends errors in a list.
    data = _to_object(data[0] if isinstance(data, list) and data else data)
    choices = data.get("choices")
    if not isinstance(choices, list | None):
        raise BrokenStream(_GARBAGE)
    choice = next((one for one in map(_to_object, choices or ()) if not one.get("index")), {})
    if (error := _get_error(data, choice)) is not None:
        return Piece(error=error)
    message = _to_object(choice.get("delta")) or (
        _to_object(choice.get("message")) if not streamed else {}
    )
    usage = _parse_usage(data.get("usage") or choice.get("usage"), data.get("timings"))
    finish = _finish(choice.get("finish_reason"))
    if not (message or usage or finish):
        return None
    sound, spoken = _get_sound(data, message)
    text, thought = _get_texts(None if spoken is None else message.get("content") or spoken)
    return Piece(
        text,
        # Some servers send both, with the same text.
        _to_text(message.get("reasoning_content")) or _to_text(message.get("reasoning")) or thought,
        finish,
        began=any(value for name, value in message.items() if name != "role"),
        usage=usage,
        sound=sound,
        refused=bool(message.get("refusal")),
        tools=bool(message.get("tool_calls") or message.get("function_call")),
        calls=_get_calls(message.get("tool_calls")),
    )


def _get_error(data: dict[str, Any], choice: dict[str, Any]) -> object:
    """Return the error in an event, in OpenAI's format or as a bare object; None if there is none."""
    if (error := data.get("error") or choice.get("error")) or data.get("object") == "error":
        return error or data
    bare = "choices" not in data and "usage" not in data
    said = any(data.get(one) for one in ("message", "detail", "title", "errors", "error_msg"))
    return data if bare and said else None


def _finish(reason: object) -> str:
    """Return OpenAI's name for the finish reason, "error" for a failure, "" before the end."""
    said = reason.lower() if isinstance(reason, str) else ""
    if said in ("", "null", "none"):
        return ""
    if "length" in said or "max_tokens" in said:
        return "length"
    if re.search("error|abort|cancel|fail|timeout|insufficient", said):
        return "error"
    filtered = re.search("filter|safety|sensitive|recitation", said)
    return "content_filter" if filtered else "stop"


def _get_sound(data: dict[str, Any], message: dict[str, Any]) -> tuple[str, str | None]:
    """Return an event's sound (base64) and its transcript; the transcript is None if the content is the sound.

    OpenAI sends base64 PCM in `audio.data`; vLLM-Omni sends a base64 WAV file in the content of an event with
    `modality` "audio".
    """
    if data.get("modality") == "audio" and isinstance(message.get("content"), str):
        return _to_text(message["content"]), None
    audio = _to_object(message.get("audio"))
    return _to_text(audio.get("data")), _to_text(audio.get("transcript"))


def _get_calls(value: object) -> tuple[CallPiece, ...]:
    """Return the valid pieces of tool calls; pieces in a complete answer have no index."""
    found = []
    for place, one in enumerate(value if isinstance(value, list) else []):
        function = _to_object(_to_object(one).get("function"))
        if not function:
            continue
        index, arguments = one.get("index"), function.get("arguments")
        # Some servers send an object instead of JSON text.
        arguments = json.dumps(arguments) if isinstance(arguments, dict) else arguments
        parts = (one.get("id"), function.get("name"), arguments)
        found.append(CallPiece(index if type(index) is int else place, *map(_to_text, parts)))
    return tuple(found)


def _get_texts(content: object) -> tuple[str, str]:
    """Return the text and the thoughts of a message's content, which may be a list of parts."""
    if not isinstance(content, list):
        return _to_text(content), ""
    text = thought = ""
    for part in content:
        if isinstance(part, str):
            text += part
        elif _to_object(part).get("type") in ("thinking", "reasoning"):
            # Mistral nests parts.
            inner = part.get("thinking", part.get("text"))
            thought += "".join(_get_texts(inner))
        else:
            text += _to_text(_to_object(part).get("text"))
    return text, thought


def _parse_usage(data: object, timings: object) -> Usage | None:
    """Parse the usage; older versions of llama.cpp report cached tokens only in their timings."""
    if not isinstance(data, dict):
        return None
    cached = _to_object(data.get("prompt_tokens_details")).get("cached_tokens")
    cached = _to_object(timings).get("cache_n") if cached is None else cached
    counts = (data.get("prompt_tokens"), data.get("completion_tokens"), cached)
    return Usage(*map(_count, counts))


def _to_object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _to_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
