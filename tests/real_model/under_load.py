"""A model server that is killed, started again and replaced by another model while visitors ask without a pause."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from typing import Any

from scripts.bench.live_encoder import LiveEncoder
from tests.real_model.server import ASK_SONG, ModelServer
from tests.support.clients import Page, visitor
from tests.support.running import running

_VISITORS = 3


async def lose_and_replace(server: ModelServer, encoder: LiveEncoder, loads: float) -> None:
    """Check that each question ends in an answer or a sentence, and that all are answered afterwards.

    `loads`: the most seconds of a start.
    """
    ends: list[dict[str, Any]] = []

    async def ask(page: Page) -> None:
        number = 0
        while True:
            number += 1
            ends.append(await page.ask(ASK_SONG, id=f"{number}", timeout=2 * loads))

    async def answered(count: int = 2 * _VISITORS) -> str:
        """Wait for so many more answers; return the model of the last one."""
        since = len(ends)
        async with asyncio.timeout(2 * loads):
            while len(said := [end for end in ends[since:] if end["type"] == "response"]) < count:
                await asyncio.sleep(0.02)
        return str(said[-1]["model"])

    await server.start()
    try:
        async with (
            running(engine="vllm", vllm_base_url=server.base_url, rate_limit_per_minute=0) as run,
            AsyncExitStack() as stack,
        ):
            pages = [
                (await stack.enter_async_context(visitor(run, encoder))).page
                for _ in range(_VISITORS)
            ]
            for page in pages:
                await page.send(type="settings", max_tokens=100)
            async with asyncio.TaskGroup() as group:
                asking = [group.create_task(ask(page)) for page in pages]
                first = await answered()
                server.kill()
                await asyncio.sleep(1)
                await server.start()
                assert await answered() == first
                server.kill()
                server.model = shutil.copytree(server.model, server.model.with_name("another"))
                await server.start()
                async with asyncio.timeout(loads):
                    while await answered(1) == first:
                        pass
                await answered()
                for task in asking:
                    task.cancel()
            assert len(run.program.sessions.list_all()) == _VISITORS
        failed = [end for end in ends if end["type"] == "error"]
        assert all(end.get("retryable") and end["message"].endswith(".") for end in failed), failed
        assert all(end["text"] for end in ends if end["type"] == "response")
    finally:
        server.kill()
