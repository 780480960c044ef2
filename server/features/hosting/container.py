"""The container that a model runs in: its name, its process, and the removal of containers left over.

docker and podman understand the same few commands here.
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

from server.shared.processes.process import ChildProcess, ProcessFailed

log = logging.getLogger(__name__)
# For each command to docker or podman, which may wait for others
_COMMAND_SECONDS = 20.0
# Attempts and the pause between them: a container that is being removed is still listed, and its
# name taken.
_ATTEMPTS, _PAUSE_SECONDS = 50, 0.1
_MOST_LEFT = 20
_PREFIX = "qwen-camera-engine-"
# The machine and its numbering of processes, the program's process id, and when that process began
_NAME = re.compile(rf"{_PREFIX}([0-9a-f]{{8}})-(\d+)-(\d+)")


def own_name() -> str:
    """Return the name of this program's one container; it shows whose process has to run."""
    pid = os.getpid()
    return f"{_PREFIX}{_here()}-{pid}-{_started(pid)}"


def left_over(names: Iterable[str]) -> list[str]:
    """List the containers of this machine's programs that no longer run; others are not known."""
    found = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match and match[1] == _here() and _started(int(match[2])) != int(match[3]):
            found.append(name)
    return found


class Container:
    """Manage the container `name` of `program` (docker or podman), with `environment`."""

    def __init__(self, program: str, name: str, environment: Mapping[str, str]) -> None:
        self._program, self._name = program, name
        self._environment = dict(environment)

    async def remove_left_over(self) -> None:
        """Remove the container of this name, and those of programs that are gone."""
        left = left_over(await self._names())[:_MOST_LEFT]
        if left:
            log.warning("containers that were left over are removed", extra={"count": len(left)})
            await self._run("rm", "--force", "--volumes", *left)
        await self.remove()

    async def remove(self) -> None:
        """Remove it with what it wrote; return when it is gone."""
        for _ in range(_ATTEMPTS):
            if self._name not in await self._names():
                return
            await self._run("rm", "--force", "--volumes", self._name)
            await asyncio.sleep(_PAUSE_SECONDS)
        log.warning("a container cannot be removed")

    def first_process(self) -> int | None:
        """Return its first process by this machine's number. Blocking.

        None where there is none yet, or where it runs in another machine (Docker Desktop's).
        """
        command = (self._program, "inspect", "--format", "{{.Id}} {{.State.Pid}}", self._name)
        try:
            done = subprocess.run(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=True,
            )
            identity, pid = done.stdout.split()
            # A number of another machine may be any process here.
            groups = Path(f"/proc/{int(pid)}/cgroup").read_text("ascii", "replace")
        except (OSError, ValueError, subprocess.SubprocessError):
            return None
        return int(pid) if identity in groups else None

    async def _names(self) -> tuple[str, ...]:
        """List our containers, running or not."""
        return await self._run(
            "ps", "--all", "--format", "{{.Names}}", "--filter", f"name={_PREFIX}"
        )

    async def _run(self, *words: str) -> tuple[str, ...]:
        """Run a command; return the lines of its answer, none when it does not answer."""
        process = ChildProcess((self._program, *words), self._environment, grace=1.0)
        try:
            process.start()
        except ProcessFailed:
            return ()
        try:
            async with asyncio.timeout(_COMMAND_SECONDS):
                await process.ended.wait()
        except TimeoutError:
            log.warning("the container runtime does not answer: a container may be left over")
        finally:
            await process.stop()
        return process.lines


def _here() -> str:
    """Identify this boot and namespace of process ids: elsewhere the numbers mean others."""
    found = ""
    with contextlib.suppress(OSError):
        found = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        found += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(found.encode()).hexdigest()[:8]


def _started(pid: int) -> int:
    """Return when a process started, in ticks since boot (proc(5)); 0 when it is gone or that is
    unknown.

    Not by psutil, whose start time moves with the machine's clock; a name has to stay the same.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return int(stat.rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
