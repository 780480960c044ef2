"""Hosts of a fleet: this machine, or network namespaces of it with a bridge between them.

Namespaces need root. Nothing outside them is changed: their names begin with a prefix of this
process, and they go with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from scripts.bench.processes import MeasurementError, free_port

# The network of the namespaces; the bridge has no address, and no way leads out of it.
_NETWORK = "10.87.0"
_FOLDER = "/run/netns"
# setns(2): a network namespace
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Host:
    """A place for processes. `command`: the words before a program's own."""

    name: str = "here"
    address: str = "127.0.0.1"
    command: tuple[str, ...] = ()

    async def start(
        self, program: Sequence[str], port: int, seconds: float = 10.0, **options: Any
    ) -> asyncio.subprocess.Process:
        """Start a program here, and wait until it takes connections at a port.

        Raises MeasurementError when it does not, or ends before.
        """
        silent = dict.fromkeys(("stdout", "stderr"), asyncio.subprocess.DEVNULL)
        process = await asyncio.create_subprocess_exec(
            *(*self.command, *program),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            **(silent | options),
        )
        end = asyncio.get_running_loop().time() + seconds
        while process.returncode is None and asyncio.get_running_loop().time() < end:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(self.address, port)
                writer.close()
                return process
            await asyncio.sleep(0.02)
        ended = process.returncode is not None
        await killed(process)
        raise MeasurementError(
            f"{program[0]} "
            + ("ended at once" if ended else f"does not listen after {seconds:g} s")
        )


async def killed(process: asyncio.subprocess.Process | None) -> None:
    """End a process without a word (SIGKILL)."""
    if process is not None and process.returncode is None:
        process.kill()
        await process.wait()


def require(program: str, wanted_by: str) -> None:
    """Raises MeasurementError where a program is not installed."""
    if shutil.which(program) is None:
        raise MeasurementError(f"{program} is not installed: {wanted_by}")


class Service(ABC):
    """A program on a free port of a host. Use as a context manager."""

    def __init__(self, host: Host) -> None:
        self.host, self.port = host, free_port()
        self.address = f"{host.address}:{self.port}"
        self._open = contextlib.ExitStack()
        self._process: asyncio.subprocess.Process | None = None

    @abstractmethod
    async def start(self) -> None:
        """Start it. Raises MeasurementError."""

    async def kill(self) -> None:
        await killed(self._process)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self._open.close()


class Hosts:
    """All on this machine, beside each other. Use as a context manager."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def __getitem__(self, name: str) -> Host:
        return Host(name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def cut(self, name: str) -> None:
        """Take a host from the network. Raises MeasurementError where hosts are one machine."""
        raise MeasurementError("a partition needs --namespaces")

    async def mend(self, name: str) -> None:
        """Give it back."""


class Namespaces(Hosts):
    """A network namespace for each host. The first one is that of this process, from the start on."""

    def __init__(self, names: Sequence[str]) -> None:
        """Raises MeasurementError without root, or without the programs."""
        if os.geteuid() != 0:
            raise MeasurementError("--namespaces needs root: it makes network namespaces")
        for program in ("ip", "nsenter"):
            require(program, "--namespaces needs it")
        super().__init__(names)
        self._prefix = f"fleet{os.getpid()}"
        self._stack = AsyncExitStack()

    def _space(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def __getitem__(self, name: str) -> Host:
        number = self._names.index(name) + 2
        before = ("nsenter", f"--net={_FOLDER}/{self._space(name)}")
        return Host(name, f"{_NETWORK}.{number}", before)

    async def __aenter__(self) -> Self:
        try:
            hub = await self._made("hub")
            await _ip("-n", hub, "link", "add", "middle", "type", "bridge")
            await _ip("-n", hub, "link", "set", "middle", "up")
            for name in self._names:
                space = await self._made(name)
                way = _way(name)
                peer = ("type", "veth", "peer", "name", "eth0", "netns", space)
                await _ip("-n", hub, "link", "add", way, *peer)
                await _ip("-n", hub, "link", "set", way, "master", "middle", "up")
                address = f"{self[name].address}/24"
                await _ip("-n", space, "address", "add", address, "dev", "eth0")
                for link in ("lo", "eth0"):
                    await _ip("-n", space, "link", "set", link, "up")
            # Threads begin where the one that starts them is.
            _enter(self._space(self._names[0]))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _made(self, name: str) -> str:
        space = self._space(name)
        await _ip("netns", "add", space)
        self._stack.push_async_callback(_ip, "netns", "delete", space)
        return space

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def cut(self, name: str) -> None:
        await _ip("-n", self._space("hub"), "link", "set", _way(name), "down")

    async def mend(self, name: str) -> None:
        await _ip("-n", self._space("hub"), "link", "set", _way(name), "up")


def _way(name: str) -> str:
    """Return the name of the bridge's end of a host's link; Linux takes 15 characters."""
    return f"to-{name}"


def _enter(space: str) -> None:
    """Move this thread, and those that it starts, into a namespace. Raises MeasurementError."""
    with open(f"{_FOLDER}/{space}", encoding="ascii") as handle:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            why = os.strerror(ctypes.get_errno())
            raise MeasurementError(f"this process cannot enter its namespace: {why}")


async def _ip(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "ip",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode != 0:
        raise MeasurementError(f"`ip {' '.join(words)}`: {said.decode(errors='replace').strip()}")
