"""Videos and sound from words: what may be asked, the worker, the MP4 or WAV; all in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api
    from server.features.hosting.runtime import OnLine, OnProgress, Plan, Runtime

# It loads the models.
NEEDS = ("hosting",)


def register(api: Api) -> None:
    """Run models that make videos or sound, and let operators use them."""
    from server.features.generation.generator import GenerationRuntime
    from server.features.generation.job import GenerationJob
    from server.features.generation.routes import add_routes
    from server.features.hosting.hosting import PREFIX, Hosting

    def make(plan: Plan, _key: str, on_line: OnLine, on_progress: OnProgress) -> Runtime:
        launch, model = plan.launch, plan.model
        assert model is not None
        return GenerationRuntime(
            model, launch.argv, launch.env, on_line=on_line, on_progress=on_progress
        )

    job = GenerationJob(metrics=api.metrics, pool=api.pools.heavy)
    hosting = api.require_service(Hosting)
    hosting.runtimes["generation"] = make
    # A video in work ends before its model, at once.
    api.run("generation", close=job.close)
    add_routes(api.operator_router(PREFIX), api, job, hosting.manager)
    api.provide(GenerationJob, job)
