"""The updates about a loading model, to the operator and to visitors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.features.hosting.catalogue.engine_log import LoadProgress
from server.features.hosting.catalogue.entry import ModelType, RunMode
from server.features.hosting.hosting import Hosting
from server.features.hosting.messages import ModelComing
from server.features.hosting.model_fetch import FetchState, FetchStatus
from server.features.hosting.status import (
    ManagerState,
    ManagerStatus,
    StatusStore,
    TimeLeft,
    make_progress_message,
)
from tests.support.clients import page_of
from tests.support.running import running


def test_progress_is_told_while_it_loads() -> None:
    one, heard = StatusStore(), list[ManagerStatus]()
    one.on_change.append(heard.append)
    loading = ManagerStatus(ManagerState.LOADING, "m", progress=LoadProgress("starting"))
    one.show(loading)
    one.set_progress(LoadProgress("weights", 25.0))
    one.set_progress(LoadProgress("weights", 25.0))
    one.show(ready := ManagerStatus(ManagerState.READY, "m"))
    one.set_progress(LoadProgress("late"))
    assert heard == [loading, replace(loading, progress=LoadProgress("weights", 25.0)), ready]


# Everybody hears of the model on its way: how far it is, the time left where it is known, and
# nothing of how it is run


LOADING = ManagerStatus(
    ManagerState.LOADING,
    "/srv/models/tiny-vl",
    ModelType.VISION,
    RunMode.SUBPROCESS,
    LoadProgress("loading weights", 25.0),
    shown="vllm serve /srv/models/tiny-vl",
)


def told(status: ManagerStatus, fetch: FetchStatus | None = None) -> ModelComing:
    return make_progress_message(status, fetch or FetchStatus(), TimeLeft(), 0.0)


def test_a_model_that_loads_is_named_without_its_folder() -> None:
    message = told(LOADING)
    assert message == ModelComing(model="tiny-vl", step="loading", percent=25)
    assert "srv" not in message.encode()


@pytest.mark.parametrize(
    ("phase", "step", "percent"),
    [("fetching the image", "fetching", 25), ("compiling", "loading", None)],
)
def test_steps(phase: str, step: str, percent: int | None) -> None:
    """Small steps have no share of their own: it would run back."""
    message = told(replace(LOADING, progress=LoadProgress(phase, 25.0)))
    assert (message.step, message.percent) == (step, percent)


def test_what_answers_no_question_or_runs_elsewhere_is_nobodys_news() -> None:
    none = ModelComing()
    assert told(ManagerStatus()) == none
    assert told(replace(LOADING, model_type=ModelType.VIDEO)) == none
    assert told(replace(LOADING, mode=RunMode.REMOTE, model="the first model at 10.0.0.7")) == none


def test_a_fetch_has_its_share_of_bytes() -> None:
    fetch = FetchStatus(FetchState.FETCHING, "someone/tiny-vl", 300, 1000)
    assert told(ManagerStatus(), fetch) == ModelComing(model="tiny-vl", step="fetching", percent=30)
    checking = replace(fetch, state=FetchState.CHECKING)
    assert told(ManagerStatus(), checking).percent is None
    assert told(ManagerStatus(), replace(fetch, total_bytes=0)).percent is None
    assert told(ManagerStatus(), replace(fetch, state=FetchState.PAUSED)) == ModelComing()


def test_the_time_left_is_measured_or_absent() -> None:
    """From the progress of the last minute; never before some seconds of it, and not from a step before."""
    pace = TimeLeft()
    assert pace.estimate("a", 10.0, 0.0) is None
    assert pace.estimate("a", 11.0, 1.0) is None
    assert pace.estimate("a", 20.0, 10.0) == 80
    assert pace.estimate("a", 20.0, 11.0) == 88
    assert pace.estimate("b", 50.0, 12.0) is None
    assert pace.estimate("b", 40.0, 20.0) is None
    assert pace.estimate("b", None, 21.0) is None
    stalled = TimeLeft()
    assert [stalled.estimate("a", 10.0, float(at)) for at in range(20)] == [None] * 20


@pytest.mark.slow
async def test_clients_hear_of_it_and_of_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(features="builtin,hosting", engine="auto") as run, page_of(run) as page:
        store = run.program.added.provided[Hosting].manager
        now = [LOADING]
        monkeypatch.setattr(type(store), "get_status", lambda _: now[0])
        first = await page.next("model_coming")
        assert (first["model"], first["percent"]) == ("tiny-vl", 25)
        async with page_of(run) as other:
            assert (await other.next("model_coming"))["model"] == "tiny-vl"
        now[0] = ManagerStatus()
        assert (await page.next("model_coming"))["model"] == ""
