"""Operators' routes for models: state, list, preview of the command, start and stop, and what the panel shows of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.entry import Catalogue, Model
from server.features.hosting.catalogue.machine import Host, described
from server.features.hosting.catalogue.modes import modes
from server.features.hosting.catalogue.proposal import propose
from server.features.hosting.model_fetch import ModelFetch

if TYPE_CHECKING:
    from server.features.hosting.hosting import Hosting

log = logging.getLogger(__name__)
PREFIX = "/api/engine"
# Sentences about unusable folders; there may be many.
MAX_TROUBLES = 6
# Less than the 30 s that a proxy in front waits.
STOP_SECONDS = 20.0


def add_routes(router: APIRouter, hosting: Hosting) -> None:
    def standing() -> dict[str, Any]:
        return {"engine": hosting.report().model_dump(exclude_none=True)}

    @router.get("")
    async def engine() -> dict[str, Any]:
        """The engines: `engine` (the fields of the message `engine`), `models`, `fetch`, `machine`,
        `troubles`, `pending`.

        `models`: a list of `id`, `name`, `aliases`, `type`, `abilities`, `weights_bytes`,
        `memory_bytes`, `context_length`, `licence`, `note`, `here`, `recommended` (true for the one
        that is proposed for this machine), `fetch` (the command; empty for one that is here), and
        `modes`, a list of `mode`, `ok`, `reason`. `fetch`: as in `GET /api/engine/fetch`. `machine`: a sentence. `troubles`: sentences about what cannot be read.
        `pending`: ask again soon.
        """
        seen = await hosting.probe()
        free = await hosting.fetch.free()
        best = propose(seen.models, seen.emptied, free).model
        return {
            **standing(),
            # With the memory that unloading the current model would free.
            "models": listed(seen.models, seen.emptied, hosting.fetch.command, best),
            "fetch": await fetch_state(hosting.fetch),
            "machine": described(seen.host),
            "troubles": troubles(seen.models),
            # The page should ask again soon
            "pending": bool(seen.host.vllm_pending),
        }

    @router.get("/fetch")
    async def fetching() -> dict[str, Any]:
        """The download of a model.

        `state` (`idle`, `fetching`, `checking`, `paused`, `failed`, `done`), `model`, `done_bytes`,
        `total_bytes` (0: unknown), `free_bytes` (on the disk where models are kept; `null`:
        unknown), `error`, `refused` (why nothing can be fetched from here).
        """
        return await fetch_state(hosting.fetch)

    @router.post("/fetch", status_code=202)
    async def fetch(body: dict[str, Any]) -> dict[str, Any]:
        """Download `model` (`OWNER/NAME` of the catalogue), or go on with it: 202 and the same. 409
        while another one is fetched, or without `ALLOW_MODEL_DOWNLOADS`.
        """
        await hosting.fetch.start(body.get("model"))
        return await fetch_state(hosting.fetch)

    @router.delete("/fetch")
    async def pause_fetch() -> dict[str, Any]:
        """Pause the download, and keep the part that came. The same."""
        await hosting.fetch.pause()
        return await fetch_state(hosting.fetch)

    @router.post("/preview")
    async def preview(body: dict[str, Any]) -> dict[str, Any]:
        """The command that a choice would run. Body: `Choice`. Answers `command`, `elsewhere` (the
        other machine that pictures would go to) and `warnings`.
        """
        return await hosting.preview(Choice.read(body))

    @router.post("/start", status_code=202)
    async def start(body: dict[str, Any]) -> dict[str, Any]:
        """Start a model. Body: `Choice`. 202 with `engine`."""
        choice = Choice.read(body)
        await hosting.manager.start(choice)
        log.info("the operator starts a model", extra={"kind": str(choice.mode)})
        return standing()

    @router.post("/stop")
    async def stop() -> dict[str, Any]:
        """Stop the model. Answers `engine`; after 20 s also while it still stops."""
        log.info("the operator stops the model")
        # If it takes longer, stopping continues, and the socket reports its end.
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await hosting.manager.stop()
        return standing()


# What the panel shows


async def fetch_state(fetch: ModelFetch) -> dict[str, Any]:
    """Return what is being fetched, the room on the disk, and why nothing can be."""
    free = await fetch.free()
    status = fetch.status()
    return {
        "state": str(status.state),
        "model": status.model,
        "done_bytes": status.done,
        "total_bytes": status.total,
        "free_bytes": free,
        "error": status.error,
        "refused": fetch.refused,
    }


def listed(
    models: Iterable[Model],
    host: Host,
    command: Callable[[Model], str] = lambda _: "",
    best: Model | None = None,
) -> list[dict[str, Any]]:
    """List the models with their modes; `command` fetches one, `best` is the proposed one."""
    return [
        {
            "id": model.id,
            "name": model.name,
            "aliases": list(model.aliases),
            "type": str(model.model_type),
            "abilities": sorted(model.abilities),
            "weights_bytes": model.weights_bytes,
            "memory_bytes": model.memory_bytes,
            "context_length": model.context_length,
            "licence": model.licence,
            "note": model.note,
            "here": model.folder is not None,
            "recommended": model is best,
            # The command that fetches it; empty for one that is here, or is no repository
            "fetch": command(model) if model.folder is None and "/" in model.id else "",
            "modes": [
                {"mode": str(mode), "ok": possible.ok, "reason": possible.reason}
                for mode, possible in modes(model, host).items()
            ],
        }
        for model in models
    ]


def troubles(catalogue: Catalogue) -> list[str]:
    """Return sentences about an unreadable catalogue and unusable model folders."""
    shown = catalogue.troubles[:MAX_TROUBLES]
    more = len(catalogue.troubles) - len(shown)
    return [*shown, *([f"And {more} more folders that hold no model for this."] if more else [])]
