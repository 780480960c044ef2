"""A manager over stand-in programs, and everything around it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from server.features.hosting.active_engine import ActiveEngine
from server.features.hosting.catalogue.choice import Choice, CommandError
from server.features.hosting.catalogue.entry import Ability, Model, ModelType, RunMode
from server.features.hosting.catalogue.launch import Launch, format_shell_line
from server.features.hosting.host import HostProbe
from server.features.hosting.manager import (
    EngineManager,
    GpuFree,
    MakePlan,
    ManagerContext,
    RuntimeFactory,
)
from server.features.hosting.planner import Planner, find_port
from server.features.hosting.runtime import OnLine, OnProgress, Plan, Runtime
from server.features.hosting.server_runtime import ServerRuntime
from server.features.hosting.status import ManagerState, ManagerStatus
from server.features.local_models.engine import LocalEngine, make_runtime
from server.models.base import Engine
from server.models.selector import EngineProber, EngineSelector
from server.models.thinking import ThinkingLimits
from tests.real_model.server import PYTHON
from tests.support.fakes import FakeEngine

STAND_IN = Path(__file__).with_name("engine_stand_in.py")


def model(name: str, model_type: ModelType = ModelType.VISION, *abilities: Ability) -> Model:
    return Model(
        id=f"tests/{name}",
        model_type=model_type,
        architecture="stand_in",
        abilities=frozenset(abilities or (Ability.IMAGES,)),
        weights_bytes=1,
        memory_bytes=1,
    )


WAN, VIDEO = (model(name, ModelType.VIDEO, Ability.TEXT_TO_VIDEO) for name in ("wan", "video"))


def choice(behaviour: str, port: int | None = None) -> Choice:
    """On a port that nobody else's tests would take, too."""
    free = port or find_port(None)
    return Choice(model=f"tests/{behaviour}", mode=RunMode.SUBPROCESS, port=free)


def plan(chosen: Choice) -> Plan:
    """Create the runtime of the stand-in, whose behaviour the model's name selects."""
    behaviour = chosen.model.partition("/")[2]
    if behaviour == "nothing":
        raise CommandError("The folder /nowhere cannot be read. Give another one.")
    program = "no-such-program" if behaviour == "absent" else sys.executable
    argv = (program, "-S", str(STAND_IN), behaviour, str(chosen.port))
    env = {"VLLM_API_KEY": f"key-of-{behaviour}-{os.urandom(8).hex()}"}
    url = f"http://127.0.0.1:{chosen.port}/v1"
    launch = Launch(argv, env, format_shell_line(argv, env), port=chosen.port, base_url=url)
    return Plan(chosen, launch, VIDEO if behaviour == "video" else model(behaviour))


def stand_in(
    chosen: Plan, on_line: OnLine, on_progress: OnProgress, *, wrong_seconds: float = 10.0
) -> ServerRuntime:
    """Run a stand-in program. `wrong_seconds`: as ServerRuntime has it."""
    return ServerRuntime(
        chosen,
        on_line=on_line,
        on_progress=on_progress,
        grace=0.5,
        wrong_seconds=wrong_seconds,
        thinking=ThinkingLimits(),
    )


@dataclass
class Managed:
    manager: EngineManager
    engines: EngineSelector
    spare: Engine
    seen: list[ManagerStatus] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def states(self) -> list[str]:
        """Each state once, in order."""
        found = [str(status.state) for status in self.seen]
        return [one for n, one in enumerate(found) if n == 0 or one != found[n - 1]]

    async def load(self, chosen: Choice | str) -> ManagerStatus:
        """Start a model, by a stand-in's behaviour or as chosen; return the status at the end of that."""
        await self.manager.start(choice(chosen) if isinstance(chosen, str) else chosen)
        return await self.manager.wait_settled()

    async def ready(self, chosen: Choice | str) -> ManagerStatus:
        """As `load`, of one that can be loaded."""
        status = await self.load(chosen)
        assert status.state is ManagerState.READY, status.error
        return status

    async def fails(self, chosen: Choice | str) -> str:
        """As `load`, of one that cannot; the reason."""
        status = await self.load(chosen)
        assert status.state is ManagerState.FAILED
        return status.error

    def loaded(self) -> Runtime | None:
        """The loaded model, ready or not."""
        return self.manager._runtime

    def plan(self) -> Plan:
        """The plan that is carried out."""
        assert self.manager._plan is not None
        return self.manager._plan

    def pid(self) -> int:
        """Of the program, not of what keeps it."""
        reaper = self.outermost()
        children = Path(f"/proc/{reaper}/task/{reaper}/children").read_text().split()
        return int(children[0])

    def outermost(self) -> int:
        """Of the process that all others of the model are below."""
        loaded = self.loaded()
        assert isinstance(loaded, LocalEngine | ServerRuntime)
        pid = loaded._worker.pid if isinstance(loaded, LocalEngine) else loaded._process.pid
        assert pid is not None
        return pid


def real(chosen: Plan, on_line: OnLine, on_progress: OnProgress) -> Runtime:
    """As the program does it."""
    if chosen.choice.mode is RunMode.IN_PROCESS:
        return make_runtime(ThinkingLimits(), chosen, "", on_line, on_progress)
    return stand_in(chosen, on_line, on_progress)


@asynccontextmanager
async def managed_for_real(
    python: Path = PYTHON, llama_server: Path | str = ""
) -> AsyncIterator[Managed]:
    """With the program's own planner, and what it loads with; nothing is looked for outside of the
    folder that is named.
    """
    probe = HostProbe(
        engine_python=str(python), llama_server=str(llama_server), trust_remote_code=True
    )
    planner = Planner(probe)
    async with managed(planner=planner.plan, loader=real, gpu_free=probe.get_gpu_free) as one:
        yield one


@asynccontextmanager
async def managed(
    *,
    planner: MakePlan = plan,
    loader: RuntimeFactory = stand_in,
    delays: tuple[float, ...] = (0.05, 0.05, 0.05),
    gpu_free: GpuFree = lambda: None,
    silent_seconds: float = 60.0,
) -> AsyncIterator[Managed]:
    planning, measuring = ThreadPoolExecutor(2, "manage"), ThreadPoolExecutor(1, "measure")
    place, spare = ActiveEngine(), FakeEngine("builtin")
    engines = EngineSelector(place, prober=EngineProber(interval=0.5, seeking=0.1))
    engines.add(spare)
    tools = ManagerContext(
        place,
        engines,
        planning=planning,
        measuring=measuring,
        planner=planner,
        loader=loader,
        gpu_free=gpu_free,
        silent_seconds=silent_seconds,
    )
    manager = EngineManager(tools, restart_delays=delays)
    one = Managed(manager, engines, spare)
    manager.on_change(one.seen.append)
    manager.on_line(one.lines.append)
    await engines.start()
    try:
        yield one
    finally:
        await manager.close()
        await engines.close()
        planning.shutdown()
        measuring.shutdown()


async def settled(one: Managed, state: ManagerState, seconds: float = 240.0) -> str:
    """Wait until a true model server stands so; the words about the failure."""
    async with asyncio.timeout(seconds):
        status = await one.manager.wait_settled()
    assert status.state is state, (status.error, one.lines[-20:])
    return status.error
