"""The models that make videos or sound, as the engine manager runs them: here, or on another server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from server.features.generation.generator import Generator
from server.features.generation.videos_api import VideosApi
from server.features.hosting.catalogue.entry import RunMode
from server.features.hosting.runtime import MakeRuntime, OnLine, OnProgress, Plan, Runtime

# A loaded model that makes something. `make` gives `step`, then `frame`s, `sound` or a whole `file` with
# what it is; closing it stops the work.
MediaModel = Generator | VideosApi


def make_runtime(pool: ThreadPoolExecutor) -> MakeRuntime:
    """Return what makes the runtime of a model that makes videos or sound. `pool` decodes."""

    def make(plan: Plan, key: str, on_line: OnLine, on_progress: OnProgress) -> Runtime:
        launch, model = plan.launch, plan.model
        assert model is not None
        if plan.choice.mode is RunMode.REMOTE:
            return VideosApi(model, launch.base_url, key, pool=pool)
        return Generator(model, launch.argv, launch.env, on_line=on_line, on_progress=on_progress)

    return make
