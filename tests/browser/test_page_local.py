"""The whole product with a model of its own: what the browser's camera shows comes back as a word,
in-process.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import expect

from server.features.hosting.hosting import Hosting
from server.features.hosting.status import ManagerState
from server.features.local_models.engine import LocalEngine
from server.shared.processes.reaper import list_descendants
from tests.browser.visitor import Visit, Visitor, shown, started
from tests.real_model.server import ASK_COLOR, ASK_SONG, COLORS, PYTHON
from tests.support.clients import soon
from tests.support.running import Running, running

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LOADS = 60.0


def picture_of(color: str) -> str:
    """A camera's mode that shows nothing but one colour."""
    return shown(np.full((72, 128, 3), COLORS[color][::-1], np.uint8), "png")


@pytest_asyncio.fixture(loop_scope="session")
async def local(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A server that has loaded the tiny model that names colours."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = {"local_model": tiny_model, "engine_python": PYTHON, "trust_remote_code": True}
    async with running(engine="local", response_max_tokens=2000, **settings) as run:
        await soon(lambda: run.program.engines.current.status.ready, LOADS)
        yield run


def worker_of(run: Running) -> int:
    """The process that answers, below the one that keeps it."""
    loaded = run.program.added.provided[Hosting].manager.ready_runtime
    assert isinstance(loaded, LocalEngine)
    assert loaded._worker.pid is not None
    (worker,) = list_descendants(loaded._worker.pid)
    return worker


async def stopped_while_it_answers(run: Running, worker: int) -> None:
    """A song has an end, too: on a loaded machine it may have come before the page, or a test,
    looks for its beginning.
    """
    begun = first_tokens(run)
    await soon(lambda: first_tokens(run) > begun, LOADS)
    os.kill(worker, signal.SIGSTOP)


def first_tokens(run: Running) -> float:
    """Return the number of started answers."""
    (found,) = run.program.metrics.first_token.collect()
    return sum(one.value for one in found.samples if one.name.endswith("_count"))


async def looking_at(visit: Visit, run: Running, color: str) -> Visitor:
    page = await started(visit, run.base_url)
    await page.show(mode=picture_of(color))
    await page.settle()
    return page


async def test_red_in_front_of_the_camera_is_called_red(
    local: Running, visit: Visit, tiny_model: Path
) -> None:
    """Asked on the page; then the worker is killed in mid-answer: an error that says so, and blue
    works after it.

    The same through a server that the program starts: test_page_operator.py.
    """
    page = await looking_at(visit, local, "red")
    response = await page.ask(ASK_COLOR, timeout=LOADS)
    assert (response["text"], response["engine"], response["model"]) == (
        "It is red.",
        "local",
        "tiny",
    )
    await expect(page.turns.last.locator(".text")).to_have_text("It is red.")
    await page.leave()

    pid = worker_of(local)
    # On another page: what it says with a turn before is its own affair.
    other = await looking_at(visit, local, "blue")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stopped_while_it_answers(local, pid))
        sent = await other.send(ASK_SONG)
    await other.got(f'm.type === "delta" && m.id === "{sent["id"]}"', timeout=LOADS)
    os.kill(pid, signal.SIGKILL)
    error = await other.end(sent["id"], timeout=LOADS)
    assert (error["type"], error["code"]) == ("error", "engine_failed")
    assert "could not finish this answer" in error["message"]
    await soon(
        lambda: (
            local.program.added.provided[Hosting].manager.get_status().state
            is not ManagerState.READY
        ),
        LOADS,
    )
    await soon(lambda: local.program.engines.current.status.ready, LOADS)
    assert worker_of(local) != pid

    await other.leave()
    third = await looking_at(visit, local, "blue")
    assert (await third.ask(ASK_COLOR, timeout=LOADS))["text"] == "It is blue."
