"""Operators' functions: the chosen model's state, the list of models, previews, and reports to
operators.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from server.catalogue.choice import Choice
from server.catalogue.entry import RunMode
from server.core.aio import in_pool
from server.core.messages import Answering, EngineReport
from server.core.metrics import Metrics
from server.engines.base import EngineState
from server.engines.openai.engine import OpenAIEngine
from server.engines.openai.group import EngineGroup
from server.engines.openai.own_machine import Whereabouts
from server.engines.selector import EngineSelector
from server.hosting.engine_slot import NOTHING_LOADED
from server.hosting.manager import EngineManager
from server.hosting.model_fetch import ModelFetch
from server.hosting.planner import Planner, Seen
from server.operator import view
from server.session.operator_feed import OperatorDesk


class Operations:
    """Builds reports from the manager and the choice of engines, and sends their changes to
    operators.
    """

    def __init__(
        self,
        manager: EngineManager,
        planner: Planner,
        engines: EngineSelector,
        fetch: ModelFetch,
        *,
        pool: ThreadPoolExecutor,
        metrics: Metrics,
    ) -> None:
        """`pool`: threads for examining the machine."""
        self.manager = manager
        self.fetch = fetch
        self._pool = pool
        self._planner = planner
        self._engines = engines
        self.desk = OperatorDesk(self.report, metrics)
        manager.on_change(lambda _: self.desk.changed())
        manager.on_line(self.desk.line)
        # The report names the engine that answers.
        engines.on_change(lambda _: self.desk.changed())

    def report(self) -> EngineReport:
        """Build the report on the engine's state."""
        slot = self.manager.slot
        answers = self._engines.current is slot and slot.status.ready
        return view.report(self.manager.status(), answers, self._answering(), self._why())

    def _answering(self) -> Answering | None:
        engine = self._engines.current
        status = engine.status
        if status.state not in (EngineState.READY, EngineState.BUSY):
            return None
        server = where = ""
        inner = self.manager.slot.inner if engine is self.manager.slot else engine
        here = engine is self.manager.slot and self.manager.status().mode is not RunMode.REMOTE
        if isinstance(inner, OpenAIEngine | EngineGroup) and not here:
            where = ", ".join(urlsplit(one).netloc for one in inner.address.split(", "))
            # Only vLLM is known to support JSON schemas.
            server = "vLLM" if status.capabilities.json_schema else "a model server"
        return Answering(engine=engine.name, model=status.model_name, server=server, where=where)

    def _why(self) -> str:
        """Return why no better engine answers, and the remedy; without any answering engine, why
        none does.
        """
        engines, current = self._engines.engines, self._engines.current
        count = engines.index(current) + (not current.status.ready)
        found = [one.status for one in engines[:count]]
        return " ".join(
            status.detail
            for status in found
            if not status.ready and status.detail not in ("", NOTHING_LOADED)
        )

    async def probe(self) -> Seen:
        """Examine the models and the machine anew. Raises BadRequest."""
        held = await self.manager.gives_back()
        return await in_pool(self._pool, partial(self._planner.probe, *held))

    async def preview(self, choice: Choice) -> dict[str, Any]:
        """Return the command that would run, and the machine to which pictures would go.

        Raises BadRequest.
        """
        launch = await self.manager.preview(choice)
        elsewhere = await Whereabouts(launch.base_url).find() if launch.base_url else ""
        return view.preview(launch, elsewhere)
