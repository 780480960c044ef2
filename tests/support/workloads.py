"""Containers of deploy/kubernetes as processes of this machine: their commands, their environment and
their probes, with addresses and folders of the test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from scripts.bench.http_json import request
from tests.support.kubernetes import Manifest

ROOT = Path(__file__).resolve().parents[2]
# The most that a probe waits in a test (seconds): a busy machine is slow to start things.
PATIENCE = 60.0


class Workload:
    """One container's process.

    `places`: what stands in the manifest's command and environment, to what it is here. `fields`:
    values of the pod that variables take (`fieldRef`, by its path). `secrets`: by the name of the
    variable. `programs`: folder that goes before the PATH.
    """

    def __init__(
        self,
        container: Manifest,
        config: Mapping[str, str],
        *,
        places: Mapping[str, str],
        port: int,
        fields: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> None:
        self.container, self.port = container, port
        self._places = places
        path = os.environ["PATH"]
        self._environment = {
            "PATH": f"{programs}:{path}" if programs else path,
            "PYTHONDONTWRITEBYTECODE": "1",
            **{name: self.place(value) for name, value in config.items()},
            **(secrets or {}),
        }
        for one in container.get("env", ()):
            value = one.get("value")
            if value is None:
                value = (fields or {})[one["valueFrom"]["fieldRef"]["fieldPath"]]
            # $(NAME) is what stands before it in the list.
            value = re.sub(r"\$\((\w+)\)", lambda m: self._environment[m[1]], value)
            self._environment[one["name"]] = self.place(value)
        self.output = bytearray()
        self.process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    def place(self, text: str) -> str:
        """With this machine's addresses."""
        for old, new in self._places.items():
            text = text.replace(old, new)
        return text

    @property
    def command(self) -> Sequence[str]:
        """The image's `python` is the one that runs the tests."""
        words = [*self.container["command"], *self.container.get("args", ())]
        words = [self.place(word) for word in words]
        return [sys.executable, *words[1:]] if words[0] == "python" else words

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            cwd=ROOT,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read(self.process), name="workload-output")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    await self.process.wait()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        if self._reader is not None:
            await self._reader

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(65536):
            self.output += data

    async def probe(self, name: str) -> bool:
        """Probe once, as the kubelet would."""
        spec: dict[str, Any] = self.container[name]
        if (get := spec.get("httpGet")) is not None:
            try:
                reply = await request("GET", f"http://127.0.0.1:{self.port}{get['path']}")
            except (OSError, EOFError):
                return False
            return 200 <= reply.status < 400
        if (run := spec.get("exec")) is not None:
            words = [self.place(word) for word in run["command"]]
            done = await asyncio.create_subprocess_exec(
                *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            return await done.wait() == 0
        assert "tcpSocket" in spec
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def becomes(self, name: str, wanted: bool = True) -> None:
        """Raises TimeoutError, and AssertionError when the process ends meanwhile."""
        assert self.process is not None
        async with asyncio.timeout(PATIENCE):
            while await self.probe(name) is not wanted:
                ended = self.process.returncode is not None
                assert not ended, self.output.decode(errors="replace")
                await asyncio.sleep(0.1)
