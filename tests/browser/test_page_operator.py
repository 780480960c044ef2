"""The operator at the page: lets themselves in, loads a model, sees it work, stops it; visitors see none of it."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from server.engines.local_loaded import LocalLoaded
from tests.browser.test_page_local import LOADS, looking_at
from tests.browser.visitor import REFUSED_TOKEN, Visit, Visitor
from tests.fakes_openai import FakeOpenAI
from tests.real_model.server import ASK_COLOR, PYTHON
from tests.running import Running, running

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

TOKEN = "operator-token-of-this-test"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run() -> AsyncIterator[Running]:
    async with running(operator_token=TOKEN, rate_limit_per_minute=0) as one:
        yield one


async def let_in(page: Visitor) -> None:
    """Open the panel and bring the token."""
    await page.state.click()
    await page.button("Manage").click()
    await page.page.get_by_label("Operator token").fill(TOKEN)
    await page.button("Continue").click()
    await expect(page.page.locator("#engine-panel")).to_be_visible()


async def test_visitors_see_no_more_than_before(visit: Visit, builtin: Running) -> None:
    """Where there is no operator there is no entry either."""
    page = await visit(builtin.base_url)
    await page.start()
    await page.state.click()
    await expect(page.page.locator("#fact-engine")).to_contain_text("Built-in engine")
    await expect(page.page.locator("#engine-open")).to_be_hidden()


async def test_a_wrong_token_opens_nothing(visit: Visit, run: Running) -> None:
    """It says so in the server's words, and the right one then does."""
    page = await visit(run.base_url)
    page.expect(REFUSED_TOKEN)
    await page.start()
    await page.state.click()
    await page.button("Manage").click()
    token = page.page.get_by_label("Operator token")
    await token.fill("wrong")
    await token.press("Enter")
    await expect(page.page.locator("#engine-refused")).to_contain_text("not right")
    await expect(page.page.locator("#engine-panel")).to_be_hidden()
    await token.fill(TOKEN)
    await token.press("Enter")
    await expect(page.page.locator("#engine-panel")).to_be_visible()
    assert await token.input_value() == ""
    # Escape closes it, and the page behind works on.
    await page.page.keyboard.press("Escape")
    await expect(page.page.locator("#engine-dialog")).to_be_hidden()


async def test_the_operator_starts_watches_and_stops(
    visit: Visit, run: Running, model: FakeOpenAI
) -> None:
    """A server is chosen by its address: the exact command, loading, an answer by it, and the built-in engine after it."""
    page = await visit(run.base_url, viewport=(390, 844))
    other = await visit(run.base_url)
    await page.start()
    await let_in(page)
    panel = page.page.locator("#engine-panel")
    await expect(panel.get_by_text("No model is loaded")).to_be_visible()
    # Ways that can not work say why.
    disabled = panel.locator("#engine-modes .choice:has(:disabled)").first
    await expect(disabled).to_be_visible()
    assert len(await disabled.locator("small").inner_text()) > 20
    await panel.get_by_text("Any OpenAI-compatible server", exact=True).click()
    await expect(panel.get_by_text("Give the address of the server.")).to_be_visible()
    start = page.page.locator("#engine-start")
    await expect(start).to_be_disabled()
    await page.page.locator("#engine-url").fill(model.base_url)
    command = page.page.locator("#engine-command")
    await expect(command).to_contain_text(f"{model.base_url}/chat/completions")
    # On a phone nothing stands out at the side, and what is to be pressed is large enough.
    assert await panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth")
    box = await start.bounding_box()
    assert box is not None
    assert box["height"] >= 44
    await start.click()
    state = page.page.locator("#engine-state")
    await expect(state).to_have_text(f"Connected to {model.base_url}")
    await expect(page.page.locator("#engine-detail")).to_contain_text("answered by it")
    await page.button("Close").click()
    assert (await page.ask("What is this?"))["engine"] == "local"
    await expect(page.page.locator("#fact-engine")).to_contain_text("Local model")
    # Another visitor is answered by it, too, and hears nothing of how it is run.
    await other.start()
    assert (await other.ask("What is this?"))["text"] == "I see a cup."
    await page.button("Manage").click()
    await page.button("Stop engine").click()
    await expect(state).to_have_text("No model is loaded")
    await other.got('m.type === "ready" && m.engine === "builtin"')
    assert not [e for e in await other.log() if e["message"]["type"] in ("engine", "log")]


async def test_what_fails_says_what_to_do(visit: Visit, run: Running) -> None:
    """On the page, with the way to try something else beside it."""
    page = await visit(run.base_url)
    await page.start()
    await let_in(page)
    await page.page.get_by_text("Any OpenAI-compatible server", exact=True).click()
    # The server itself is no model server.
    await page.page.locator("#engine-url").fill(f"{run.base_url}/v1")
    await page.page.locator("#engine-start").click()
    error = page.page.locator("#engine-error")
    await expect(error).to_contain_text("Check the address")
    await expect(page.page.locator("#engine-start")).to_be_enabled()
    await expect(page.page.locator("#engine-stop")).to_be_hidden()


async def test_the_operator_loads_a_model_here_and_the_camera_is_answered_with_it(
    visit: Visit, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny model that names colours, found in its folder: chosen on the page, seen loading, red is called red, and
    its memory comes back when it is stopped."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = {"model_path": tiny_model, "engine_python": PYTHON, "trust_remote_code": True}
    async with running(operator_token=TOKEN, **settings) as run:
        page = await looking_at(visit, run, "red")
        await let_in(page)
        panel = page.page.locator("#engine-panel")
        await panel.locator("#engine-models").get_by_text("tiny", exact=True).click()
        await expect(panel.locator("#engine-modes :checked")).to_have_value("in_process")
        command = panel.locator("#engine-command")
        await expect(command).to_contain_text("server.engines.worker")
        await expect(command).to_contain_text(str(tiny_model))
        shown = await command.inner_text()
        await page.page.locator("#engine-start").click()
        progress = await page.got('m.type === "engine" && m.state === "loading"')
        assert progress["progress"]["phase"]
        await expect(page.page.locator("#engine-state")).to_have_text(
            "tiny runs in this program", timeout=LOADS * 1000
        )
        await expect(page.page.locator("#engine-detail")).to_contain_text("MB of memory")
        loaded = run.program.engine_room.manager.loaded
        assert isinstance(loaded, LocalLoaded)
        # What was shown is what runs, word for word.
        assert shown.endswith(shlex.join(loaded._engine.argv))
        await page.button("Close").click()
        response = await page.ask(ASK_COLOR)
        assert (response["text"], response["engine"]) == ("It is red.", "local")
        await page.button("Manage").click()
        await page.button("Stop engine").click()
        await expect(page.page.locator("#engine-state")).to_have_text("No model is loaded")
        released = run.program.engine_room.manager.status().released
        assert released is not None
        assert released.held
        assert released.left == 0
        log = panel.locator("#engine-log")
        await log.locator("summary").click()
        await expect(log).to_contain_text("gave back")
