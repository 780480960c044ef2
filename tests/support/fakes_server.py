"""The server as a process of its own, looked at from outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from scripts.bench.http_json import request
from tests.support.children import memory_mib

ROOT = Path(__file__).parents[2]
# Tests that read the server through /proc or strace need a server that allows it to its user; root
# may anyway.
READABLE = "server.main" if os.geteuid() == 0 else "tests.support.readable_server"


@dataclass(frozen=True, slots=True)
class Footprint:
    """The resources of a process."""

    descriptors: int
    sockets: int
    threads: int
    # Resident memory, MiB
    rss: float

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """Read /proc."""
        folder = Path(f"/proc/{pid}")
        links = []
        for number in os.listdir(folder / "fd"):
            try:
                links.append(os.readlink(folder / "fd" / number))
            except FileNotFoundError:
                continue  # Closed while we looked.
        sockets = sum(link.startswith("socket:") for link in links)
        threads = len(os.listdir(folder / "task"))
        return cls(len(links), sockets, threads, memory_mib(pid))


def free_ports(count: int) -> list[int]:
    """No two of them the same."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    return free_ports(1)[0]


async def listens(port: int) -> bool:
    """Return whether something takes connections at a port of this machine."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def listening_at(port: int, *command: str, **options: Any) -> asyncio.subprocess.Process:
    """Start a program, whose output nobody gets, and wait until it takes connections at a port of this machine."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, **options
    )
    try:
        async with asyncio.timeout(60):
            while not await listens(port):
                assert process.returncode is None, f"{command[0]} ended"
                await asyncio.sleep(0.02)
    except BaseException:
        await end(process)
        raise
    return process


async def end(process: asyncio.subprocess.Process | None) -> None:
    """Kill a process that has not ended: without a word to anybody."""
    if process is not None and process.returncode is None:
        process.kill()
        await process.wait()


class ServerProcess:
    """`python -m server.main` with settings as environment variables; what it prints is kept in
    `output`.

    `wrapper` goes before the command (strace, say), `module` replaces `server.main`, `prepare` runs
    in the child before it becomes the server. `port`: 0 for a free one; `tree`: where the program is.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        wrapper: Sequence[str] = (),
        module: str = "server.main",
        prepare: Callable[[], None] | None = None,
        port: int = 0,
        tree: Path = ROOT,
    ) -> None:
        self._tree = tree
        self.port = port or free_port()
        scheme = "https" if (settings or {}).get("HTTPS_ENABLED") == "true" else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.output = bytearray()
        self._command = [*wrapper, sys.executable, "-m", module]
        self._prepare = prepare
        # Nothing of this process's own settings counts, and no .env: an environment goes before it.
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "ENGINE": "builtin",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "RATE_LIMIT_PER_MINUTE": "0",
            **(settings or {}),
        }
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the server itself, not of a wrapper around it."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        if len(self._command) > 3:
            return int(children.read_text().split()[0])
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode if self._process is not None else None

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=self._tree,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=self._prepare,
        )
        self._reader = asyncio.create_task(self._read(self._process), name="server-output")
        try:
            async with asyncio.timeout(60):
                while not await self._answers():
                    assert self._process.returncode is None, f"the server ended:\n{self.text}"
                    await asyncio.sleep(0.05)
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _answers(self) -> bool:
        try:
            return (await request("GET", f"{self.url}/health/live")).status == 200
        except (OSError, EOFError):
            return False

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(65536):
            self.output += data

    def footprint(self) -> Footprint:
        return Footprint.of(self.pid)

    async def stop(self) -> int:
        """SIGTERM, and its exit status; killed when it does not end within 15 s.

        Safe to call twice.
        """
        process = self._process
        assert process is not None
        if process.returncode is None:
            # It may have ended by itself.
            with contextlib.suppress(IndexError, OSError):
                os.kill(self.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(15):
                    await process.wait()
            except TimeoutError:
                process.kill()
        if self._reader is not None:
            await self._reader
        return await process.wait()
