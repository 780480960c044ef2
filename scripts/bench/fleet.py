"""The processes of a fleet on this machine: Redis, engines, gateways and an nginx before them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import tempfile
from contextlib import AsyncExitStack
from typing import Self

from scripts.bench.fleet_nginx import Nginx
from scripts.bench.http_json import json_request, request
from scripts.bench.processes import MeasurementError, ServerProcess, StandInProcess, free_port

READY_SECONDS = 60.0


class Engine(StandInProcess):
    """A stand-in model server that keeps its port."""

    def __init__(self, first_token_ms: float, between_ms: float) -> None:
        super().__init__(
            first_token_ms=first_token_ms,
            between_ms=between_ms,
            program="scripts.bench.fleet_engine",
        )
        self.port = free_port()
        self._arguments += ["--port", str(self.port)]

    async def kill(self) -> None:
        """End it without a word (SIGKILL)."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def slow(self, factor: float) -> None:
        """Make it so many times slower; 1: as it was."""
        url = f"http://127.0.0.1:{self.port}/factor"
        await json_request("POST", url, factor)

    async def arrivals(self) -> list[float]:
        """When its requests came (seconds since the epoch), those of its present process."""
        try:
            return [float(record["arrived"]) for record in await self.records()]
        except (OSError, EOFError, TimeoutError):
            return []


class Gateway(ServerProcess):
    """A web process that keeps its port and its name."""

    def __init__(self, name: str, **environment: str) -> None:
        super().__init__(GATEWAY_NAME=name, **environment)
        self.name = name
        self.port = int(self.url.rpartition(":")[2])

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def ended(self, seconds: float) -> None:
        """Wait until it has ended. Raises TimeoutError."""
        if self._process is not None:
            await asyncio.wait_for(self._process.wait(), seconds)


class Redis:
    """A Redis of its own that saves nothing."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._open = contextlib.ExitStack()
        self._process: asyncio.subprocess.Process | None = None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def __aenter__(self) -> Self:
        if shutil.which("redis-server") is None:
            raise MeasurementError(
                "redis-server is not installed: --fleet needs it (apt install redis-server)"
            )
        folder = self._open.enter_context(tempfile.TemporaryDirectory())
        self._process = await asyncio.create_subprocess_exec(
            *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", folder, "--save", "", "--appendonly", "no"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(500):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return self
            await asyncio.sleep(0.02)
        raise MeasurementError("redis-server does not listen after 10 s")

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._open.close()


class Fleet:
    """All of them. Use as a context manager."""

    def __init__(
        self, gateways: int, engines: int, cameras: int, first_token_ms: float, between_ms: float
    ) -> None:
        self.redis = Redis()
        self.engines = [Engine(first_token_ms, between_ms) for _ in range(engines)]
        self._cameras = cameras
        self._names = [f"h{number + 1}" for number in range(gateways)]
        self._secret = secrets.token_urlsafe(48)
        self.gateways: list[Gateway] = []
        self.url = ""
        self._stack = AsyncExitStack()

    def _gateway(self, name: str, port: int = 0) -> Gateway:
        made = Gateway(
            name,
            **({"PORT": str(port)} if port else {}),
            ENGINE="vllm",
            VLLM_BASE_URL=",".join(f"http://127.0.0.1:{one.port}/v1" for one in self.engines),
            MODEL_NAME="stand-in",
            REDIS_URL=self.redis.url,
            JWT_SECRET_KEY=self._secret,
            TRUSTED_PROXIES="127.0.0.1",
            DRAIN_SECONDS="10",
            # Twice all people at once, so that sessions that begin before others end have room.
            MAX_SESSIONS=str(4 * self._cameras + 10),
            GATEWAY_SESSIONS=str(2 * self._cameras + 5),
        )
        if port:
            made.port, made.url = port, f"http://127.0.0.1:{port}"
        return made

    async def __aenter__(self) -> Self:
        try:
            await self._stack.enter_async_context(self.redis)
            for engine in self.engines:
                await self._stack.enter_async_context(engine)
            self.gateways = [self._gateway(name) for name in self._names]
            for gateway in self.gateways:
                await self._stack.enter_async_context(gateway)
            ports = {gateway.name: gateway.port for gateway in self.gateways}
            self.url = (await self._stack.enter_async_context(Nginx(ports))).url
            for gateway in self.gateways:
                await gateway.wait_for_engine(READY_SECONDS)
            await self.known()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def known(self) -> None:
        """Wait until all gateways know each other."""
        async with asyncio.timeout(READY_SECONDS):
            while any([await self._others(one) < len(self.gateways) - 1 for one in self.gateways]):
                await asyncio.sleep(0.2)

    async def _others(self, gateway: Gateway) -> int:
        with contextlib.suppress(OSError, EOFError):
            body = (await request("GET", f"{gateway.url}/health")).json()
            return sum(not one["draining"] for one in body.get("gateways", []))
        return 0

    async def restart(self, number: int) -> None:
        """Start a gateway again that has ended, under its name and port."""
        old = self.gateways[number]
        await old.ended(10)
        new = self._gateway(old.name, old.port)
        self.gateways[number] = await self._stack.enter_async_context(new)
        await new.wait_for_engine(READY_SECONDS)
        await self.known()

    async def revive(self, number: int) -> None:
        """Start an engine again that was killed."""
        await self.engines[number].__aenter__()
