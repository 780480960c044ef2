"""A true llama.cpp server through the whole product."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from playwright.async_api import expect

from server.features.hosting.hosting import Hosting
from server.shared.processes.reaper import list_descendants
from tests.browser.test_page_local import looking_at
from tests.browser.test_page_operator import choose, command_of, let_in
from tests.browser.visitor import TOKEN, Visit, Visitor
from tests.real_model.gguf_files import PROJECTOR, WEIGHTS, write
from tests.real_model.server import ASK_COLOR, ASK_SONG
from tests.support.hub_stand_in import Model as OnHub
from tests.support.hub_stand_in import running_hub
from tests.support.real_llama import LOADS, PROGRAM, slots
from tests.support.running import running
from tests.support.words import say
from tests.whole.test_real_llama import CATALOGUE, COMMIT, FREED, NAME

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
]

# Presses Stop as soon as the song begins.
_STOPS = """() => {
  const timer = setInterval(() => {
    const said = [...document.querySelectorAll("#log .text")].at(-1)?.textContent ?? "";
    if (!/^\\s*(la ){4}/.test(said)) return;
    clearInterval(timer);
    document.querySelector("#cancel").click();
  }, 5);
}"""


@pytest.mark.timeout(480)
async def test_fetched_and_started_on_the_page_it_answers_the_camera(
    visit: Visit, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a mirror of the hub, its log and its command in sight; stopped, its slot is free; killed, the
    built-in engine answers until it is back; switched to a copy, that one answers.
    """
    colors = write(tiny_model, tmp_path / "copy")
    (tmp_path / "models.toml").write_text(CATALOGUE)
    # So small a model is no quicker with more, and on a busy machine slower.
    monkeypatch.setattr("server.features.hosting.host.count_cores", lambda: 1)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("server.features.hosting.hosting.MODELS_FOLDER", tmp_path / "models")
    settings = {
        "operator_token": TOKEN,
        "rate_limit_per_minute": 0,
        "allow_model_downloads": True,
        "catalogue": str(tmp_path / "models.toml"),
        "llama_server": str(PROGRAM),
        "response_max_tokens": 3500,
        "model_max_tokens": 4096,
        "model_path": colors,
    }
    with running_hub() as hub:
        files = {path.name: path.read_bytes() for path in colors.iterdir()}
        hub.models[NAME] = OnHub({COMMIT: files | {"README.md": b"x"}}, names={"main": COMMIT})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        async with running(engine="auto", **settings) as run:
            page = await looking_at(visit, run, "red")
            await let_in(page)
            panel = page.find("#operator-panel")
            state = panel.locator("#engine-state")
            await panel.locator("#engine-models").get_by_text("Colors", exact=True).click()
            await page.find("#fetch-start").click()
            said = page.find("#fetch-text")
            await expect(said).to_contain_text("is here. Choose it below.", timeout=LOADS * 1000)
            folder = tmp_path / "models" / "colors-GGUF"
            assert {path.name for path in folder.glob("*.gguf")} == {WEIGHTS, PROJECTOR}

            await choose(page, "Colors", "subprocess")
            await command_of(page, "LLAMA_API_KEY=********", str(PROGRAM), str(folder / WEIGHTS))
            await panel.get_by_role("button", name="Start", exact=True).click()
            await expect(state).to_have_text("Colors runs in its own process", timeout=LOADS * 1000)
            await expect(panel.locator("#engine-lines")).to_contain_text("model loaded")
            await page.button("Close").click()

            manager = run.program.added.provided[Hosting].manager
            launch = manager._plan.launch
            # A person would not be quick enough for so small a model.
            await page.evaluate(_STOPS)
            sent = await page.send(ASK_SONG)
            assert (await page.end(sent["id"], timeout=LOADS))["finish_reason"] == "cancelled"
            began = time.monotonic()
            while any(await slots(launch.base_url, launch.key)):
                assert time.monotonic() - began < FREED

            since = await page.now()
            (served,) = list_descendants(manager.ready_runtime._process.pid)
            os.kill(served, signal.SIGKILL)
            await page.got('m.type === "ready" && m.engine === "builtin"', since=since)
            back = 'm.type === "ready" && m.engine === "local" && m.engine_state === "ready"'
            await page.got(back, since=since, timeout=LOADS)
            # What so small a model says of a camera's picture is its own affair.
            assert await answering(page) == NAME

            await page.press(say("page.engine"))
            await choose(page, "copy", "subprocess")
            await command_of(page, str(colors / WEIGHTS))
            await panel.get_by_role("button", name="Switch to this").press("Enter")
            await expect(state).to_have_text("copy runs in its own process", timeout=LOADS * 1000)
            await page.button("Close").click()
            assert await answering(page) == "copy"
            await page.leave()


async def answering(page: Visitor) -> str:
    """Ask on the page; return the model that answers it."""
    response = await page.ask(ASK_COLOR, timeout=LOADS)
    assert response["engine"] == "local"
    assert response["text"]
    found: str = response["model"]
    return found
