"""One answer over HTTP, at its edges: slow models, slow readers, programs that leave, errors before and after the head."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message

from server.core import messages as wire
from server.core.errors import Busy, EngineFailed
from server.features.openai_api import answer as module
from server.features.openai_api.answer import ChatResponse
from server.features.openai_api.program_chat import ChatEnd
from server.features.openai_api.request import ChatRequest, read

Put = Callable[[str], None]


def request(*, stream: bool) -> ChatRequest:
    messages = [{"role": "user", "content": "What is it?"}]
    return read(json.dumps({"model": "camera", "messages": messages, "stream": stream}).encode())


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

    async def gets(self, ask: Callable[[Put], Awaitable[ChatEnd]], *, stream: bool = True) -> None:
        response = ChatResponse(request(stream=stream), "qwen", ask)
        async with asyncio.timeout(10):
            await response({"type": "http"}, self.receive, self.send)


def events(raw: bytes) -> list[Any]:
    lines = [one for one in raw.split(b"\n\n") if one.startswith(b"data: ")]
    return [one if one == b"data: [DONE]" else json.loads(one[6:]) for one in lines]


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


@pytest.mark.parametrize("stream", [True, False])
async def test_an_early_error_has_its_status(stream: bool) -> None:
    """It goes to the routes' own handler; nothing was sent."""
    client = Client()

    async def ask(put: Put) -> ChatEnd:
        raise Busy("All taken.")

    with pytest.raises(Busy):
        await client.gets(ask, stream=stream)
    assert not client.sent


@pytest.mark.parametrize("stream", [True, False])
async def test_whoever_leaves_stops_it(stream: bool) -> None:
    client = Client()
    stopped = asyncio.Event()

    async def ask(put: Put) -> ChatEnd:
        client.left.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError("never")

    await client.gets(ask, stream=stream)
    assert stopped.is_set()


async def test_whoever_does_not_read_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends in the middle, and the model with it."""
    monkeypatch.setattr(module, "UNREAD_SECONDS", 0.02)
    client = Client()
    stopped = asyncio.Event()

    async def ask(put: Put) -> ChatEnd:
        put("A ")
        client.reads.clear()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError("never")

    await client.gets(ask)
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
    assert done == b"data: [DONE]"
    said = [one["choices"][0]["delta"].get("content") for one in chunks]
    assert said == ["", "word " * 1000, "end", None]
