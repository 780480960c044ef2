"""Make videos and sound from text, in a worker process; results stay in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api
    from server.features.hosting.runtime import OnLine, OnProgress, Plan, Runtime

# `hosting` starts the models.
NEEDS = ("hosting",)


def register(api: Api) -> None:
    """Register the runtime of models that make videos or sound, and operators' routes."""
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
    # Close the job before its model, so that it ends at once.
    api.run("generation", close=job.close)
    add_routes(api.make_operator_router(PREFIX), api, job, hosting.manager)
    api.provide(GenerationJob, job)
