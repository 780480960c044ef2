"""vLLM's own router before model servers of the tests, started as people start it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_server import end, free_port, listening_at

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".venv-router" / "bin" / "vllm-router"
REASON = "vllm-router is missing: bash scripts/router.sh installs it into .venv-router."


def needed() -> None:
    """Skip the test where the router is not installed; continuous integration fails there."""
    if not PROGRAM.exists():
        assert "REAL_MODEL_REQUIRED" not in os.environ, REASON
        pytest.skip(REASON)


class RealRouter:
    """The router's process."""

    def __init__(self, workers: Sequence[str], port: int, metrics_port: int) -> None:
        self.port, self.metrics_port = port, metrics_port
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "ROUTER_PROGRAM": str(PROGRAM),
            "ROUTER_WORKERS": " ".join(workers),
            "ROUTER_PORT": str(port),
            "ROUTER_METRICS_PORT": str(metrics_port),
        }
        self.process: asyncio.subprocess.Process | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        """Raises TimeoutError."""
        script = str(ROOT / "scripts" / "start_router.sh")
        self.process = await listening_at(self.port, "bash", script, env=self._environment)

    async def stop(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self.process.wait()
        await end(self.process)


@asynccontextmanager
async def real_router(servers: Sequence[FakeOpenAI]) -> AsyncIterator[RealRouter]:
    """A router before `servers`."""
    needed()
    workers = [one.base_url.removesuffix("/v1") for one in servers]
    router = RealRouter(workers, free_port(), free_port())
    try:
        await router.start()
        yield router
    finally:
        await router.stop()
