"""Servers with one Redis between them, which know each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from server.features.cluster.redis_store import RedisStore
from server.features.cluster.replicas import Cluster
from tests.support.redis_server import RedisServer
from tests.support.running import Running, running

SECRET = "q7Vd0mZp3xKc9LwTfR2yBhN6sJgA1uEoXiC4"


def store_of(run: Running) -> RedisStore:
    store = run.program.added.provided[Cluster].store
    assert isinstance(store, RedisStore)
    return store


async def answering(store: RedisStore) -> None:
    """Ask Redis until it answers."""
    async with asyncio.timeout(30):
        while not store.is_available:
            await store.probe()


async def know(*some: Running) -> None:
    """Have each gateway read the others' reports."""
    for run in (*some, *some):
        await answering(store_of(run))
        await run.program.added.provided[Cluster].replicas.report(time.monotonic())


@asynccontextmanager
async def gateways(
    redis: RedisServer, *names: str, **settings: Any
) -> AsyncIterator[list[Running]]:
    """Gateways of these names, which may have that of a process behind a `_`."""
    common = {"redis_url": redis.url, "jwt_secret_key": SECRET, "rate_limit_per_minute": 0}
    made = []
    async with AsyncExitStack() as stack:
        for name in names:
            host, _, process = name.partition("_")
            named = {"gateway_name": host, "process_name": process}
            made.append(await stack.enter_async_context(running(**common | named | settings)))
        await know(*made)
        yield made
