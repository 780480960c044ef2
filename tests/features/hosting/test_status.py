"""The updates about a loading model: not too often, and never an old state for long."""

from __future__ import annotations

import asyncio

import pytest

from server.features.hosting.log_progress import LoadProgress
from server.features.hosting.status import _SHOW_SECONDS, ManagerState, ManagerStatus, StatusStore

pytestmark = pytest.mark.asyncio


def board() -> tuple[StatusStore, list[tuple[str, float | None]]]:
    """One on which something begins to load, and what its listener hears: phase and percent."""
    one = StatusStore()
    heard: list[tuple[str, float | None]] = []

    def hear(status: ManagerStatus) -> None:
        if status.progress is not None:
            heard.append((status.progress.phase, status.progress.percent))

    one.on_change(hear)
    one.show(ManagerStatus(ManagerState.LOADING, "m", progress=LoadProgress("starting")))
    return one, heard


async def test_within_a_phase_the_newest_is_told_when_it_is_time() -> None:
    """The first at once, of what comes too soon only the last: it does not stay untold when nothing
    follows it.
    """
    one, heard = board()
    for percent in (0.0, 25.0, 50.0):
        one.progress(LoadProgress("weights", percent))
    assert heard == [("starting", None), ("weights", 0.0)]
    await asyncio.sleep(_SHOW_SECONDS + 0.1)
    assert heard[2:] == [("weights", 50.0)]
    await asyncio.sleep(_SHOW_SECONDS + 0.1)
    assert len(heard) == 3


async def test_a_new_phase_and_the_end_of_one_are_told_at_once() -> None:
    """Progress held back from the phase before is not sent after them."""
    one, heard = board()
    one.progress(LoadProgress("weights", 0.0))
    one.progress(LoadProgress("weights", 50.0))
    one.progress(LoadProgress("weights", 100.0))
    one.progress(LoadProgress("trying it"))
    told = [("starting", None), ("weights", 0.0), ("weights", 100.0), ("trying it", None)]
    assert heard == told
    await asyncio.sleep(_SHOW_SECONDS + 0.1)
    assert heard == told


async def test_what_was_held_back_ends_with_its_loading() -> None:
    """Neither a model that runs nor the next one that loads shows it."""
    one, heard = board()
    one.progress(LoadProgress("weights", 0.0))
    one.progress(LoadProgress("weights", 50.0))
    one.show(ManagerStatus(ManagerState.READY, "m"))
    one.show(ManagerStatus(ManagerState.LOADING, "n", progress=LoadProgress("starting")))
    await asyncio.sleep(_SHOW_SECONDS + 0.1)
    assert heard == [("starting", None), ("weights", 0.0), ("starting", None)]
