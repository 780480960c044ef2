"""Operators' actions on models (list, preview, load, stop), their routes, and the choice of a runtime."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi import APIRouter
from pydantic import SecretStr

from server.core.aio import TaskSet, Timer, run_in_pool
from server.core.frames import Role
from server.core.setting_text import get_other_machine
from server.features.hosting.active_engine import ActiveEngine
from server.features.hosting.catalogue.choice import Choice, CommandError, make_choice_from_settings
from server.features.hosting.catalogue.entry import Catalogue, Model, RunMode
from server.features.hosting.catalogue.machine import Host, summarise_machine
from server.features.hosting.catalogue.modes import check_modes, propose
from server.features.hosting.host import HostProbe
from server.features.hosting.manager import EngineManager, ManagerContext
from server.features.hosting.messages import (
    Answering,
    EngineReport,
    LoadingProgress,
    LogLines,
)
from server.features.hosting.model_fetch import FetchStatus, ModelFetch
from server.features.hosting.offer import ModelOffer
from server.features.hosting.planner import Planner
from server.features.hosting.runtime import MakeRuntime, OnLine, OnProgress, Plan, Runtime
from server.features.hosting.server_runtime import RemoteRuntime, ServerRuntime
from server.features.hosting.settings import HostingSettings
from server.features.hosting.status import (
    ManagerState,
    ManagerStatus,
    ProgressBroadcast,
    TimeLeft,
    make_progress_message,
)
from server.models.base import Engine, EngineState
from server.models.openai.engine import OpenAIEngine
from server.models.thinking import ThinkingLimits
from server.session.request.outbox import Outbox

if TYPE_CHECKING:
    from server.app.api import Api

log = logging.getLogger(__name__)
PREFIX = "/api/engine"
# Maximum number of sentences about unusable model folders that the panel shows
MAX_ERRORS = 6
# Less than the 30 s after which proxies usually time out
STOP_SECONDS = 20.0
# Seconds that the panel waits for the output of `vllm serve --help`
VLLM_HELP_SECONDS = 2.0
# Folder of fetched models, one subfolder each; run.sh --model uses it, too
MODELS_FOLDER = Path(os.path.expanduser("~/models"))
# Maximum number of API keys of remote servers in memory
_MAX_KEYS = 16


class Hosting:
    """The model that an operator chose, and everything that runs it.

    `runtimes`: factories of runtimes, by the name of the feature that registers them.

    Bounds of keys of remote servers: 16, in memory only; the oldest is dropped.
    """

    def __init__(self, api: Api) -> None:
        self._settings = settings = api.settings
        self._own = own = HostingSettings.of(settings)
        # Examining the machine and its models may take minutes.
        self._pool = api.pools.add("manage", 2)
        self._engines = api.engines
        self._tasks = TaskSet("hosting")
        # API keys by server URL
        self._keys: dict[str, SecretStr] = {}
        self._thinking = ThinkingLimits(settings.thinking, settings.thinking_max_tokens)
        # Factories by feature name
        self.runtimes: dict[str, MakeRuntime] = {}
        self.active = ActiveEngine()
        api.engines.add(self.active, logged_elsewhere=True)
        probe = HostProbe(
            engine_python=str(settings.engine_python or ""),
            llama_server=own.llama_server,
            trust_remote_code=own.trust_remote_code,
        )
        # run.sh --model fetches to the second folder.
        roots = [settings.model_path.parent, MODELS_FOLDER]
        if own.local_model is not None:
            roots.append(own.local_model)
        # No request of this server uses a longer context.
        self.planner = Planner(
            probe,
            roots,
            partial(Catalogue.load, own.catalogue),
            context=settings.model_max_tokens,
            concurrent=settings.max_concurrent_inferences,
        )
        tools = ManagerContext(
            self.active,
            api.engines,
            planning=self._pool,
            measuring=api.pools.add("measure"),
            planner=self._make_plan,
            loader=self._make_runtime,
            gpu_free=probe.get_gpu_free,
        )
        self.manager = EngineManager(tools)
        self.fetch = ModelFetch(
            self.planner.read_catalogue,
            MODELS_FOLDER,
            allowed=own.allow_model_downloads,
            pool=self._pool,
        )
        self.offer = ModelOffer(self.planner, self.fetch, self.manager, self._is_basic, self._pool)
        dropped = api.metrics.counter(
            "log_lines_dropped_total",
            "Lines of an engine that an operator's page did not take in time",
        )
        self.channel = OperatorChannel(self.report, dropped.inc)
        self.manager.on_change(lambda _: self.channel.publish_report())
        self.manager.on_line(self.channel.add_line)
        time_left = TimeLeft()
        self.progress = ProgressBroadcast(
            lambda now: make_progress_message(
                self.manager.get_status(), self._fetch_of_answering_model(), time_left, now
            )
        )

    def start(self) -> None:
        """Load LOCAL_MODEL if it is set and ENGINE allows it."""
        folder = self._own.local_model
        if folder is not None and self._settings.has_engine("local"):
            self._tasks.spawn(self._load_local_model(folder), name="local")

    async def _load_local_model(self, folder: Path) -> None:
        dtype = self._settings.model_dtype
        await self.manager.start_from_settings(
            await run_in_pool(self._pool, make_choice_from_settings, folder, dtype)
        )

    async def close(self) -> None:
        async with AsyncExitStack() as stack:
            # An exit stack closes in reverse order.
            stack.callback(self.channel.close)
            stack.callback(self.progress.close)
            stack.push_async_callback(self.manager.close)
            stack.push_async_callback(self.fetch.close)
            stack.push_async_callback(self.offer.close)
            stack.push_async_callback(self._tasks.close)

    # Reports

    def report(self) -> EngineReport:
        """Return the state of the engine for operators."""
        answers = self._engines.current is self.active and self.active.status.ready
        current = self._engines.current
        others = {
            str(role): found
            for role in Role
            if (engine := self._engines.of(role)) is not current
            and (found := self._describe_engine(engine)) is not None
        }
        why = " ".join(
            filter(None, (self._get_fallback_reason(), self._engines.get_fallback_notice()))
        )
        message = build_report(
            self.manager.get_status(), answers, self._describe_engine(current), why
        )
        return message.model_copy(update={"roles": others or None})

    def _describe_engine(self, engine: Engine) -> Answering | None:
        status = engine.status
        if status.state not in (EngineState.READY, EngineState.BUSY):
            return None
        server = where = ""
        inner = self.active.inner if engine is self.active else engine
        here = engine is self.active and self.manager.get_status().mode is not RunMode.REMOTE
        if isinstance(inner, OpenAIEngine) and not here:
            where = urlsplit(inner.address).netloc
            # vLLM is the only server that is known to support JSON schemas.
            server = "vLLM" if status.capabilities.json_schema else "a model server"
        return Answering(engine=engine.name, model=status.model_name, server=server, where=where)

    def _get_fallback_reason(self) -> str:
        """Return why no better engine answers, with the remedy; "" if the best engine answers."""
        engines, current = self._engines.engines, self._engines.current
        count = engines.index(current) + (not current.status.ready)
        found = [one.status for one in engines[:count]]
        return " ".join(
            status.detail
            for status in found
            if status.detail and not status.ready and not status.unused
        )

    async def probe(self) -> tuple[Catalogue, Host]:
        """Examine the models and the machine. `Host.vllm_pending` names a vLLM whose help is still being read.

        Raises BadRequest.
        """
        models = await run_in_pool(self._pool, self.planner.read_catalogue)
        host = await run_in_pool(
            self._pool, partial(self.planner.host.probe, timeout=VLLM_HELP_SECONDS)
        )
        return models, host

    async def preview(self, choice: Choice) -> dict[str, Any]:
        """Return the command that would run, and the machine that would receive pictures ("" for this machine).

        Raises BadRequest.
        """
        launch = await self.manager.preview(choice)
        url, machines = launch.base_url, self._settings.machines
        elsewhere = get_other_machine(url, machines) if url else ""
        return {"command": launch.shown, "elsewhere": elsewhere, "warnings": list(launch.warnings)}

    def _is_basic(self) -> bool:
        """Return True if the built-in engine answers because no model is loaded."""
        none = self.manager.get_status().state in (ManagerState.IDLE, ManagerState.FAILED)
        return (
            none and self._settings.has_engine("local") and self._engines.current.name == "builtin"
        )

    def _fetch_of_answering_model(self) -> FetchStatus:
        """Return the status of the fetch, or an idle status if the model does not answer questions."""
        status = self.fetch.status
        other = any(one.id == status.model and not one.answers for one in self.planner.known)
        return FetchStatus() if other else status

    # Plans and runtimes

    def _make_plan(self, choice: Choice) -> Plan:
        """Plan as `Planner.plan` does. Also raises BadRequest if no active feature runs the model."""
        plan = self.planner.plan(choice)
        feature = _get_feature(plan)
        if feature and feature not in self.runtimes:
            name = plan.model.name if plan.model is not None else "This model"
            raise CommandError(
                f"{name} {_FEATURE_PURPOSE[feature]}, which needs the feature {feature}. Add it to FEATURES, or choose another"
                " model or mode."
            )
        return plan

    def get_key(self, choice: Choice) -> str:
        """Return the API key of the chosen server: the last given for its URL, else VLLM_API_KEY at VLLM_BASE_URL."""
        given = choice.api_key
        if given.get_secret_value():
            self._keys.pop(choice.url, None)
            self._keys[choice.url] = given
            while len(self._keys) > _MAX_KEYS:
                del self._keys[next(iter(self._keys))]
        elif choice.url in self._keys:
            given = self._keys[choice.url]
        elif choice.url == self._settings.vllm_base_url:
            given = self._settings.vllm_api_key
        return given.get_secret_value()

    def _make_runtime(self, plan: Plan, on_line: OnLine, on_progress: OnProgress) -> Runtime:
        remote = plan.choice.mode is RunMode.REMOTE
        key = self.get_key(plan.choice) if remote else ""
        if feature := _get_feature(plan):
            return self.runtimes[feature](plan, key, on_line, on_progress)
        if remote:
            return RemoteRuntime(
                plan, api_key=key, thinking=self._thinking, machines=self._settings.machines
            )
        return ServerRuntime(
            plan, thinking=self._thinking, on_line=on_line, on_progress=on_progress
        )


_FEATURE_PURPOSE = {
    "generation": "makes videos or sound",
    "local_models": "would run in-process",
}


def _get_feature(plan: Plan) -> str:
    """Return the feature whose runtime runs the model; "" for a model server."""
    if plan.model is not None and not plan.model.answers:
        return "generation"
    return "local_models" if plan.choice.mode is RunMode.IN_PROCESS else ""


# Messages to operators' sockets: the engine's state and its log

# Maximum log lines kept for operators who join later, and queued for one operator; the oldest are dropped.
MAX_LINES = 200
# Maximum characters of a line
MAX_LINE_CHARS = 300
# Minimum seconds between two `log` messages to one operator
LOG_SECONDS = 0.2


@dataclass(slots=True)
class _Listener:
    waiting: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_LINES))
    # Lines dropped since the last message because the queue was full
    dropped: int = 0


class OperatorChannel:
    """Sends reports and log lines to operators, on the event loop. `report` builds the current report.

    Bounds of an engine's lines for operators: 200 of 300 characters, kept and per operator; the
    oldest are dropped and counted.
    """

    def __init__(self, report: Callable[[], EngineReport], on_dropped: Callable[[], None]) -> None:
        """`on_dropped` is called for each line that is dropped for an operator."""
        self._report = report
        self._on_dropped = on_dropped
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._listeners: dict[Outbox, _Listener] = {}
        # Set while lines are queued
        self._next_log = Timer()

    def join(self, outbox: Outbox) -> None:
        """Add an operator, and send them the current state and the latest log lines."""
        listener = self._listeners[outbox] = _Listener()
        outbox.put(self._report())
        outbox.discard(LogLines)
        listener.waiting.extend(self._lines)
        self._flush(outbox, listener)

    def leave(self, outbox: Outbox) -> None:
        """Remove an operator and their queued messages. Does nothing for an unknown outbox."""
        if self._listeners.pop(outbox, None) is not None:
            outbox.discard(EngineReport)
            outbox.discard(LogLines)

    def publish_report(self) -> None:
        if self._listeners:
            report = self._report()
            for outbox in self._listeners:
                outbox.put(report)

    def add_line(self, text: str) -> None:
        """Queue a log line, already redacted, for all operators."""
        line = "".join(c if c.isprintable() else " " for c in text.rstrip()[:MAX_LINE_CHARS])
        self._lines.append(line)
        for listener in self._listeners.values():
            if len(listener.waiting) == MAX_LINES:
                listener.dropped += 1
                self._on_dropped()
            listener.waiting.append(line)
        if self._listeners and not self._next_log:
            self._next_log.set(LOG_SECONDS, self._tick)

    def close(self) -> None:
        self._listeners.clear()
        self._next_log.cancel()

    def _tick(self) -> None:
        for outbox, listener in self._listeners.items():
            self._flush(outbox, listener)
        if any(listener.waiting for listener in self._listeners.values()):
            # The last `log` message of an operator is still in the outbox.
            self._next_log.set(LOG_SECONDS, self._tick)

    def _flush(self, outbox: Outbox, listener: _Listener) -> None:
        if listener.waiting and not outbox.waits(LogLines):
            outbox.put(LogLines(lines=list(listener.waiting), dropped=listener.dropped))
            listener.waiting.clear()
            listener.dropped = 0


def build_report(
    status: ManagerStatus, answers: bool, answering: Answering | None = None, why: str = ""
) -> EngineReport:
    """Build the message `engine`.

    `answers`: this engine answers visitors; otherwise `answering` does. `why`: why no better engine answers.
    """
    progress = status.progress
    if progress is not None and progress.percent is not None:
        progress = replace(progress, percent=round(progress.percent, 1))
    return EngineReport(
        state=str(status.state),
        model=status.model or None,
        model_type=str(status.model_type) if status.model_type else None,
        mode=str(status.mode) if status.mode else None,
        progress=LoadingProgress(**asdict(progress)) if progress is not None else None,
        command=status.shown or None,
        error=status.error or None,
        answers=answers,
        answering=answering,
        why=why or None,
    )


# Operators' routes


def add_routes(router: APIRouter, hosting: Hosting) -> None:
    def make_engine_state() -> dict[str, Any]:
        return {"engine": hosting.report().model_dump(exclude_none=True)}

    @router.get("")
    async def engine() -> dict[str, Any]:
        """The engine and the models: `engine` (the fields of the message `engine`), `models`, `fetch`, `machine`,
        `troubles`, `pending`.

        `models`: a list of `id`, `name`, `aliases`, `type`, `abilities`, `weights_bytes`,
        `memory_bytes`, `context_length`, `licence`, `note`, `here` (true: its files are on this machine), `recommended`
        (true: proposed for this machine), `fetch` (the command that fetches it; empty if it is here), and `modes`, a list
        of `mode`, `ok`, `reason`. `fetch`: as in `GET /api/engine/fetch`. `machine`: a sentence about this machine.
        `troubles`: errors of the catalogue and of folders. `pending`: true while a vLLM is examined; ask again soon.
        """
        models, host = await hosting.probe()
        free = await hosting.fetch.get_free_bytes()
        best = propose(models, host, free).model
        return {
            **make_engine_state(),
            "models": list_models(models, host, hosting.fetch.get_command, best),
            "fetch": await get_fetch_state(hosting.fetch),
            "machine": summarise_machine(host),
            "troubles": list_errors(models),
            "pending": bool(host.vllm_pending),
        }

    @router.get("/fetch")
    async def fetch_progress() -> dict[str, Any]:
        """The download of a model.

        `state` (`idle`, `fetching`, `checking`, `paused`, `failed`, `done`), `model`, `done_bytes`,
        `total_bytes` (0: unknown), `free_bytes` (on the disk where models are kept; `null`:
        unknown), `error`, `refused` (why operators cannot fetch models; empty if they can).
        """
        return await get_fetch_state(hosting.fetch)

    @router.post("/fetch", status_code=202)
    async def fetch(body: dict[str, Any]) -> dict[str, Any]:
        """Download `model` (`OWNER/NAME` in the catalogue), or resume its download: 202 with the fields of
        `GET /api/engine/fetch`. 409 while another model is fetched, or without `ALLOW_MODEL_DOWNLOADS`.
        """
        await hosting.fetch.start(body.get("model"))
        return await get_fetch_state(hosting.fetch)

    @router.delete("/fetch")
    async def pause_fetch() -> dict[str, Any]:
        """Pause the download, and keep the fetched part. Returns the fields of `GET /api/engine/fetch`."""
        await hosting.fetch.pause()
        return await get_fetch_state(hosting.fetch)

    @router.post("/preview")
    async def preview(body: dict[str, Any]) -> dict[str, Any]:
        """The command that a choice would run. Body: `Choice`. Returns `command`, `elsewhere` (the machine that would
        receive pictures; empty: this one) and `warnings`.
        """
        return await hosting.preview(Choice.read(body))

    @router.post("/start", status_code=202)
    async def start(body: dict[str, Any]) -> dict[str, Any]:
        """Start a model. Body: `Choice`. 202 with `engine`."""
        choice = Choice.read(body)
        await hosting.manager.start(choice)
        log.info("operator started a model", extra={"kind": str(choice.mode)})
        return make_engine_state()

    @router.post("/stop")
    async def stop() -> dict[str, Any]:
        """Stop the model. Returns `engine` when the model has stopped, or after 20 s."""
        log.info("operator stopped the model")
        # If it takes longer, stopping continues, and the message `engine` reports the end.
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await hosting.manager.stop()
        return make_engine_state()


# The content of the panel

# Fields of a model that are listed unchanged from the catalogue
_LISTED = {
    *("id", "aliases", "weights_bytes", "memory_bytes", "context_length", "licence", "note"),
}


async def get_fetch_state(fetch: ModelFetch) -> dict[str, Any]:
    """Return the status of the fetch, the free bytes on the disk, and why fetching is refused."""
    free = await fetch.get_free_bytes()
    status = fetch.status
    return {**asdict(status), "free_bytes": free, "refused": fetch.refusal}


def list_models(
    models: Iterable[Model],
    host: Host,
    command: Callable[[Model], str] = lambda _: "",
    best: Model | None = None,
) -> list[dict[str, Any]]:
    """Return the models with their modes, for the panel.

    `command` returns the command that fetches a model; `best`: the proposed model.
    """
    return [
        {
            **model.model_dump(include=_LISTED),
            "name": model.name,
            "type": str(model.model_type),
            "abilities": sorted(model.abilities),
            "here": model.folder is not None,
            "recommended": model is best,
            # Empty for a model that is on this machine, or that is not a repository
            "fetch": command(model) if model.folder is None and "/" in model.id else "",
            "modes": [
                {"mode": str(mode), **asdict(possible)}
                for mode, possible in check_modes(model, host).items()
            ],
        }
        for model in models
    ]


def list_errors(catalogue: Catalogue) -> list[str]:
    """Return the errors about model folders, at most MAX_ERRORS, and how many more there are."""
    shown = catalogue.errors[:MAX_ERRORS]
    more = len(catalogue.errors) - len(shown)
    return [*shown, *([f"{more} more folders contain no usable model."] if more else [])]
