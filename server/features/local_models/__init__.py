"""Models that this server loads itself, each in a worker process with torch (`worker/`).

`hosting` chooses the model; `server.shared.processes` starts and ends the worker.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api

# `hosting` starts the models.
NEEDS = ("hosting",)


def register(api: Api) -> None:
    """Register the runtime of in-process models."""
    from server.features.hosting.hosting import Hosting
    from server.features.local_models.engine import make_runtime
    from server.models.thinking import ThinkingLimits

    hosting = api.require_service(Hosting)
    thinking = ThinkingLimits(api.settings.thinking, api.settings.thinking_max_tokens)
    hosting.runtimes["local_models"] = partial(make_runtime, thinking)
