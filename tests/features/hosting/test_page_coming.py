"""While a model is on its way the built-in engine answers and says so; the first answer after it says who answers now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from server.features.hosting.catalogue.engine_log import LoadProgress
from server.features.hosting.catalogue.entry import ModelType, RunMode
from server.features.hosting.manager import EngineManager
from server.features.hosting.status import ManagerState, ManagerStatus
from tests.browser.test_page_local import LOADS, picture_of
from tests.browser.visitor import Visit, Visitor, hurry, started
from tests.real_model.server import ASK_COLOR, PYTHON
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PHONE = (390, 844)


def line(page: Visitor, number: int = -1) -> Locator:
    return page.turns.nth(number).locator(".evidence .line")


async def simple(page: Visitor) -> None:
    await page.state.click()
    await page.find("#simple-open").click()


async def test_a_model_that_loads_slowly_and_then_answers(
    visit: Visit, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A true one, whose Python waits for this test; nothing is invented about when it is ready."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    go, python = tmp_path / "go", tmp_path / "python"
    # Asked what it has, it answers at once.
    wait = f'[ "$1" = -c ] || while [ ! -e {go} ]; do sleep 0.05; done'
    python.write_text(f'#!/bin/sh\n{wait}\nexec {PYTHON} "$@"\n')
    python.chmod(0o755)
    settings = {"local_model": tiny_model, "engine_python": str(python), "trust_remote_code": True}
    async with running(engine="auto", response_max_tokens=200, **settings) as run:
        page = await started(visit, run.base_url, viewport=PHONE)
        await page.show(mode=picture_of("red"))
        coming = await page.got('m.type === "model_coming" && m.model', timeout=LOADS)
        name = coming["model"]
        assert "seconds_left" not in coming
        meanwhile = say("answer.meanwhile_loading", model=name)
        assert (await page.ask(ASK_COLOR))["engine"] == "builtin"
        await expect(line(page)).to_contain_text(meanwhile)
        await page.state.click()
        words = say("page.coming_loading", model=name)
        await expect(page.find("#fact-engine")).to_contain_text(f"{words}.")
        await page.find("#simple-open").click()
        await expect(page.find("#simple-coming-words")).to_have_text(f"{words}.")
        await page.button(say("page.done")).click()

        go.touch()
        await page.got('m.type === "ready" && m.engine === "local"', timeout=LOADS)
        now = say("stage.model_now", model=name)
        await expect(page.find("#log .note")).to_have_text(f"{now}.")
        assert (await page.ask(ASK_COLOR, timeout=LOADS))["text"] == "It is red."
        await expect(line(page)).to_contain_text(now)
        # The one before stays what it was.
        await expect(line(page, 0)).to_contain_text(meanwhile)
        await page.ask(ASK_COLOR, timeout=LOADS)
        await expect(line(page)).not_to_contain_text(now)
        await expect(line(page)).to_contain_text("tiny")
        await page.leave()


async def test_how_far_it_is_and_the_time_left(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the answer's line, the state and basic mode, which go on with it, and end with it."""
    loading = ManagerStatus(
        ManagerState.LOADING,
        "someone/tiny-vl",
        ModelType.VISION,
        RunMode.SUBPROCESS,
        LoadProgress("loading weights", 40.0),
    )
    now = [loading]
    known: list[int | None] = [None]
    monkeypatch.setattr(EngineManager, "get_status", lambda _: now[0])
    monkeypatch.setattr("server.features.hosting.status.TimeLeft.estimate", lambda *_: known[0])
    async with running(engine="auto") as run:
        page = await started(visit, run.base_url, viewport=PHONE)
        await page.got('m.type === "model_coming"')
        await page.ask("What do you see?")
        meanwhile = say("answer.meanwhile_loading", model="tiny-vl")
        await expect(line(page)).to_contain_text(f"{meanwhile} · 40\u00a0% · ")
        await simple(page)
        bar = page.find("#simple-coming-bar")
        await expect(bar).to_have_js_property("value", 40)
        known[0] = 90
        now[0] = replace(loading, progress=LoadProgress("loading weights", 55.0))
        await expect(bar).to_have_js_property("value", 55)
        left = say("page.time_left", time="90\u00a0s")
        await expect(page.find("#simple-coming-words")).to_contain_text(f"55\u00a0%, {left}.")
        await page.button(say("page.done")).click()
        await expect(line(page)).to_contain_text(f"{meanwhile} · 55\u00a0% · {left}")
        now[0] = ManagerStatus()
        await page.got('m.type === "model_coming" && !m.model')
        await expect(line(page)).not_to_contain_text("%")
        await expect(line(page)).to_contain_text(meanwhile)
        await page.leave()


async def test_simple_mode_names_no_things_where_the_server_names_none(visit: Visit) -> None:
    """NAME_THINGS is off."""
    async with running(name_things=False) as run:
        page = await started(visit, run.base_url, viewport=PHONE)
        await page.state.click()
        await expect(page.find("#simple-words")).to_have_text(say("stage.simple_plain"))
        await page.find("#simple-open").click()
        await expect(page.find("#simple-can")).to_have_text(say("simple.can_plain"))
        await page.leave()


async def test_an_answer_ages(visit: Visit, server: Running, model: FakeOpenAI) -> None:
    """By one slow clock for all: just now, then minutes, then the time of day."""

    async def prepare(page: Page) -> None:
        await hurry(page, "core/chat.js", AGES_EVERY=50)
        await hurry(page, "answer/looked.js", MINUTE=500, MOST_MINUTES=5)

    page = await started(visit, server.base_url, viewport=PHONE, prepare=prepare)
    await page.ask("What is this?")
    await expect(line(page)).to_contain_text(say("page.ago", time="3\u00a0min"))
    await expect(line(page)).not_to_contain_text(say("answer.just_now"))
    await page.comes(
        "/ · \\d\\d:\\d\\d:\\d\\d · /.test(document.querySelector('.evidence .line').textContent)",
        True,
    )
