"""The processes of a measurement: the server and the stand-in model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from scripts.bench.http_json import json_request, request


class MeasurementError(Exception):
    """The measured program does not run; the text is for the user."""


ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StandInProcess:
    """The stand-in model in a process of its own."""

    def __init__(self, *, first_token_ms: float = 50, between_ms: float = 10) -> None:
        self.base_url = ""
        # Words before the program's own, for another host
        self.command: tuple[str, ...] = ()
        self._arguments = ["--first-token-ms", str(first_token_ms), "--between-ms", str(between_ms)]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            sys.executable,
            "-m",
            "scripts.bench.stand_in_model",
            *self._arguments,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl+C is for who measures: it ends this one itself.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        self.base_url = json.loads(line)["base_url"]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await asyncio.wait_for(self._process.wait(), 10)

    async def records(self, kind: str = "chat") -> list[dict[str, Any]]:
        """The requests of a kind (stand_in_model.Record)."""
        url = self.base_url.removesuffix("/v1")
        return [one for one in await json_request("GET", f"{url}/records") if one["kind"] == kind]


class ServerProcess:
    """`python -m server.main` on a free port, with these settings; quiet, ended by SIGTERM."""

    def __init__(self, **environment: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        # Words before the program's own, for another host
        self.command: tuple[str, ...] = ()
        # From the start of the process to its first page; 0 before.
        self.seconds_to_first_page = 0.0
        self._environment = {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "LOG_LEVEL": "warning",
            "RATE_LIMIT_PER_MINUTE": "0",
            "MAX_SESSIONS": "1000",
            **environment,
        }
        self._open = contextlib.ExitStack()
        self._said = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    def before(cls, model: StandInProcess, *, level: str = "", **environment: str) -> Self:
        """A server whose engine is the stand-in; `level` of its log."""
        more = {"LOG_LEVEL": level} if level else {}
        return cls(ENGINE="vllm", VLLM_BASE_URL=model.base_url, **more, **environment)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        begin = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            sys.executable,
            "-m",
            "server.main",
            cwd=ROOT,
            env=self._environment,
            # Shown when it fails only.
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
        )
        try:
            while True:
                if self._process.returncode is not None:
                    raise MeasurementError(
                        f"the server ended with {self._process.returncode}:\n{self.output()}"
                    )
                with contextlib.suppress(OSError, EOFError):
                    reply = await request("GET", self.url, headers={"Accept": "text/html"})
                    if reply.status == 200:
                        self.seconds_to_first_page = time.monotonic() - begin
                        return self
                if time.monotonic() - begin > 60:
                    raise MeasurementError(f"the server gave no page at {self.url} within 60 s")
                await asyncio.sleep(0.01)
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._process is not None and self._process.returncode is None:
                self._process.send_signal(signal.SIGTERM)
                await asyncio.wait_for(self._process.wait(), 20)
        except TimeoutError:
            assert self._process is not None
            self._process.kill()
            await self._process.wait()
            raise MeasurementError("the server did not end within 20 s of SIGTERM") from None
        finally:
            self._open.close()

    def output(self) -> str:
        """The end of what it wrote to its output."""
        self._said.flush()
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - 3000))
        return self._said.read().decode(errors="replace")

    async def wait_for_engine(self, seconds: float = 30) -> dict[str, Any]:
        """Wait until /health says 200; its body."""
        end = time.monotonic() + seconds
        while True:
            reply = await request("GET", f"{self.url}/health")
            if reply.status == 200:
                body: dict[str, Any] = reply.json()
                return body
            if time.monotonic() > end:
                raise MeasurementError(f"no engine is ready after {seconds} s: {reply.body!r:.300}")
            await asyncio.sleep(0.1)
