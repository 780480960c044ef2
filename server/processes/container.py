"""The container that a model runs in: its name, its process, and what is left of those whose program is gone.

docker and podman understand the same few words here; what differs is said where it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from server.processes.process import EngineProcess, ProcessFailed

log = logging.getLogger(__name__)

# For each word to docker or podman, which may wait for others
_WORD_SECONDS = 20.0
# Looks whether those that were removed are gone: what is being removed is listed still, and its name taken.
_LOOKS, _LOOK_SECONDS = 50, 0.1
_MOST_LEFT = 20
_PREFIX = "qwen-camera-engine-"
# The machine as its processes are numbered here, the program's process id, and when that began
_NAME = re.compile(rf"{_PREFIX}([0-9a-f]{{8}})-(\d+)-(\d+)")


def own_name() -> str:
    """The name of this program's one container; nobody else gives that one, and it tells whether its program still runs."""
    pid = os.getpid()
    return f"{_PREFIX}{_here()}-{pid}-{_began(pid)}"


def left_over(names: Iterable[str]) -> list[str]:
    """Those that were made by programs of this machine that run no more; of others nothing is known."""
    found = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match and match[1] == _here() and _began(int(match[2])) != int(match[3]):
            found.append(name)
    return found


class Container:
    """The one called `name`, as `program` (docker or podman) knows it; `environment` is that of each word to it."""

    def __init__(self, program: str, name: str, environment: Mapping[str, str]) -> None:
        self._program, self._name = program, name
        self._environment = dict(environment)

    async def make_room(self) -> None:
        """Remove what has its name, and containers of programs that are gone: nobody watches those any more."""
        left = left_over(await self._names())[:_MOST_LEFT]
        if left:
            log.warning("containers that were left over are removed", extra={"count": len(left)})
            await self._say("rm", "--force", "--volumes", *left)
        await self.remove()

    async def remove(self) -> None:
        """Returns when it is gone, with what it wrote."""
        for _ in range(_LOOKS):
            if self._name not in await self._names():
                return
            await self._say("rm", "--force", "--volumes", self._name)
            await asyncio.sleep(_LOOK_SECONDS)
        log.warning("a container cannot be removed")

    def first_process(self) -> int | None:
        """As this machine numbers it; None where there is none yet, or in a machine of its own (Docker Desktop's). Blocking."""
        command = (self._program, "inspect", "--format", "{{.Id}} {{.State.Pid}}", self._name)
        try:
            done = subprocess.run(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_WORD_SECONDS,
                check=True,
            )
            identity, pid = done.stdout.split()
            # Another machine's number would be anybody's here.
            groups = Path(f"/proc/{int(pid)}/cgroup").read_text("ascii", "replace")
        except (OSError, ValueError, subprocess.SubprocessError):
            return None
        return int(pid) if identity in groups else None

    async def _names(self) -> tuple[str, ...]:
        """Of ours, running or not."""
        return await self._say(
            "ps", "--all", "--format", "{{.Names}}", "--filter", f"name={_PREFIX}"
        )

    async def _say(self, *words: str) -> tuple[str, ...]:
        """What it answers, line by line; nothing when it does not."""
        process = EngineProcess((self._program, *words), self._environment, grace=1.0)
        try:
            process.start()
        except ProcessFailed:
            return ()
        try:
            async with asyncio.timeout(_WORD_SECONDS):
                await process.ended.wait()
        except TimeoutError:
            log.warning("the container runtime does not answer: a container may be left over")
        finally:
            await process.stop()
        return process.lines


def _here() -> str:
    """This boot of this machine, and which processes are seen from here: elsewhere the numbers mean others."""
    told = ""
    with contextlib.suppress(OSError):
        told = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        told += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def _began(pid: int) -> int:
    """When a process began, in ticks since the machine did (proc(5)); 0 when there is none, and where that is not told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return int(stat.rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
