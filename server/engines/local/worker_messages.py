"""Read a worker's messages about its model: the progress of loading, and the abilities then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.catalogue import families, geometry
from server.engines.base import Capabilities
from server.processes.log_progress import LoadProgress

# The names of the worker's phases for people
_PHASES = {
    "checking": "checking the files",
    "importing": "starting torch and transformers",
    "processor": "loading the processor",
    "weights": "loading weights",
    "warming": "trying it",
}


def progress_of(header: Mapping[str, Any]) -> LoadProgress:
    """Read a message of type `progress`."""
    phase = str(header["phase"])
    return LoadProgress(
        _PHASES.get(phase, phase), header["percent"], header["done"], header["total"]
    )


def capabilities_of(header: Mapping[str, Any], folder: Path) -> Capabilities:
    """Read a message of type `ready`, of the model in `folder`."""
    # The worker cuts a picture into no more tiles than it fills.
    found = geometry.from_folder(folder, filled=True)
    found = found or geometry.from_model_type(header["model_type"])
    boxes = families.box_unit(header["model_type"])
    return Capabilities(
        audio_in=header["hears"],
        video=header["video"] and families.pairs_frames(header["model_type"]),
        grounding=boxes is not None,
        boxes=boxes,
        geometry=found or geometry.DEFAULT,
        context_length=header["context"],
        max_concurrency=1,
    )
