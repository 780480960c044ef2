"""The model that basic mode offers on the page: proposed for this machine, fetched and started with one button."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request

from server.core.aio import TaskSet, cancel_and_wait, run_in_pool
from server.core.errors import Conflict, Forbidden, QwenCameraError
from server.features.hosting import llama_wheel
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.entry import CatalogueError, Library, Model, RunMode
from server.features.hosting.catalogue.modes import check_modes, propose
from server.features.hosting.llama_wheel import LlamaError
from server.features.hosting.manager import EngineManager
from server.features.hosting.model_fetch import ROOT, FetchState, ModelFetch
from server.features.hosting.planner import Planner
from server.features.hosting.status import ManagerState
from server.web.request_guard import RequestGuard, Services, from_this_machine, get_bearer_token

log = logging.getLogger(__name__)
# File with the model for later starts, which scripts/run.sh reads
MODEL_FILE = ROOT / ".model"


class Owner(Enum):
    """The kind of requester who may control models."""

    # Has OPERATOR_TOKEN
    OPERATOR = auto()
    # Uses this machine, while OPERATOR_TOKEN is empty
    MACHINE = auto()


class ModelOffer:
    """Proposes a model, fetches and starts it. Call it on the event loop; blocking work runs in `pool`.

    `basic` returns True while no model answers.

    Bounds of a model that basic mode offers: one, fetched and started once at a time.
    """

    def __init__(
        self,
        planner: Planner,
        fetch: ModelFetch,
        manager: EngineManager,
        basic: Callable[[], bool],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._planner, self._fetch, self._manager = planner, fetch, manager
        self._basic, self._pool = basic, pool
        self._tasks = TaskSet("offer")
        # Runs from the start until the model answers
        self._running: asyncio.Task[None] | None = None
        self._model: Model | None = None
        self._error = ""

    async def close(self) -> None:
        await self._tasks.close()

    async def get_status(self, owner: Owner | None) -> dict[str, Any]:
        """Return the offer and its progress for the page of `owner`; state "none" for other visitors."""
        if owner is None:
            return {"state": "none"}
        if self._is_running and self._model is not None:
            return self._get_progress(self._model)
        found = await self._find_offer(owner)
        if found is None:
            return {"state": "none"}
        model, missing = found
        state = "failed" if self._error else "offered"
        return {"state": state, "model": _get_name(model), "bytes": missing, "error": self._error}

    def _get_progress(self, model: Model) -> dict[str, Any]:
        fetched = self._fetch.status
        state, done, total = "fetching", 0, model.weights_bytes
        if fetched.model == model.id and fetched.state in (
            FetchState.FETCHING,
            FetchState.CHECKING,
        ):
            state, done, total = str(fetched.state), fetched.done_bytes, fetched.total_bytes
        elif model.folder is not None or fetched.state is FetchState.DONE:
            state, total = "loading", 0
        return {"state": state, "model": _get_name(model), "done_bytes": done, "total_bytes": total}

    async def start(self, owner: Owner) -> None:
        """Fetch and start the offered model. Do nothing if this is running. Raises Conflict if there is no offer."""
        found = await self._find_offer(owner)
        # Another request may have started it meanwhile.
        if self._is_running:
            return
        if found is None:
            raise Conflict(
                "No model is offered at the moment. Reload the page to see the current state."
            )
        self._model, self._error = found[0], ""
        self._running = self._tasks.spawn(self._run(found[0]), name="run")
        log.info("start of the proposed model requested", extra={"model": _get_name(found[0])})

    async def stop(self) -> None:
        """Stop fetching or loading; keep the fetched part."""
        if self._running is None or self._running.done():
            return
        await cancel_and_wait((self._running,))
        await self._fetch.pause()
        await self._fetch.wait_settled()
        if self._manager.get_status().state is ManagerState.LOADING:
            await self._manager.stop()

    @property
    def _is_running(self) -> bool:
        return self._running is not None and not self._running.done()

    async def _find_offer(self, owner: Owner) -> tuple[Model, int] | None:
        """Return the model that the owner may start, and the bytes still to be fetched; None if there is none."""
        if not self._basic():
            return None
        found = await run_in_pool(self._pool, self._propose, await self._fetch.get_free_bytes())
        refused = self._fetch.missing_script if owner is Owner.MACHINE else self._fetch.refusal
        return None if found is not None and found[0].folder is None and refused else found

    def _propose(self, free: int | None) -> tuple[Model, int] | None:
        host = self._planner.host.probe(vllm=False)
        try:
            proposal = propose(self._planner.read_catalogue(), host, free)
            with_server = llama_wheel.is_installed()
        except (CatalogueError, LlamaError):
            return None
        model = proposal.model
        if model is None or proposal.needs_vllm:
            return None
        here = model.with_folder(model.folder or self._fetch.get_folder(model))
        if not check_modes(here, host)[_choose_mode(model)].ok:
            return None
        missing = self._fetch.count_missing_bytes(model)
        if model.library is Library.LLAMA_CPP and not with_server:
            # xllamacpp is fetched only if no llama-server was found.
            found = host.llama.path if host.llama is not None else ""
            missing += llama_wheel.WHEEL_BYTES if found == llama_wheel.PACKAGE else 0
        return model, missing

    async def _run(self, model: Model) -> None:
        try:
            await self._fetch_and_start(model)
        except QwenCameraError as error:
            self._error = error.message

    async def _fetch_and_start(self, model: Model) -> None:
        if model.folder is None:
            await self._fetch.start(model.id, allowed=True)
            fetched = await self._fetch.wait_settled()
            self._error = fetched.error
            if fetched.state is not FetchState.DONE:
                return
        if not self._basic():
            # An operator has started another model meanwhile.
            return
        await self._manager.start(Choice(model=model.id, mode=_choose_mode(model)), preferred=False)
        status = await self._manager.wait_settled()
        self._error = status.error
        if status.state is ManagerState.READY:
            await run_in_pool(self._pool, _remember, model.folder or self._fetch.get_folder(model))


def _choose_mode(model: Model) -> RunMode:
    return RunMode.SUBPROCESS if model.library is Library.LLAMA_CPP else RunMode.IN_PROCESS


def _get_name(model: Model) -> str:
    """Return the model's name as in the message `model_coming`."""
    return model.id.rpartition("/")[2]


def _remember(folder: Path) -> None:
    """Save the model for later starts, as `run.sh --model` does."""
    with suppress(OSError):
        MODEL_FILE.write_text(f"{folder}\n", "utf-8")


def add_offer_routes(router: APIRouter, services: Services, offer: ModelOffer) -> None:
    guard = RequestGuard(services)
    from_page = [Depends(guard.check_origin)]

    async def get_owner(request: Request) -> Owner | None:
        """Return the owner of a request; None for an ordinary session.

        Raises what `check_operator` raises if the token is not a session token.
        """
        if guard.get_session_id(request) is None:
            await guard.check_operator(request, get_bearer_token(request))
            owner = Owner.OPERATOR
        elif not services.access.operator_token and from_this_machine(request):
            owner = Owner.MACHINE
        else:
            return None
        request.state.operator = True
        return owner

    async def require_owner(owner: Owner | None = Depends(get_owner)) -> Owner:
        if owner is None:
            raise Forbidden(
                "Only the operator may start models; without OPERATOR_TOKEN, only a browser on the server's own machine.",
                visitors="Only administrators start models. Ask your administrator.",
            )
        return owner

    @router.get("/api/engine/offer", dependencies=from_page)
    async def offer_status(owner: Owner | None = Depends(get_owner)) -> dict[str, Any]:
        """The model that the page offers while none answers.

        `state`: `none` (also for visitors who may not start it), `offered`, `fetching`, `checking`, `loading` or `failed`.
        All but `none` have `model`; `offered` and `failed` have `bytes` (still to be fetched) and `error`; the others
        `done_bytes` and `total_bytes` (0: unknown).
        """
        return await offer.get_status(owner)

    @router.post("/api/engine/offer", status_code=202, dependencies=from_page)
    async def start(owner: Owner = Depends(require_owner)) -> dict[str, Any]:
        """Fetch and start the offered model: 202 with the fields of `GET /api/engine/offer`. 409 if there is no offer."""
        await offer.start(owner)
        return await offer.get_status(owner)

    @router.delete("/api/engine/offer", dependencies=from_page)
    async def stop(owner: Owner = Depends(require_owner)) -> dict[str, Any]:
        """Stop fetching or loading the model, and keep the fetched part. Returns the fields of `GET /api/engine/offer`."""
        await offer.stop()
        return await offer.get_status(owner)
