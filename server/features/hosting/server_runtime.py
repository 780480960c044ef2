"""Runtimes of model servers: a process or container that is started here, or a remote server.

The commands used here are the same for docker and podman.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
from collections.abc import Mapping

from server.core.aio import cancel_and_wait
from server.features.hosting import llama_wheel
from server.features.hosting.catalogue import engine_log
from server.features.hosting.catalogue.entry import Library
from server.features.hosting.runtime import OnLine, OnProgress, Plan, StartFailed
from server.models.base import Engine, EngineState, Trouble
from server.models.openai.chat_client import Endpoint
from server.models.openai.engine import OpenAIEngine
from server.models.thinking import ThinkingLimits
from server.shared.processes import usage
from server.shared.processes.environment import make_child_environment
from server.shared.processes.process import ChildProcess, LogRing, ProcessFailed

log = logging.getLogger(__name__)
# Seconds within which a model must answer: large weights may be on slow disks, and images are downloaded.
LOAD_SECONDS = 3600.0
# Seconds between two probes of a starting server: in its first _QUICK_SECONDS, and later
_PROBE_SECONDS = (0.1, 0.5)
_QUICK_SECONDS = 10.0
# Seconds for which a server may answer without being usable
_MISCONFIGURED_SECONDS = 10.0
# docker and podman exit with 128 plus the number of the signal that ended the container's program.
_BY_SIGNAL = 128
_INCOMPATIBLE = (
    "It answers, but not as an OpenAI-compatible server that has this model and accepts our key. See its log, or choose"
    " another model or mode."
)
# Fatal, because pictures must not be sent to another program
_FOREIGN_PORT = (
    "Another program answers at the port of the model. Choose another port, or end that program."
)
# Remedy for an unknown cause
_REMEDY = "Choose another mode, precision or model."
# Lines of a server's log about our own probes
_PROBE_LINE = re.compile(r'"GET /(?:health|v1/models)\b[^"]*" 200')


class ServerRuntime:
    """A model server that is started here, as a process or in a container."""

    def __init__(
        self,
        plan: Plan,
        *,
        on_line: OnLine,
        on_progress: OnProgress,
        grace: float = 10.0,
        wrong_seconds: float = _MISCONFIGURED_SECONDS,
        thinking: ThinkingLimits,
    ) -> None:
        launch, model = plan.launch, plan.model
        assert model is not None
        self._choice, self._launch, self._model = plan.choice, launch, model
        self._wrong_seconds = wrong_seconds
        self._on_line, self._on_progress = on_line, on_progress
        self._phase = "starting"
        self._on_cpu = False
        environment = make_child_environment(
            os.environ,
            launch.env,
            fetches=bool(launch.container) or llama_wheel.MODULE in launch.argv,
        )
        self._environment = environment
        self._process = ChildProcess(
            launch.argv,
            environment,
            ring=LogRing([launch.key], without=_PROBE_LINE),
            on_line=self._on_log_line,
            grace=grace,
            after=_make_remove_command(launch.argv[0], launch.container)
            if launch.container
            else (),
        )
        self.ended = self._process.ended
        # The engine reads sizes from the folder that the server names, which in a container is another path.
        geometry = model.geometry if launch.container else None
        self._is_vllm = model.library is not Library.LLAMA_CPP
        endpoint = Endpoint(
            launch.base_url,
            launch.key,
            launch.served_name,
            factor=geometry.factor if geometry is not None else None,
            thinking=thinking,
            picture_share=launch.picture_share,
        )
        self.engine: Engine = OpenAIEngine("local", endpoint)

    async def start(self) -> None:
        try:
            self._process.start()
        except ProcessFailed as error:
            raise StartFailed(error.message) from None
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                await self._wait_until_ready()
        except TimeoutError:
            raise StartFailed(
                f"It did not answer within {LOAD_SECONDS / 60:.0f} min (last phase: {self._phase}). See its log, and choose a"
                " smaller model or faster disks."
            ) from None

    async def _wait_until_ready(self) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        wrong_since: float | None = None
        while True:
            if self._on_cpu:
                raise StartFailed(f"It was stopped. {engine_log.NO_GPU}")
            state = await self._probe()
            if self.ended.is_set():
                # The log may be shown, because it does not contain a question yet.
                lines = self._process.lines
                raise StartFailed(
                    f"It {self._describe_exit()}. {self._find_known_reason() or f'{engine_log.find_last_error(lines)} {_REMEDY}'}",
                    port_taken=any(re.search(engine_log.PORT_TAKEN, line) for line in lines),
                )
            answers = state in (EngineState.READY, EngineState.MISCONFIGURED)
            if answers and self._is_ours() is False:
                raise StartFailed(_FOREIGN_PORT, port_taken=True)
            if state is EngineState.READY:
                return
            if state is not EngineState.MISCONFIGURED:
                wrong_since = None
            elif wrong_since is None:
                wrong_since = now()
            elif now() - wrong_since > self._wrong_seconds:
                raise StartFailed(_INCOMPATIBLE)
            pause = _PROBE_SECONDS[now() - began > _QUICK_SECONDS]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.ended.wait()

    async def _probe(self) -> EngineState:
        """Probe the server. Return at once if its process ends meanwhile."""
        probe = asyncio.create_task(self.engine.probe(), name="first probe")
        end = asyncio.create_task(self.ended.wait(), name="end")
        try:
            await asyncio.wait((probe, end), return_when=asyncio.FIRST_COMPLETED)
            return self.engine.status.state
        finally:
            await cancel_and_wait((probe, end))

    def _is_ours(self) -> bool | None:
        """Return whether the started program is the one that listens on our port; None if unknown."""
        pid, port = self._process.pid, self._launch.port
        if self._launch.container or pid is None or port is None:
            return None
        return usage.is_listening(pid, port)

    def _on_log_line(self, line: str) -> None:
        found = engine_log.parse_progress(line)
        if found is not None:
            self._phase = found.phase
            self._on_progress(found)
        if self._is_vllm and not self._launch.for_cpu:
            self._on_cpu = self._on_cpu or engine_log.ON_CPU.search(line) is not None
        self._on_line(line)

    async def stop(self) -> None:
        await self._process.stop()
        await self.engine.close()
        if self._launch.container and self._process.pid is not None:
            # The removal in the keeper process may have been killed.
            await _remove(self._launch.argv[0], self._launch.container, self._environment)

    def explain_end(self) -> str:
        reason = self._find_known_reason() or engine_log.find_last_error(self._process.lines)
        return f"{self._describe_exit()}. {reason}"

    def _describe_exit(self) -> str:
        status = self._process.status or 0
        if self._launch.container and status > _BY_SIGNAL:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(status - _BY_SIGNAL).name}"
        return self._process.explain_end()

    def _find_known_reason(self) -> str:
        """Return the cause of the failure if it is known, else ""."""
        choice = self._choice
        # Settings by their names in the panel
        reason = engine_log.explain_failure(
            self._process.lines,
            memory=f"the share of GPU memory (now {choice.gpu_memory_utilization:g})",
            context="the context" + (f" (now {choice.context})" if choice.context else ""),
            dtype=f"the precision {choice.dtype}",
            for_cpu=self._launch.for_cpu or not self._is_vllm,
            port=self._launch.port or "",
            path=self._model.folder,
        )
        killed = self._process.status == -signal.SIGKILL
        if self._launch.container:
            killed = self._process.status == _BY_SIGNAL + signal.SIGKILL
        if not reason and killed:
            return "The system killed it, probably because main memory was full. Choose a smaller model, or end other programs."
        return reason


class RemoteRuntime:
    """A remote model server, which is neither started nor stopped here."""

    def __init__(
        self, plan: Plan, *, api_key: str, thinking: ThinkingLimits, machines: Mapping[str, str]
    ) -> None:
        launch, model = plan.launch, plan.model
        self.ended = asyncio.Event()
        geometry = model.geometry if model is not None else None
        self.engine: Engine = OpenAIEngine(
            "local",
            Endpoint(
                launch.base_url,
                api_key,
                launch.served_name,
                factor=geometry.factor if geometry is not None else None,
                thinking=thinking,
                machines=machines,
            ),
        )
        self._url, self._has_key = plan.choice.url, bool(api_key)

    async def start(self) -> None:
        status = await self.engine.probe()
        if status.state is EngineState.UNREACHABLE:
            raise StartFailed(
                f"Nothing answers at {self._url}. Start that server, or correct the address."
            )
        if status.state is EngineState.MISCONFIGURED:
            reason = f"cannot be used. {status.detail}"
            if status.trouble is Trouble.KEY:
                given = "refuses the given API key" if self._has_key else "requires an API key"
                reason = f"{given}. Enter the key that it was started with."
            elif status.trouble is Trouble.PROTOCOL:
                reason = "is not OpenAI-compatible. Check the address, which usually ends in /v1."
            raise StartFailed(f"The server at {self._url} {reason}")
        if status.state is EngineState.LOADING:
            raise StartFailed(
                f"The server at {self._url} is still loading. Choose it again when it is ready."
            )

    async def stop(self) -> None:
        await self.engine.close()

    def explain_end(self) -> str:
        return "is gone."


# Removal of a container

# Seconds for the command of docker or podman, which may wait for other commands
_COMMAND_SECONDS = 20.0


def _make_remove_command(program: str, name: str) -> tuple[str, ...]:
    """Return the command that stops a container and removes it with its volumes."""
    return (program, "rm", "--force", "--volumes", name)


async def _remove(program: str, name: str, environment: Mapping[str, str]) -> None:
    """Remove the container in case `docker run --rm` did not, for example after SIGKILL."""
    process = ChildProcess(_make_remove_command(program, name), environment, grace=1.0)
    with contextlib.suppress(ProcessFailed, TimeoutError):
        process.start()
        async with asyncio.timeout(_COMMAND_SECONDS):
            await process.ended.wait()
    await process.stop()
