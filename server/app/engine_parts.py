"""The engines' part of the composition root: those that may answer, an operator's model, and its videos and sound."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from pydantic import SecretStr

from config import Settings
from server.catalogue.choice import Choice, CommandError, own_choice
from server.catalogue.entry import RunMode
from server.core.aio import Pools
from server.core.metrics import Metrics
from server.engines.base import Engine
from server.engines.builtin.engine import BuiltinEngine
from server.engines.builtin.finder import Finder
from server.engines.builtin.reader import Reader
from server.engines.openai import library
from server.engines.openai.engine import OpenAIEngine
from server.engines.openai.group import EngineGroup
from server.engines.openai.retry import Reason
from server.engines.openai.session_key import SessionKeys
from server.engines.selector import EngineSelector
from server.engines.thinking import ThinkingLimits
from server.fetch.catalogue import CatalogueSource
from server.hosting.engine_slot import EngineSlot
from server.hosting.host import HostProbe
from server.hosting.local_runtime import LocalRuntime
from server.hosting.manager import EngineManager
from server.hosting.model_fetch import ModelFetch
from server.hosting.planner import REFUSALS, Planner
from server.hosting.runtime import MakeRuntime, OnLine, OnProgress, Runtime
from server.hosting.server_runtime import RemoteRuntime, ServerRuntime
from server.hosting.status import Plan
from server.operator.service import Operations

# Fetched models, each in a folder of its own, as run.sh --model keeps them
KEPT = Path(os.path.expanduser("~/models"))
# Keys of remote servers that are kept; the one given longest ago goes.
_MOST_KEYS = 16


class EngineParts:
    """The engines and generators, and the manager that starts them.

    Bounds of keys of remote servers: 16, in memory only; the oldest is dropped.
    """

    def __init__(self, settings: Settings, pools: Pools, metrics: Metrics) -> None:
        self._settings = settings
        self._pools = pools
        self._metrics = metrics
        # Called when a model server of VLLM_BASE_URL refuses a request since it has enough to do
        self.on_busy: Callable[[], None] = lambda: None
        # One for all: its models take 100 MB.
        self._reader = Reader()
        self.finder = Finder(self._reader)
        # By address; in this program's memory alone
        self._keys: dict[str, SecretStr] = {}
        # The slot for the model that an operator chooses.
        self.slot = EngineSlot()
        self.selector = EngineSelector(self._engines(), logged_elsewhere=[self.slot])
        self.planner = self._planner()
        self.manager = EngineManager(
            self.slot,
            self.selector,
            planning=pools.manage,
            measuring=pools.measure,
            planner=self._plan,
            loader=self._loaded,
            refusals=REFUSALS,
            known=lambda: self.planner.known,
            gpu_free=self.planner.gpu_free,
        )
        # Make the runtimes of models that features bring; the first that returns one counts
        self.runtimes: list[MakeRuntime] = []
        self.fetch = ModelFetch(
            self.planner.catalogue,
            KEPT,
            allowed=settings.allow_model_downloads,
            pool=pools.manage,
        )
        self.operations = Operations(
            self.manager,
            self.planner,
            self.selector,
            self.fetch,
            pool=pools.manage,
            metrics=metrics,
        )

    async def begin(self) -> None:
        """Load LOCAL_MODEL, where it is set and may answer."""
        settings = self._settings
        if settings.local_model is None or settings.engine not in ("auto", "local"):
            return
        await self.manager.begin(own_choice(settings.local_model, settings.model_dtype))

    async def close(self) -> None:
        """Close all of it; a failure skips nothing."""
        async with AsyncExitStack() as stack:
            # The last one goes first.
            stack.push_async_callback(self.selector.close)
            stack.callback(self.operations.desk.close)
            stack.push_async_callback(self.manager.close)
            stack.push_async_callback(self.fetch.close)

    def _engines(self) -> list[Engine]:
        """Best first."""
        settings = self._settings
        engines: list[Engine] = []
        if settings.engine in ("auto", "vllm"):
            engines.append(self._servers())
        if settings.engine in ("auto", "builtin"):
            engines.append(BuiltinEngine(heavy=self._pools.heavy, reader=self._reader))
        # Before the built-in one where any may answer; behind the one that is insisted on, until an
        # operator prefers it.
        engines.insert(len(engines) - (settings.engine == "auto"), self.slot)
        return engines

    def _servers(self) -> OpenAIEngine | EngineGroup:
        """Make the engine of VLLM_BASE_URL, which alone gets the sessions' names."""
        settings, metrics = self._settings, self._metrics
        for url in settings.vllm_base_urls:
            library.load_for(url)
        session_key = SessionKeys(settings.jwt_secret_key.get_secret_value()).of

        def on_retry(reason: Reason) -> None:
            metrics.engine_retries.labels(reason).inc()

        members = [
            OpenAIEngine(
                name="vllm",
                base_url=url,
                api_key=settings.vllm_api_key,
                model=settings.model_name,
                voice=settings.model_voice,
                thinking=self._thinking(),
                session_key=session_key,
                on_retry=on_retry,
                on_busy=self._busy,
            )
            for url in settings.vllm_base_urls
        ]
        if len(members) == 1:
            return members[0]
        return EngineGroup(
            "vllm", members, session_key=session_key, on_retry=on_retry, on_busy=self._busy
        )

    def _busy(self) -> None:
        self.on_busy()

    def _thinking(self) -> ThinkingLimits:
        return ThinkingLimits(self._settings.thinking, self._settings.thinking_max_tokens)

    def _planner(self) -> Planner:
        settings = self._settings
        probe = HostProbe(
            engine_python=str(settings.engine_python or ""),
            trust_remote_code=settings.trust_remote_code,
        )
        # run.sh --model fetches to the second.
        roots = [settings.model_path.parent, KEPT]
        if settings.local_model is not None:
            roots.append(settings.local_model)
        known = CatalogueSource(settings.catalogue).load
        # More than that is never asked.
        return Planner(
            probe,
            roots,
            known,
            context=settings.model_max_tokens,
            concurrent=settings.max_concurrent_inferences,
        )

    def _plan(self, choice: Choice, ram_back: int = 0, gpu_back: Sequence[int] = ()) -> Plan:
        """See `Planner.plan`. Raises one of REFUSALS, also for a model that no feature can use."""
        plan = self.planner.plan(choice, ram_back, gpu_back)
        if plan.model is not None and not plan.model.answers and not self.runtimes:
            raise CommandError(
                f"{plan.model.name} makes videos or sound, which this server does not offer: the feature generation is"
                " off. Choose a model that answers, or add generation to FEATURES."
            )
        return plan

    def _key_for(self, choice: Choice) -> str:
        """Find the key for a server and no other: the one given with it, the one given last, or the
        setting's.
        """
        given = choice.api_key
        if given.get_secret_value():
            self._keys.pop(choice.url, None)
            self._keys[choice.url] = given
            while len(self._keys) > _MOST_KEYS:
                del self._keys[next(iter(self._keys))]
        elif choice.url in self._keys:
            given = self._keys[choice.url]
        elif choice.url in self._settings.vllm_base_urls:
            given = self._settings.vllm_api_key
        return given.get_secret_value()

    def _loaded(self, plan: Plan, on_line: OnLine, on_progress: OnProgress) -> Runtime:
        """Create the runtime for a plan."""
        launch, model = plan.launch, plan.model
        remote = plan.choice.mode is RunMode.REMOTE
        key = self._key_for(plan.choice) if remote else ""
        for make in self.runtimes:
            if (runtime := make(plan, key, on_line, on_progress)) is not None:
                return runtime
        if remote:
            return RemoteRuntime(plan.choice, launch, model, api_key=key, thinking=self._thinking())
        if model is not None and plan.choice.mode is RunMode.IN_PROCESS:
            return LocalRuntime(
                launch,
                model,
                on_line=on_line,
                on_progress=on_progress,
                thinking=self._thinking(),
            )
        return ServerRuntime(
            plan.choice,
            launch,
            model,
            inherited=os.environ,
            thinking=self._thinking(),
            on_line=on_line,
            on_progress=on_progress,
        )
