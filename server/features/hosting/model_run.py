"""One run of one model: loaded, watched, unloaded with its memory given back.

It decides nothing; see `lifecycle`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from server.core.aio import TaskSet, in_pool, supervise
from server.features.hosting.active_engine import ActiveEngine
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.lifecycle import Ended, Run
from server.features.hosting.messages import ReleasedMemory
from server.features.hosting.runtime import OnLine, OnProgress, Plan, Runtime
from server.features.hosting.server_runtime import ServerRuntime
from server.features.hosting.status import StatusStore
from server.models.selector import EngineSelector

log = logging.getLogger(__name__)
# A model is restarted when it has not answered for this long.
SILENT_SECONDS = 60.0
# After so long a crash counts as the first again.
_CALM_SECONDS = 300.0
_WATCH_SECONDS = 2.0
# The GPUs' memory is read in every one of so many turns.
_GPU_TURNS = 5
# Time for a GPU's memory to be freed after the end of its process.
_RETURN_SECONDS = 15.0
_RETURNED_SHARE = 0.95


# Finds the model and builds the command; blocking. Raises BadRequest. Arguments: the choice, and the
# bytes of main memory and of each GPU that unloading the current model will free.
MakePlan = Callable[[Choice, int, Sequence[int]], Plan]
Loader = Callable[[Plan, OnLine, OnProgress], Runtime]
# Returns the free bytes of each GPU; None where there is no GPU, or it cannot be read. Blocking.
GpuFree = Callable[[], Sequence[int] | None]


@dataclass(frozen=True, slots=True)
class Tools:
    """The manager's own tools, which every run uses."""

    active: ActiveEngine
    engines: EngineSelector
    # Threads for planning, which may take minutes, and for reading memory, which must not wait for
    # that
    planning: ThreadPoolExecutor
    measuring: ThreadPoolExecutor
    planner: MakePlan
    loader: Loader
    # Bytes of free memory of each GPU, None where there is none
    gpu_free: GpuFree = lambda: None
    silent_seconds: float = SILENT_SECONDS
    return_seconds: float = _RETURN_SECONDS
    store: StatusStore = field(default_factory=StatusStore)
    tasks: TaskSet = field(default_factory=lambda: TaskSet("manager"))


class ModelRun:
    """Each method may be cancelled at any time; `unload` is due in any case."""

    def __init__(self, run: Run, tools: Tools) -> None:
        self.plan = run.order.plan
        # None before loading
        self.loaded: Runtime | None = None
        # The GPU's memory is not waited for any more.
        self.hurried = False
        self._tools = tools
        # Free memory of the GPUs before it was loaded
        self._gpu_empty: Sequence[int] | None = None
        # Its main memory and the GPUs' free memory at the beginning of stopping
        self._held: tuple[int | None, Sequence[int] | None] | None = None

    async def load(self, plan: Plan, *, again: bool) -> None:
        """Return when it answers. Raises StartFailed."""
        tools = self._tools
        self.plan = plan
        if not again:
            self._gpu_empty = await self._gpu_free()
        self.loaded = tools.loader(plan, tools.store.line, tools.store.progress)
        async with self._sampled(self.loaded):
            await self.loaded.start()

    async def watch(self, on_turn: Callable[[], None] | None = None) -> Ended:
        """Return when it has ended or hangs; with `on_turn`, called each time, it is elsewhere."""
        loaded, tools = self.loaded, self._tools
        if loaded is None:
            raise RuntimeError("nothing is loaded")
        clock = asyncio.get_running_loop().time
        began = clock()
        hung = "did not answer any more and was ended."
        async with self._sampled(loaded):
            while not loaded.ended.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(_WATCH_SECONDS, tools.silent_seconds)):
                        await loaded.ended.wait()
                if on_turn is not None:
                    on_turn()
                elif tools.active.silent_seconds() > tools.silent_seconds:
                    break
                elif await self._stuck_seconds(loaded) > tools.silent_seconds:
                    hung = "went on with an answer that nobody waited for, and was ended to free it for others."
                    break
        how = loaded.how_it_ended() if loaded.ended.is_set() else hung
        return Ended(how, calm=clock() - began >= _CALM_SECONDS)

    async def _stuck_seconds(self, loaded: Runtime) -> float:
        if not isinstance(loaded, ServerRuntime):
            return 0.0
        return await loaded.stuck_seconds(self._tools.active.answering)

    def gives_back(self, gpu_free: Sequence[int] | None) -> tuple[int, ...]:
        """Return for each GPU the bytes that are free without it, beyond those that are free now."""
        empty = self._gpu_empty
        if gpu_free is None or empty is None or len(empty) != len(gpu_free):
            return ()
        return tuple(max(0, before - now) for before, now in zip(empty, gpu_free, strict=True))

    async def unload(self, *, silently: bool = False) -> None:
        """Stop what is there, wait for its memory, show how much came back.

        May be cancelled and called again. `silently`: the status shows another model.
        """
        loaded, store = self.loaded, self._tools.store
        if loaded is None:
            return
        if self._held is None:
            self._held = await self._main_memory(loaded), await self._gpu_free()
        held, gpu_before = self._held
        await loaded.stop()
        left = await self._main_memory(loaded)
        gpu_after = await self._gpu_returned()
        self.loaded = self._held = None
        freed = None if held is None else max(0, held - (left or 0))
        gpu = None
        if gpu_before is not None and gpu_after is not None:
            gpu = max(0, sum(gpu_after) - sum(gpu_before))
        known = freed is not None or gpu is not None
        released = ReleasedMemory(memory_bytes=freed, left_bytes=left, gpu_bytes=gpu)
        status = replace(store.status, released=released if known else None)
        store.show(status if silently else replace(status, memory_bytes=None, gpu_bytes=None))
        if held:
            store.line(f"{self.plan.name} freed {(freed or 0) / 1e6:.0f} MB of main memory.")
        if gpu is not None:
            store.line(f"{self.plan.name} freed {gpu / 1e6:.0f} MB of GPU memory.")

    # Its memory

    async def _gpu_returned(self) -> Sequence[int] | None:
        """Return the free memory of each GPU once it is back, or after a while."""
        clock = asyncio.get_running_loop().time
        due = clock() + self._tools.return_seconds
        empty = self._gpu_empty
        while True:
            free = await self._gpu_free()
            if free is None or empty is None or self.hurried:
                return free
            if all(
                now >= before * _RETURNED_SHARE for now, before in zip(free, empty, strict=False)
            ):
                return free
            if clock() > due:
                log.warning("GPU memory was not given back in time")
                return free
            await asyncio.sleep(0.25)

    @asynccontextmanager
    async def _sampled(self, loaded: Runtime) -> AsyncIterator[None]:
        """Show its memory in the status meanwhile."""
        sampling = self._tools.tasks.spawn(self._sample(loaded), name="sample")
        try:
            yield
        finally:
            sampling.cancel()

    async def _sample(self, loaded: Runtime) -> None:
        store, was, turn = self._tools.store, None, 0

        async def step() -> float:
            nonlocal was, turn
            held = await self._main_memory(loaded)
            state, gpu = store.status.state, store.status.gpu_bytes
            # Some GPUs are read by a program, which takes a second.
            if turn % _GPU_TURNS == 0 or state is not was:
                taken = self.gives_back(await self._gpu_free())
                gpu, was = sum(taken) if taken else None, state
            turn += 1
            if self.loaded is loaded:
                store.show(replace(store.status, memory_bytes=held, gpu_bytes=gpu))
            return _WATCH_SECONDS

        await supervise(step, name="model_memory", after_failure=_WATCH_SECONDS)

    async def _main_memory(self, loaded: Runtime) -> int | None:
        return await in_pool(self._tools.measuring, loaded.memory_bytes)

    async def _gpu_free(self) -> Sequence[int] | None:
        return await in_pool(self._tools.measuring, self._tools.gpu_free)
