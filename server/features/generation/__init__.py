"""Videos and sound from words: what may be asked, the worker, the MP4 or WAV; all in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api
    from server.features.hosting.hosting import Hosting

# It loads the models.
NEEDS = ("hosting",)


def register(api: Api) -> None:
    """Run models that make videos or sound, and let operators use them."""
    from server.features.generation.job import GenerationJob
    from server.features.generation.routes import add_routes
    from server.features.generation.runtime import make_runtime
    from server.features.hosting.routes import PREFIX

    job = GenerationJob(metrics=api.metrics, pool=api.pools.heavy)
    hosting: Hosting = api.find("hosting")
    hosting.runtimes["generation"] = make_runtime(api.pools.heavy)
    # A video in work ends before its model, at once.
    api.run("generation", close=job.close)
    add_routes(api.operator_router(PREFIX), api, job, hosting.manager)
    api.offer(job)
