"""The stream of a chat answer: server-sent events off the network, and what each of them says."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import httpx2

from server.engines.base import Usage
from server.engines.openai.sse import MAX_EVENT_BYTES, EventDecoder, EventTooLong

_DRAIN_SECONDS = 0.05
# A read may hold thousands of small events; others have their turn after so many.
_EVENTS_AT_A_TIME = 64
# No count of tokens is larger; one of thousands of digits would not even be a number to others.
_MOST_TOKENS = 2**31
_GARBAGE = "The model server sent something that is no chat answer. Check that VLLM_BASE_URL names a model server."
# What reading a response may raise beside httpx2's own errors: openai knows these to slip through.
_NETWORK_ERRORS = (httpx2.HTTPError, httpx2.StreamError, ssl.SSLError, anyio.EndOfStream, OSError)


class BrokenStream(Exception):
    """The stream ended or held something that it must not hold. The text is ours."""


class ChatStream:
    """The data events of one response. `whole`: it is no stream but one JSON object, which counts as one event."""

    def __init__(self, chunks: AsyncIterator[bytes], *, whole: bool = False) -> None:
        self._chunks = chunks
        self._whole = whole
        # The server said that this was all.
        self.done = False
        self._decoder = EventDecoder()
        self._events: deque[bytes] = deque()
        self._given = 0

    async def next(self, due: float) -> bytes | None:
        """The next event's data, None at the end. `due` is loop time. Raises TimeoutError, BrokenStream."""
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
                    "The connection to the model server broke in mid-answer. Ask again."
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
            if len(body) > MAX_EVENT_BYTES:
                raise EventTooLong(f"an answer is longer than {MAX_EVENT_BYTES} bytes")
        self.done = True
        return bytes(body)

    async def drain(self) -> None:
        """Read what is left behind [DONE], so that the connection can be used again; gives up at once if more is to come."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                async for _ in self._chunks:
                    pass
        except (TimeoutError, *_NETWORK_ERRORS):
            pass  # The answer is whole; only the connection is lost.


@dataclass(frozen=True, slots=True)
class Piece:
    text: str = ""
    # What the model thinks, where the server tells it apart
    thought: str = ""
    # "" until the event that carries it
    finish: str = ""
    # Whether the model has produced something, be it hidden reasoning.
    began: bool = False
    usage: Usage | None = None
    # An error event's error.
    error: object = None
    # It declines, or calls a tool.
    refused: bool = False
    tools: bool = False


def read_event(event: bytes) -> Piece:
    """An event of a stream, or a whole answer. Raises BrokenStream when it is none of a chat."""
    try:
        data = json.loads(event)
    except (ValueError, RecursionError):
        raise BrokenStream(_GARBAGE) from None
    if not isinstance(data, dict):
        raise BrokenStream(_GARBAGE)
    if data.get("error"):
        return Piece(error=data["error"])
    choices = data.get("choices")
    if not isinstance(choices, list):
        raise BrokenStream(_GARBAGE)
    usage = _usage(data.get("usage"))
    if not choices:
        return Piece(usage=usage)
    choice = choices[0]
    said = choice.get("delta", choice.get("message")) if isinstance(choice, dict) else None
    if not isinstance(said, dict):
        raise BrokenStream(_GARBAGE)
    text, thought = _texts(said.get("content"))
    finish = choice.get("finish_reason")
    return Piece(
        text,
        # Both are sent by some, with the same text.
        _text(said.get("reasoning_content")) or _text(said.get("reasoning")) or thought,
        finish if isinstance(finish, str) else "",
        began=any(value for name, value in said.items() if name != "role"),
        usage=usage,
        refused=bool(said.get("refusal")),
        tools=bool(said.get("tool_calls") or said.get("function_call")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(content: object) -> tuple[str, str]:
    """The text and the thoughts of a message's content, which may be a list of parts."""
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


def _usage(data: object) -> Usage | None:
    if not isinstance(data, dict):
        return None
    details = data.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(
        _count(data.get("prompt_tokens")), _count(data.get("completion_tokens")), _count(cached)
    )


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
