"""Data for the operator's panel: the models with their modes, the machine, the engine's state.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from server.catalogue.entry import Catalogue, Model
from server.catalogue.launch import Launch
from server.catalogue.modes import Host, gigabytes, modes
from server.core.messages import Answering, EngineReport, LoadingProgress, ReleasedMemory
from server.hosting.model_fetch import ModelFetch
from server.hosting.status import ManagerStatus, Released

# Sentences about unusable folders; there may be many.
MAX_TROUBLES = 6


def report(
    status: ManagerStatus, answers: bool, answering: Answering | None = None, why: str = ""
) -> EngineReport:
    """Build the engine's report.

    `answers`: it answers visitors; `answering`: the engine that does; `why`: no better one.
    """
    progress = status.progress
    return EngineReport(
        state=str(status.state),
        model=status.model or None,
        model_type=str(status.model_type) if status.model_type else None,
        mode=str(status.mode) if status.mode else None,
        progress=(
            LoadingProgress(
                phase=progress.phase,
                percent=round(progress.percent, 1) if progress.percent is not None else None,
                done_bytes=progress.done_bytes,
                total_bytes=progress.total_bytes,
            )
            if progress is not None
            else None
        ),
        memory_bytes=status.memory_bytes,
        gpu_bytes=status.gpu_bytes,
        released=_released(status.released),
        command=status.shown or None,
        error=status.error or None,
        answers=answers,
        answering=answering,
        why=why or None,
    )


def _released(back: Released | None) -> ReleasedMemory | None:
    if back is None:
        return None
    memory = None if back.held is None else max(0, back.held - (back.left or 0))
    gpu = None
    if back.gpu_before is not None and back.gpu_after is not None:
        gpu = max(0, back.gpu_after - back.gpu_before)
    if memory is None and gpu is None:
        return None
    return ReleasedMemory(memory_bytes=memory, left_bytes=back.left, gpu_bytes=gpu)


async def fetching(fetch: ModelFetch) -> dict[str, Any]:
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
    models: Iterable[Model], host: Host, command: Callable[[Model], str] = lambda _: ""
) -> list[dict[str, Any]]:
    """Return each model with its modes, in the catalogue's order; `command` fetches one."""
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


def machine(host: Host) -> str:
    """Describe the machine's resources for models in a sentence."""
    gpus = [
        f"{gpu.name}"
        + (f" ({gigabytes(gpu.free_bytes)} free)" if gpu.free_bytes is not None else "")
        for gpu in host.gpus
    ]
    parts = [", ".join(gpus) or "No GPU"]
    if host.ram_total_bytes:
        free, total = gigabytes(host.ram_free_bytes), gigabytes(host.ram_total_bytes)
        parts.append(f"{free} of {total} of memory free")
    if host.sandboxed:
        parts.append("in systemd's sandbox")
    return f"This machine: {'; '.join(parts)}."


def preview(launch: Launch, elsewhere: str) -> dict[str, Any]:
    """Return the command that would run, and the other machine to which pictures would go ("" for
    none).
    """
    return {
        "command": launch.shown,
        "elsewhere": elsewhere,
        "warnings": list(launch.warnings),
    }
