"""Read the stream of a chat answer: server-sent events off the network, and the fields of each event.

The `openai` package would read them, too; we do it ourselves, for these measured reasons (openai 3.52.0, Python 3.11, one
core of a shared machine, events of 230 bytes through `BoundedTransport`):

- CPU for 1,000 events, one a read: 15 ms here, 26 ms with `AsyncStream[object]`, 94 ms with `ChatCompletionChunk`; 50
  events a read: 7, 14 and 83 ms.
- Its decoder has no limit for a line or an event. Within the 32 MiB of a stream, one JSON event took 788 MiB and held
  the event loop for 3.1 s (here: refused after 7 ms), and data lines without text held it for 3.6 s.
- It ends in the same way after `[DONE]` and after a connection that broke. An answer without a finish_reason is
  complete only after `[DONE]`.
- An answer that is left in its middle stays in memory, with the picture of its request, until Python's garbage
  collector runs: 20 of 20.

The time to the first event is the same (0.3 ms).

Source: WHATWG HTML, section 9.2.6 (event streams). Only `data` matters; `event`, `id` and `retry` are skipped.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator

import anyio
import httpx2

from server.models.base import Usage
from server.models.openai.bounded_http import read_json
from server.models.reply import CallPiece, Piece

# An event of a chat stream has a few hundred bytes; what sends more is no model server.
MAX_EVENT_BYTES = 256 * 1024
# One with an answer's sound: 65 s at 24 kHz, since some send all of it at once
MAX_SOUND_EVENT_BYTES = 4 * 1024 * 1024
_DRAIN_SECONDS = 0.05
# A read may hold thousands of small events; other tasks run after so many.
_EVENTS_AT_A_TIME = 64
# No count of tokens is larger; one of thousands of digits would not even be a number to others.
_MOST_TOKENS = 2**31
# Indices of tool calls
_MOST_INDEX = 1_000
_GARBAGE = "The model server sent something that is no chat answer."
# Errors of reading a response beside httpx2's own: openai knows these to slip through.
_NETWORK_ERRORS = (httpx2.HTTPError, httpx2.StreamError, ssl.SSLError, anyio.EndOfStream, OSError)


class EventTooLong(ValueError):
    """An event did not end within its bound.

    Outside the tree of errors: `ChatStream` catches it.
    """


class EventDecoder:
    """Decode bytes into the data of whole events. Comments, such as keep-alives, give nothing.

    Its work grows with the bytes, however small the pieces are that they come in.

    Bounds of an event of a model server's stream: 256 KiB; a longer one ends the answer.
    """

    def __init__(self, most: int = MAX_EVENT_BYTES) -> None:
        """`most`: bytes of one event."""
        self._most = most
        # Pieces of the line that is not complete yet, and the data lines of the event that is not.
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._data: list[bytes] = []
        self._size = 0
        # The last byte was a "\r": a "\n" that follows belongs to the same line end.
        self._after_return = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that are complete now, in order. Raises EventTooLong."""
        if self._after_return and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_return = False
        self._after_return = self._after_return or chunk.endswith(b"\r")
        lines = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events: list[bytes] = []
        for part in lines[:-1]:
            line = b"".join((*self._rest, part)) if self._rest else part
            self._rest, self._rest_size = [], 0
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data, self._size = [], 0
            elif line.startswith(b"data:"):
                value = line[5:].removeprefix(b" ")
                self._data.append(value)
                # With its line end: an empty line takes room, too.
                self._size += len(value) + 1
                self._check()
        if lines[-1]:
            self._rest.append(lines[-1])
            self._rest_size += len(lines[-1])
        self._check()
        return events

    def _check(self) -> None:
        if self._size + self._rest_size > self._most:
            raise EventTooLong(f"an event is longer than {self._most} bytes")


class BrokenStream(Exception):
    """The stream broke or held something that it must not hold. The text is ours.

    `connection`: it broke. Outside the tree of errors: the engine makes an EngineError of it.
    """

    def __init__(self, text: str, *, connection: bool = False) -> None:
        super().__init__(text)
        self.connection = connection


class ChatStream:
    """The data events of one response.

    `whole`: the body is one JSON object and no stream; it counts as one event. `most`: bytes of an
    event.
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], *, whole: bool = False, most: int = MAX_EVENT_BYTES
    ) -> None:
        self._chunks = chunks
        self._whole = whole
        self._most = most
        # The server reported that the answer is complete.
        self.done = False
        self._decoder = EventDecoder(most)
        self._events: deque[bytes] = deque()
        self._given = 0

    async def next(self, due: float) -> bytes | None:
        """Return the next event's data, None at the end.

        `due` is loop time. Raises TimeoutError, BrokenStream.
        """
        if not self._events:
            try:
                async with asyncio.timeout_at(due):
                    if self._whole and not self.done:
                        self._events.append(await self._all())
                    while not self._events:
                        self._events.extend(self._decoder.feed(await anext(self._chunks)))
            except StopAsyncIteration:
                return None
            except TimeoutError:
                raise  # It is an OSError, too.
            except EventTooLong:
                raise BrokenStream(_GARBAGE) from None
            except _NETWORK_ERRORS:
                raise BrokenStream(
                    "The connection to the model server broke in mid-answer. Ask again.",
                    connection=True,
                ) from None
        event = self._events.popleft()
        self._given += 1
        if self._given % _EVENTS_AT_A_TIME == 0:
            await asyncio.sleep(0)
        self.done = self.done or event == b"[DONE]"
        return None if event == b"[DONE]" else event

    async def _all(self) -> bytes:
        body = bytearray()
        async for chunk in self._chunks:
            body += chunk
            if len(body) > self._most:
                raise EventTooLong(f"an answer is longer than {self._most} bytes")
        self.done = True
        return bytes(body)

    async def drain(self) -> None:
        """Read the rest after [DONE], so that the connection can be used again; give up soon."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                async for _ in self._chunks:
                    pass
        except (TimeoutError, *_NETWORK_ERRORS):
            pass  # The answer is whole; only the connection is lost.


def read_event(event: bytes) -> Piece:
    """Read an event of a stream, or a whole answer.

    Raises BrokenStream for what is no chat answer.
    """
    try:
        data = read_json(event)
    except (ValueError, RecursionError):
        raise BrokenStream(_GARBAGE) from None
    if not isinstance(data, dict):
        raise BrokenStream(_GARBAGE)
    if data.get("error"):
        return Piece(error=data["error"])
    choices = data.get("choices")
    if not isinstance(choices, list):
        raise BrokenStream(_GARBAGE)
    usage = _usage(data.get("usage"), data.get("timings"))
    if not choices:
        return Piece(usage=usage)
    choice = choices[0]
    message = choice.get("delta", choice.get("message")) if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise BrokenStream(_GARBAGE)
    sound, spoken = _sound(data, message)
    text, thought = _texts(None if spoken is None else message.get("content") or spoken)
    finish = choice.get("finish_reason")
    return Piece(
        text,
        # Both are sent by some, with the same text.
        _text(message.get("reasoning_content")) or _text(message.get("reasoning")) or thought,
        finish if isinstance(finish, str) else "",
        began=any(value for name, value in message.items() if name != "role"),
        usage=usage,
        sound=sound,
        refused=bool(message.get("refusal")),
        tools=bool(message.get("tool_calls") or message.get("function_call")),
        calls=_calls(message.get("tool_calls")),
    )


def _sound(data: dict[str, object], message: dict[str, object]) -> tuple[str, str | None]:
    """Return an event's sound in base64, and its words; None where its content is the sound."""
    if data.get("modality") == "audio" and isinstance(message.get("content"), str):
        return _text(message["content"]), None
    audio = message.get("audio")
    if not isinstance(audio, dict):
        return "", ""
    return _text(audio.get("data")), _text(audio.get("transcript"))


def _calls(value: object) -> tuple[CallPiece, ...]:
    """Return the pieces of tool calls that can be read; a whole answer's calls have no index."""
    found = []
    for place, one in enumerate(value if isinstance(value, list) else []):
        function = one.get("function") if isinstance(one, dict) else None
        if not isinstance(function, dict):
            continue
        index = one.get("index")
        index = index if type(index) is int and 0 <= index < _MOST_INDEX else place
        arguments = function.get("arguments")
        # Some send the object itself.
        arguments = json.dumps(arguments) if isinstance(arguments, dict) else arguments
        parts = (one.get("id"), function.get("name"), arguments)
        found.append(CallPiece(index, *map(_text, parts)))
    return tuple(found)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(content: object) -> tuple[str, str]:
    """Return the text and the thoughts of a message's content, which may be a list of parts."""
    if not isinstance(content, list):
        return _text(content), ""
    text = thought = ""
    for part in content:
        if isinstance(part, str):
            text += part
        elif isinstance(part, dict) and part.get("type") in ("thinking", "reasoning"):
            # Mistral's holds parts of its own.
            inner = part.get("thinking", part.get("text"))
            texts = (
                [_text(one.get("text")) for one in inner if isinstance(one, dict)]
                if isinstance(inner, list)
                else []
            )
            thought += "".join(texts) or _text(inner)
        elif isinstance(part, dict):
            text += _text(part.get("text"))
    return text, thought


def _usage(data: object, timings: object) -> Usage | None:
    """Read the usage; older llama.cpp counts cached tokens in its timings alone."""
    if not isinstance(data, dict):
        return None
    details = data.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    if cached is None and isinstance(timings, dict):
        cached = timings.get("cache_n")
    return Usage(
        _count(data.get("prompt_tokens")), _count(data.get("completion_tokens")), _count(cached)
    )


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
