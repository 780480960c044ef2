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
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import psutil

from scripts.arguments import ROOT
from scripts.bench.http_json import request, request_json


class MeasurementError(Exception):
    """The measurement is not possible; the text is for the user."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """A program in its own process. `command`: arguments in front of its command line, for another host."""

    command: tuple[str, ...] = ()
    _process: asyncio.subprocess.Process | None = None

    async def _begin(self, *words: str, **options: Any) -> asyncio.subprocess.Process:
        """Start a module of the project."""
        self._process = await asyncio.create_subprocess_exec(
            *(*self.command, sys.executable, "-m", *words),
            cwd=ROOT,
            # Ctrl+C is for the measuring process, which then ends this one.
            start_new_session=True,
            **options,
        )
        return self._process

    async def send_signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill the process with SIGKILL."""
        await self.send_signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()


class StandInProcess(Program):
    """The stand-in model."""

    def __init__(self, *, first_token_ms: float = 50, between_ms: float = 10) -> None:
        self.base_url = ""
        self._arguments = ["--first-token-ms", str(first_token_ms), "--between-ms", str(between_ms)]

    async def __aenter__(self) -> Self:
        pipes = dict.fromkeys(("stdin", "stdout"), asyncio.subprocess.PIPE)
        process = await self._begin("scripts.bench.stand_in_model", *self._arguments, **pipes)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        self.base_url = json.loads(line)["base_url"]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await asyncio.wait_for(self._process.wait(), 10)

    async def fetch_records(self, kind: str = "chat") -> list[dict[str, Any]]:
        """Return the requests of a kind (stand_in_model.Record)."""
        url = self.base_url.removesuffix("/v1")
        return [one for one in await request_json("GET", f"{url}/records") if one["kind"] == kind]


class ServerProcess(Program):
    """`python -m server.main` on a free port, with these settings; quiet, ended by SIGTERM."""

    def __init__(self, **environment: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        # Seconds from the start of the process to its first page; 0 before it
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

    @classmethod
    def for_model(cls, model: StandInProcess, *, level: str = "", **environment: str) -> Self:
        """Return a server whose engine is the stand-in; `level` of its log."""
        more = {"LOG_LEVEL": level} if level else {}
        return cls(ENGINE="vllm", VLLM_BASE_URL=model.base_url, **more, **environment)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        begin = time.monotonic()
        # Its output is shown only after a failure.
        said = dict.fromkeys(("stdout", "stderr"), self._said)
        process = await self._begin("server.main", env=self._environment, **said)
        try:
            while True:
                if process.returncode is not None:
                    raise MeasurementError(
                        f"the server ended with {process.returncode}:\n{self.read_output()}"
                    )
                with contextlib.suppress(OSError, EOFError):
                    reply = await request("GET", self.url, headers={"Accept": "text/html"})
                    if reply.status == 200:
                        self.seconds_to_first_page = time.monotonic() - begin
                        return self
                if time.monotonic() - begin > 60:
                    raise MeasurementError(
                        f"the server did not serve the page at {self.url} within 60 s"
                    )
                await asyncio.sleep(0.01)
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.send_signal(signal.SIGTERM)
            if self._process is not None:
                await asyncio.wait_for(self._process.wait(), 20)
        except TimeoutError:
            await self.kill()
            raise MeasurementError("the server did not end within 20 s of SIGTERM") from None
        finally:
            self._open.close()

    def read_output(self) -> str:
        """Return the end of its output."""
        self._said.flush()
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - 3000))
        return self._said.read().decode(errors="replace")

    async def wait_for_engine(self, seconds: float = 30) -> dict[str, Any]:
        """Wait until /health responds with status 200. Return the body."""
        end = time.monotonic() + seconds
        while True:
            reply = await request("GET", f"{self.url}/health")
            if reply.status == 200:
                body: dict[str, Any] = reply.parse_json()
                return body
            if time.monotonic() > end:
                raise MeasurementError(f"no engine is ready after {seconds} s: {reply.body!r:.300}")
            await asyncio.sleep(0.1)


# Processor time of processes, and idle processors


@dataclass(frozen=True, slots=True)
class Usage:
    # Seconds of processor time so far, user and system, all threads
    cpu: float
    # Resident memory, MiB
    rss: float
    threads: int
    # None for another user's process, which only root can inspect
    descriptors: int | None
    at: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Return the usage of a process. Raises MeasurementError if it has ended."""
        descriptors: int | None = None
        try:
            process = psutil.Process(pid)
            with contextlib.suppress(psutil.AccessDenied):
                descriptors = process.num_fds()
            with process.oneshot():
                times, rss = process.cpu_times(), process.memory_info().rss
                threads = process.num_threads()
        except psutil.Error as error:
            raise MeasurementError(f"the measured {error}") from None
        cpu = times.user + times.system
        return cls(cpu, rss / 2**20, threads, descriptors, time.monotonic())

    def compute_cores_since(self, earlier: Usage) -> float:
        """Return the mean number of used cores since an earlier usage."""
        return (self.cpu - earlier.cpu) / max(1e-9, self.at - earlier.at)


async def measure_cores(pid: int, seconds: float) -> float:
    """Return the mean number of cores that a process uses over this time. Raises MeasurementError."""
    before = Usage.of(pid)
    await asyncio.sleep(seconds)
    return Usage.of(pid).compute_cores_since(before)


def read_cpu_seconds() -> tuple[float, float]:
    """Return the idle seconds of all processors, and all their seconds."""
    times = psutil.cpu_times()._asdict()
    # The times of guests are also contained in the others.
    own = {name: seconds for name, seconds in times.items() if not name.startswith("guest")}
    return own["idle"] + own.get("iowait", 0.0), sum(own.values())


# The measuring machine's influence on the figures of a fleet, whose people and cameras share one process

# A camera with five pictures per second that pauses for longer did not get processor time. A server that
# regards it as frozen expects pictures closer together (server/media/video/camera_state.py).
PAUSE_SECONDS = 1.2
# Seconds before the loss of a question within which a pause explains it: the server regards a camera as
# frozen after two, and a question waits three for its picture.
BEFORE_SECONDS = 8.0
_LOOK_SECONDS = 0.05


def find_longest_pause(times: Iterable[float], since: float, now: float) -> float:
    """Return the longest interval between `since` and `now` without any of `times`, which are ascending."""
    inside = [since, *(at for at in times if since < at < now), now]
    return max(after - before for before, after in pairwise(inside))


class Machine:
    """Measures this process and its machine. `watch` runs beside the measurement until cancelled."""

    def __init__(self) -> None:
        # Times at which the event loop ran `watch`
        self._turns: deque[float] = deque(maxlen=100_000)

    async def watch(self) -> None:
        while True:
            self._turns.append(time.monotonic())
            await asyncio.sleep(_LOOK_SECONDS)

    def begin_interval(self) -> Callable[[], dict[str, float]]:
        """Begin an interval. Return a function that returns its figures: the idle fraction of all processors, the
        cores used by the people's process, and the longest pause of that process.
        """
        begin, seconds, usage = time.monotonic(), read_cpu_seconds(), Usage.of(os.getpid())

        def get_figures() -> dict[str, float]:
            idle, whole = (b - a for a, b in zip(seconds, read_cpu_seconds(), strict=True))
            pause = find_longest_pause(list(self._turns), begin, time.monotonic()) - _LOOK_SECONDS
            return {
                "idle_share": round(idle / max(0.01, whole), 2),
                "people_cores": round(Usage.of(os.getpid()).compute_cores_since(usage), 2),
                "pause_max_ms": round(1000 * max(0.0, pause)),
            }

        return get_figures
