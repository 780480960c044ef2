"""Programs that use a server as other people's programs do: each makes a function for one request, and counts what came of it."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
import httpx
import httpx2
import openai
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from scripts.bench.processes import ROOT

Once = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Tally:
    """The requests of one program."""

    done: int = 0
    refused: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    # Its looks have a rate, and it asks for more than that.
    limited: bool = False
    # It asks for less than its rate: none of its looks may be refused for it.
    within: bool = False

    def failed(self, error: str) -> None:
        self.errors[error] = self.errors.get(error, 0) + 1


class Limited(Exception):
    """A request was refused for its rate, as the interface says it: with its code and when to ask again."""


class Unclear(OSError):
    """A refusal for the rate without its code, or without the time to ask again."""

    def __init__(self) -> None:
        super().__init__("refused, and not told when to ask again")


def limited(code: Any, expected: str, wait: Any) -> Exception:
    """Return the error of a refusal; `wait` is the time after which to ask again, as it came."""
    try:
        return Limited() if code == expected and float(wait) >= 1 else Unclear()
    except (TypeError, ValueError):
        return Unclear()


@asynccontextmanager
async def _client(url: str, made: Mapping[str, Any]) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {made['token']}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url + made["mcp"], http_client=http)) as client,
    ):
        yield client


@asynccontextmanager
async def assistant(
    url: str, made: Mapping[str, Any], tool: str = "look", **arguments: str
) -> AsyncIterator[Once]:
    """Call a tool of the MCP server."""
    async with _client(url, made) as client:

        async def once() -> None:
            result = await client.call_tool(tool, arguments)
            if not result.is_error:
                return
            error = (result.structured_content or {}).get("error", {})
            if (code := error.get("code")) != "rate_limited":
                raise OSError(code)
            raise limited(code, "rate_limited", error.get("retry_after"))

        yield once


@asynccontextmanager
async def script(url: str, made: Mapping[str, Any]) -> AsyncIterator[Once]:
    """Ask with OpenAI's client, as its users do."""
    async with openai.AsyncOpenAI(
        api_key=made["token"], base_url=url + made["openai"], max_retries=0
    ) as client:

        async def once() -> None:
            picture: Any = {"type": "image_url", "image_url": {"url": "camera://now"}}
            words: Any = {"type": "text", "text": "What is there?"}
            try:
                stream = await client.chat.completions.create(
                    model="camera",
                    messages=[{"role": "user", "content": [words, picture]}],
                    stream=True,
                )
                async for _ in stream:
                    pass
            except openai.RateLimitError as error:
                wait = error.response.headers.get("retry-after")
                raise limited(error.code, "rate_limit_exceeded", wait) from None

        yield once


@asynccontextmanager
async def library(url: str, made: Mapping[str, Any]) -> AsyncIterator[Once]:
    """Ask with this project's client."""
    path = str(ROOT / "clients/python/src")
    if path not in sys.path:
        sys.path.insert(0, path)
    package = importlib.import_module("qwen_camera")
    async with package.Camera(url, made["token"]) as camera:

        async def once() -> None:
            try:
                await camera.ask("What is there?")
            except package.RateLimited as error:
                raise limited("rate_limited", "rate_limited", error.retry_after) from None
            except package.CameraError as error:
                raise OSError(error.code or type(error).__name__) from None

        yield once


@asynccontextmanager
async def home(broker: aiomqtt.Client, look: str, facts: str) -> AsyncIterator[Once]:
    """Press a camera's button for a look over MQTT, and wait for the answer's facts."""
    async with broker as client:
        await client.subscribe(facts)
        messages = aiter(client.messages)

        async def once() -> None:
            await client.publish(look, b"PRESS", qos=1)
            async with asyncio.timeout(60):
                message = await anext(messages)
            if not json.loads(bytes(message.payload)).get("ok"):
                raise OSError("not answered")

        yield once


def posts(http: httpx.AsyncClient, path: str, body: dict[str, Any] | None = None) -> Once:
    async def once() -> None:
        reply = (await http.post(path, json=body)).raise_for_status()
        if reply.status_code == 200 and reply.json().get("type") == "error":
            raise OSError(reply.json().get("code"))

    return once


def gets(http: httpx.AsyncClient, path: str) -> Once:
    async def once() -> None:
        (await http.get(path)).raise_for_status()

    return once


async def repeat(once: Once, every: float, on: asyncio.Event, tally: Tally) -> None:
    """Ask again and again while programs may; an error is counted, and no reason to end."""
    while True:
        await on.wait()
        began = time.monotonic()
        try:
            await once()
            tally.done += 1
        except Limited:
            tally.refused += 1
        except (OSError, httpx.HTTPError, openai.APIError) as error:
            told = type(error) in (OSError, Unclear)
            tally.failed(str(error)[:60] if told else type(error).__name__)
        await asyncio.sleep(max(0.05, every - (time.monotonic() - began)))
