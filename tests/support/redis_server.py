"""A real Redis of the tests' own: nothing of it is written to a file."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.support.fakes_server import end, free_port, listening_at

WAYS = ("killed", "stopped")


@dataclass
class RedisServer:
    port: int
    folder: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Raises TimeoutError."""
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        self.process = await listening_at(
            self.port, "redis-server", *place, "--save", "", "--appendonly", "no"
        )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        await end(self.process)

    async def take_away(self, way: str) -> None:
        """`way`: one of WAYS; what is stopped hangs."""
        if way == "killed":
            await self.kill()
        else:
            self.signal(signal.SIGSTOP)

    async def give_back(self, way: str) -> None:
        if way == "killed":
            await self.start()
        else:
            self.signal(signal.SIGCONT)

    async def dump(self) -> dict[str, tuple[str, int]]:
        """Every key: its value as text, and the milliseconds that it has left."""
        found = {}
        async with Redis(host="127.0.0.1", port=self.port, decode_responses=True) as redis:
            async for key in redis.scan_iter():
                sorted_set = await redis.type(key) == "zset"
                value = await (redis.zrange(key, 0, -1) if sorted_set else redis.get(key))
                found[key] = (str(value), await redis.pttl(key))
        return found


@asynccontextmanager
async def redis_server(folder: Path) -> AsyncIterator[RedisServer]:
    """Skips the test where there is none."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is missing; bash scripts/test.sh installs it where it may.")
    server = RedisServer(free_port(), folder)
    try:
        await server.start()
        yield server
    finally:
        await server.kill()
