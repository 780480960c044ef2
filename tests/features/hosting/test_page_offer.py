"""The page offers a model below answers that only a model could give, and shows the download."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect

from tests.browser.test_page_languages import live
from tests.browser.test_page_local import picture_of
from tests.browser.test_page_operator import let_in
from tests.browser.visitor import TOKEN, Visit, Visitor, started
from tests.features.hosting.test_offer import colors, home, hub
from tests.real_model.gguf_files import PROJECTOR, WEIGHTS
from tests.real_model.server import ASK_COLOR
from tests.support.hub_stand_in import Hub
from tests.support.real_llama import LOADS, PROGRAM
from tests.support.running import Running, running
from tests.support.words import say
from tests.whole.test_real_llama import NAME

__all__ = ["colors", "home", "hub"]
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

PHONE = (390, 844)
BEYOND = "Why do people like it?"
MODEL = "colors-GGUF"


def settings(home: Path) -> dict[str, object]:
    return {
        "engine": "auto",
        "catalogue": str(home / "models.toml"),
        "llama_server": str(PROGRAM),
        "vllm_base_url": "http://127.0.0.1:9/v1",
        "model_max_tokens": 4096,
        "rate_limit_per_minute": 0,
    }


@pytest_asyncio.fixture(loop_scope="session")
async def run(home: Path, hub: Hub) -> AsyncIterator[Running]:
    async with running(**settings(home)) as one:
        yield one


def offer(page: Visitor) -> Locator:
    return page.find(".offer")


def button(page: Visitor) -> Locator:
    return offer(page).get_by_role("button")


async def beyond(page: Visitor) -> None:
    answer = await page.ask(BEYOND)
    assert (answer["engine"], answer["needs_model"]) == ("builtin", True)


async def test_a_press_brings_the_model(visit: Visit, run: Running, home: Path, hub: Hub) -> None:
    """Below the answer alone that needs it; the built-in engine goes on; a page that is loaded again and another one
    show the same; the model's first answer says so, once.
    """
    hub.models[NAME].stalls[WEIGHTS] = 60_000
    page = await started(visit, run.base_url, viewport=PHONE)
    await page.show(mode=picture_of("red"))
    assert "needs_model" not in await page.ask("What colour is it?")
    await expect(offer(page)).to_have_count(0)
    await beyond(page)
    await expect(button(page)).to_have_text(re.compile(r"^Answer questions like this: \d\sMB$"))
    await expect(page.turns.last.locator(".offer")).to_be_visible()
    await button(page).click()
    line = offer(page).locator("#offer-line")
    fetching = say("page.coming_fetching", model=MODEL)
    await expect(line).to_contain_text(f"{fetching}, 0 of ", timeout=30_000)
    await expect(offer(page).locator("progress")).to_be_visible()
    await expect(button(page)).to_have_text(say("page.stop"))
    await expect(button(page)).to_be_focused()
    assert "needs_model" not in await page.ask("What colour is it?")

    other = await started(visit, run.base_url, viewport=PHONE)
    await expect(offer(other).locator("#offer-line")).to_contain_text(fetching)
    await page.page.reload()
    await page.start()
    await expect(line).to_contain_text(fetching, timeout=30_000)
    await beyond(page)
    await expect(page.turns.last.locator(".offer")).to_be_visible()
    await expect(offer(page)).to_have_count(1)

    hub.models[NAME].stalls.clear()
    hub.released.set()
    await page.got('m.type === "ready" && m.engine === "local"', timeout=LOADS)
    await expect(offer(page)).to_have_count(0)
    await expect(offer(other)).to_have_count(0)
    assert (await page.ask(ASK_COLOR, timeout=LOADS))["engine"] == "local"
    now = page.find("#log .note", has_text=say("stage.model_now", model=NAME))
    await expect(now).to_have_count(1)
    await other.leave()
    await page.leave()
    files = {path.name for path in (home / "models").rglob("*.gguf")}
    assert files == {WEIGHTS, PROJECTOR}


async def test_stopped_and_broken_it_says_what_to_do(
    visit: Visit, run: Running, home: Path, hub: Hub
) -> None:
    """Stopped it is offered again; broken it says why, in the page's language, and is tried again."""
    hub.models[NAME].stalls[WEIGHTS] = 60_000
    page = await visit(run.base_url, viewport=PHONE, context_options={"locale": "de"})
    await live(page)
    await beyond(page)
    await expect(button(page)).to_have_text(re.compile(r"^Solche Fragen beantworten: \d\sMB$"))
    await button(page).click()
    await expect(offer(page).locator("progress")).to_be_visible()
    await button(page).click()
    await expect(button(page)).to_have_text(re.compile(r"^Solche Fragen beantworten: \d\sMB$"))
    await expect(button(page)).to_be_focused()
    await expect(offer(page).locator("progress")).to_be_hidden()

    hub.models[NAME].stalls.clear()
    hub.released.set()
    hub.models[NAME].spoiled[WEIGHTS] = 9
    await button(page).click()
    problem = offer(page).locator(".problem")
    await expect(problem).to_have_text(
        say("offer.not_fetched", language="de"), timeout=LOADS * 1000
    )
    await expect(page.find("#announcer")).to_have_text(say("offer.not_fetched", language="de"))
    await expect(button(page)).to_have_text(say("page.try_again", language="de"))
    hub.models[NAME].spoiled.clear()
    await button(page).click()
    await expect(problem).to_be_hidden()
    await page.got('m.type === "ready" && m.engine === "local"', timeout=LOADS)
    await expect(offer(page)).to_have_count(0)
    await page.leave()


async def test_only_an_operator_sees_it_where_there_is_one(
    visit: Visit, home: Path, hub: Hub
) -> None:
    more = {"operator_token": TOKEN, "allow_model_downloads": True}
    async with running(**settings(home), **more) as run:
        page = await started(visit, run.base_url, viewport=PHONE)
        await beyond(page)
        await page.page.wait_for_load_state("networkidle")
        await expect(offer(page)).to_have_count(0)
        await let_in(page)
        await page.button("Close").click()
        await beyond(page)
        await expect(page.turns.last.locator(".offer button.primary")).to_be_visible()
        await page.leave()
    assert hub.asked == []
