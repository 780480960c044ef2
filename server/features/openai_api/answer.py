"""An answer in OpenAI's format: whole, or in chunks as server-sent events; stopped when the client disconnects."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from server.core.aio import cancel_and_wait
from server.core.errors import QwenCameraError
from server.core.messages import UsageInfo
from server.features.grants.guard import run_until_disconnect
from server.features.openai_api.errors import make_error_body
from server.features.openai_api.program_chat import ChatEnd
from server.features.openai_api.request import ChatRequest
from server.models.base import ToolCall

# The model name by which requests select the current model, whichever it is
MODEL = "camera"
# A comment line that keeps an idle connection open
KEEP_ALIVE = b": the camera is looked at\n\n"
DONE = b"data: [DONE]\n\n"
_REASONS = ("stop", "length", "tool_calls", "content_filter")


def make_models(name: str, created: float) -> dict[str, Any]:
    """Return the list of models: `camera`, and the real name of the current model.

    `created`: seconds since the epoch.
    """
    names = [MODEL, *([name] if name and name != MODEL else [])]
    return {"object": "list", "data": [make_model(one, created) for one in names]}


def make_model(name: str, created: float) -> dict[str, Any]:
    """Return an entry of the list of models. `created`: seconds since the epoch."""
    return {"id": name, "object": "model", "created": int(created), "owned_by": "qwen-camera"}


def _format_usage(usage: UsageInfo) -> dict[str, Any] | None:
    """Return the numbers of tokens; None if the engine does not report them."""
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    counted: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.cached_tokens is not None:
        counted["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return counted


def _format_calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]


def _get_finish_reason(end: ChatEnd) -> str:
    reason = end.response.finish_reason
    return reason if reason in _REASONS else "stop"


def _get_model_name(end: ChatEnd) -> str:
    return end.response.model or end.response.engine or MODEL


def _format_frames(end: ChatEnd) -> dict[str, Any]:
    """Return the additional field `camera`: the pictures that the model got."""
    return {"frames": [{"captured_at": at, "held": held} for at, held in end.frames]}


@dataclass(frozen=True, slots=True)
class Writer:
    """Formats one answer. `created`: seconds since the epoch."""

    created: float
    include_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")

    def body(self, end: ChatEnd) -> dict[str, Any]:
        """Return the body of an answer that is not streamed."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": end.response.text or (None if end.calls else ""),
            "refusal": None,
        }
        if end.calls:
            message["tool_calls"] = _format_calls(end.calls)
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _get_finish_reason(end),
        }
        return {
            **self._make_head("chat.completion", _get_model_name(end)),
            "choices": [choice],
            "usage": _format_usage(end.response.usage),
            "camera": _format_frames(end),
        }

    def make_first_chunk(self, model: str) -> bytes:
        """Return the first chunk of a stream, with the role."""
        return self._make_chunk(model, {"role": "assistant", "content": "", "refusal": None})

    def make_text_chunk(self, model: str, text: str) -> bytes:
        """Return a chunk with a piece of the text."""
        return self._make_chunk(model, {"content": text})

    def end(self, end: ChatEnd, sent: str) -> bytes:
        """Return the last chunks. `sent`: the text of the previous chunks."""
        found, model, text = b"", _get_model_name(end), end.response.text
        if rest := text.removeprefix(sent) if text.startswith(sent) else "":
            found += self.make_text_chunk(model, rest)
        if end.calls:
            calls = [{"index": at, **call} for at, call in enumerate(_format_calls(end.calls))]
            found += self._make_chunk(model, {"tool_calls": calls})
        found += self._make_chunk(
            model, {}, _get_finish_reason(end), {"camera": _format_frames(end)}
        )
        if self.include_usage:
            head = self._make_head("chat.completion.chunk", model)
            found += _format_event(
                {**head, "choices": [], "usage": _format_usage(end.response.usage)}
            )
        return found + DONE

    def _make_head(self, kind: str, model: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": int(self.created), "model": model}

    def _make_chunk(
        self,
        model: str,
        delta: dict[str, Any],
        reason: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self.include_usage else {}
        head = self._make_head("chat.completion.chunk", model)
        return _format_event({**head, "choices": [choice], **usage, **(more or {})})


def _format_event(data: dict[str, Any]) -> bytes:
    # ASCII only, since some clients treat Unicode's line separators as line ends.
    return b"data: " + json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n\n"


# Seconds within which an error gets its own HTTP status; a later one becomes an event. Proxies wait longer for a head.
HEAD_SECONDS = 10.0
# Seconds between two comment lines that keep a connection open
KEEP_ALIVE_SECONDS = 10.0
# Seconds after which a client that reads nothing is disconnected
UNREAD_SECONDS = 30.0


class _ClientStalled(Exception):
    """The client does not read its answer. Not a QwenCameraError, since no client could receive it."""


# Asks the question, and calls its argument with each piece of text.
Ask = Callable[[Callable[[str], None]], Awaitable[ChatEnd]]


# Text that waits to be sent, then None. Bounded by the answer's tokens.
_Pieces = asyncio.Queue[str | None]


class ChatResponse(Response):
    """The response to one request. `ask` is called once; `model`: the model that answers at its start.

    Bounds of streamed text that waits for a program: the answer, whose tokens are bounded; a program
    that reads nothing for 30 s is disconnected.
    """

    def __init__(self, request: ChatRequest, model: str, ask: Ask) -> None:
        super().__init__()
        self._request = request
        self._model = model
        self._ask = ask
        self._writer = Writer(time.time(), request.include_usage)
        self._id = {"x-request-id": self._writer.id}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer until it ends or the client disconnects.

        Raise QwenCameraError only before the head is sent.
        """
        # Let a QwenCameraError propagate; disconnect a client that does not read.
        with contextlib.suppress(_ClientStalled):
            await run_until_disconnect(receive, self._answer(send))

    async def _answer(self, send: Send) -> None:
        pieces: _Pieces = asyncio.Queue()
        asking = asyncio.ensure_future(self._ask(pieces.put_nowait))
        asking.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            if self._request.stream:
                await self._stream(asking, pieces, send)
            else:
                body = json.dumps(self._writer.body(await asking)).encode("ascii")
                headers = self._id | {"content-length": str(len(body))}
                await _put(send, _make_head("application/json", headers))
                await _put(send, _make_body(body, more=False))
        finally:
            await cancel_and_wait([asking])

    async def _stream(self, asking: asyncio.Future[ChatEnd], pieces: _Pieces, send: Send) -> None:
        text, over = await _take(pieces, HEAD_SECONDS)
        if asking.done() and not asking.cancelled() and (error := asking.exception()) is not None:
            raise error
        await _put(send, _make_head("text/event-stream; charset=utf-8", self._id))
        await _put(send, _make_body(self._writer.make_first_chunk(self._model)))
        sent = ""
        while text or not over:
            if text:
                await _put(send, _make_body(self._writer.make_text_chunk(self._model, text)))
                sent += text
            text, over = ("", True) if over else await _take(pieces, KEEP_ALIVE_SECONDS)
            if not (text or over):
                await _put(send, _make_body(KEEP_ALIVE))
        try:
            last = self._writer.end(await asking, sent)
        except QwenCameraError as error:
            # The error ends the stream.
            last = _format_event(make_error_body(error))
        await _put(send, _make_body(last, more=False))


async def _take(pieces: _Pieces, seconds: float) -> tuple[str, bool]:
    """Wait for text. Return all available text, and True if it is the last; ("", False) after the timeout."""
    try:
        async with asyncio.timeout(seconds):
            found = [await pieces.get()]
    except TimeoutError:
        return "", False
    while not pieces.empty():
        found.append(pieces.get_nowait())
    return "".join(filter(None, found)), found[-1] is None


async def _put(send: Send, message: Message) -> None:
    try:
        async with asyncio.timeout(UNREAD_SECONDS):
            await send(message)
    except TimeoutError:
        raise _ClientStalled from None


def _make_head(kind: str, headers: dict[str, str]) -> Message:
    own = {"content-type": kind, "cache-control": "no-store", **headers}
    raw = [(name.encode("ascii"), value.encode("ascii")) for name, value in own.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}


def _make_body(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
