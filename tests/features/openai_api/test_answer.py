"""Answers in OpenAI's form: whole, in chunks, and errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk
from starlette.types import Message

from server.core import messages as wire
from server.core.errors import (
    Busy,
    EngineFailed,
    Forbidden,
    NoCamera,
    QwenCameraError,
    RateLimited,
    TooLong,
    Unauthorized,
)
from server.core.messages import UsageInfo
from server.features.openai_api import answer as module
from server.features.openai_api.answer import Ask, ChatResponse, Writer
from server.features.openai_api.errors import (
    ModelUnknown,
    PictureRefused,
    make_error_body,
    make_error_headers,
)
from server.features.openai_api.program_chat import ChatEnd
from server.features.openai_api.request import ChatRequest, read


def end(
    text: str,
    *,
    usage: wire.UsageInfo | None = None,
    finish_reason: Any = "stop",
    **more: Any,
) -> ChatEnd:
    """The end of a chat; `more`: its calls and frames."""
    response = wire.Response(
        text=text,
        inference_time=0.1,
        id="look-1",
        kind="chat",
        engine="vllm",
        model="qwen",
        timings=wire.Timings(wait_frame_ms=0, prepare_ms=0, queue_ms=0, total_ms=0),
        usage=usage or wire.UsageInfo(),
        finish_reason=finish_reason,
    )
    return ChatEnd(response, **more)


USAGE = UsageInfo(prompt_tokens=600, completion_tokens=4, cached_tokens=64)
END = end("A cup.", usage=USAGE, frames=((1000.0, False), (2000.0, True)))


def events(raw: bytes) -> list[Any]:
    """Return the data of all events; comments are left out."""
    lines = raw.decode("ascii").split("\n\n")
    assert lines.pop() == ""
    data = [line.removeprefix("data: ") for line in lines if not line.startswith(":")]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def test_an_engine_that_counts_no_tokens() -> None:
    body = Writer(5.0).body(end("x", finish_reason="length"))
    assert body["usage"] is None
    assert body["choices"][0]["finish_reason"] == "length"


def test_chunks() -> None:
    """Each is one of OpenAI's; the text that did not come before comes with the end."""
    writer = Writer(5.0, include_usage=True)
    raw = (
        writer.make_first_chunk("qwen")
        + writer.make_text_chunk("qwen", "A ")
        + writer.end(END, "A ")
    )
    *chunks, done = events(raw)
    assert done == "[DONE]"
    read = [ChatCompletionChunk.model_validate(one) for one in chunks]
    assert {one.id for one in read} == {writer.id}
    assert "".join(one.choices[0].delta.content or "" for one in read if one.choices) == "A cup."
    assert [one.choices[0].finish_reason for one in read if one.choices][-1] == "stop"
    assert read[-1].usage is not None
    assert not read[-1].choices
    assert all(one["usage"] is None for one in chunks[:-1])


def test_no_text_ends_an_event() -> None:
    """Neither a line's end in it nor one of Unicode's."""
    raw = Writer(5.0).make_text_chunk("m", "a\n\ndata: [DONE]\r\u2028\x85b")
    (only,) = events(raw)
    assert only["choices"][0]["delta"]["content"] == "a\n\ndata: [DONE]\r\u2028\x85b"


@pytest.mark.parametrize(
    ("error", "kind", "code", "again"),
    [
        (Unauthorized("x"), "authentication_error", "invalid_api_key", False),
        (Forbidden("x"), "permission_error", "forbidden", False),
        (PictureRefused("x", "p"), "permission_error", "upload_refused", False),
        (
            ModelUnknown("x", None, "model_not_found"),
            "invalid_request_error",
            "model_not_found",
            False,
        ),
        (TooLong("x"), "invalid_request_error", "context_length_exceeded", False),
        (RateLimited("x", retry_after=2.2), "rate_limit_error", "rate_limit_exceeded", True),
        (Busy("x"), "server_error", "busy", True),
        (NoCamera("x"), "server_error", "no_camera", True),
        (EngineFailed("an address of ours"), "server_error", "engine_failed", True),
    ],
)
def test_errors(error: QwenCameraError, kind: str, code: str, again: bool) -> None:
    body = make_error_body(error)["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert (body["type"], body["code"]) == (kind, code)
    assert "address" not in body["message"]
    headers = make_error_headers(error)
    assert headers["x-should-retry"] == str(again).lower()
    assert headers.get("Retry-After") == ("3" if isinstance(error, RateLimited) else None)


Put = Callable[[str], None]


def request(*, stream: bool) -> ChatRequest:
    messages = [{"role": "user", "content": "What is it?"}]
    return read(json.dumps({"model": "camera", "messages": messages, "stream": stream}).encode())


class Client:
    """The other side of a response. `leave` ends the connection, `reads` lets it take what is sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.left = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(one.get("body", b"") for one in self.sent)

    async def gets(self, ask: Ask, *, stream: bool = True) -> None:
        response = ChatResponse(request(stream=stream), "qwen", ask)
        async with asyncio.timeout(10):
            await response({"type": "http"}, self.receive, self.send)


async def test_a_slow_model_keeps_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head comes before proxies give up, then comments; an error is an event by then."""
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.01)
    monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.01)
    client = Client()

    async def ask(put: Put) -> ChatEnd:
        while client.body.count(b": the camera") < 3:
            await asyncio.sleep(0.005)
        raise EngineFailed("an address of ours")

    await client.gets(ask)
    assert client.sent[0]["status"] == 200
    first, error = events(client.body)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert error["error"]["code"] == "engine_failed"
    assert b"address" not in client.body
    assert b"[DONE]" not in client.body


def never_ends(begin: Callable[[Put], object], stopped: asyncio.Event) -> Ask:
    """A model that begins so, and goes on until it is stopped."""

    async def ask(put: Put) -> ChatEnd:
        begin(put)
        try:
            return await asyncio.Future()
        finally:
            stopped.set()

    return ask


async def test_whoever_does_not_read_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends in the middle, and the model with it."""
    monkeypatch.setattr(module, "UNREAD_SECONDS", 0.02)
    client, stopped = Client(), asyncio.Event()

    def begin(put: Put) -> None:
        put("A ")
        client.reads.clear()

    await client.gets(never_ends(begin, stopped))
    assert stopped.is_set()
    assert not any(one.get("more_body") is False for one in client.sent)


async def test_pieces_that_come_at_once_go_out_together() -> None:
    """A slow program's text waits as one piece, no longer than the answer."""
    client = Client()

    async def ask(put: Put) -> ChatEnd:
        for _ in range(1000):
            put("word ")
        return end("word " * 1000 + "end")

    await client.gets(ask)
    *chunks, done = events(client.body)
    assert done == "[DONE]"
    said = [one["choices"][0]["delta"].get("content") for one in chunks]
    assert said == ["", "word " * 1000, "end", None]
