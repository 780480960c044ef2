"""The built-in engine in a model's place: what the page says, offers, and says when a model is
back.
"""

from __future__ import annotations

import json

import pytest
from playwright.async_api import expect

from tests.browser.test_page_answers import coded
from tests.browser.visitor import SHARP, Visit, hurry, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SIMPLE = say("stage.simple_mode")


async def test_a_model_that_dies_is_told_once_and_once_that_it_is_back(visit: Visit) -> None:
    """Seen in the chat and heard once by a screen reader; the page offers what works meanwhile, and
    asks it.
    """
    async with FakeOpenAI() as model, running(engine="auto", vllm_base_url=model.base_url) as run:
        page = await started(visit, run.base_url)
        await page.record_announcements()
        notes, mode = page.find("#log .note"), page.find("#simple-label")
        assert (await page.ask("What is this?"))["engine"] == "vllm"
        await expect(mode).to_be_hidden()
        await expect(notes).to_have_count(0)

        await model.close()
        for question in ("And this?", "And now?"):
            await page.send(question)
        await page.got('m.type === "ready" && m.engine === "builtin"')
        await expect(notes).to_have_count(1)
        await expect(notes).to_contain_text(SIMPLE)
        await expect(mode).to_be_visible()
        await page.show(mode="black", clock=False)
        response = await page.ask("What colour is it?")
        assert response["engine"] == "builtin"
        assert "black" in response["text"].lower()

        since = await page.now()
        await model.start()
        await page.got('m.type === "ready" && m.engine === "vllm"', since=since)
        await expect(notes).to_have_count(2)
        await expect(notes.last).to_contain_text(say("stage.model_now", model="fake-vl"))
        await expect(mode).to_be_hidden()
        again = "window.__announced.some((text) => text.includes('answers now'))"
        await page.comes(again, True)
        heard = await page.announced()
        assert len([text for text in heard if SIMPLE in text]) == 1
        assert len([text for text in heard if "answers now" in text]) == 1
        await page.leave()


async def test_a_server_that_stopped_for_good_is_not_said_to_restart(visit: Visit) -> None:
    """The last message stays for the time of a restart; then the page says that the server has not
    come back.
    """
    async with running(drain_seconds=0.1) as run:
        page = await visit(
            run.base_url, prepare=lambda page: hurry(page, "outage.js", RESTARTS_WITHIN=1500)
        )
        page.expect(r"net::ERR_|WebSocket connection to .* failed")
        await page.start()
        # The first of them may be gone before the server is.
        await page.evaluate("""() => {
              window.__told = "";
              const notice = document.querySelector("#notice");
              new MutationObserver(() => (window.__told += notice.textContent))
                .observe(notice, { childList: true, characterData: true, subtree: true });
            }""")
    await expect(page.notice).to_contain_text(say("page.server_stopped"))
    await page.comes(f"window.__told.includes({json.dumps(say('page.restarts'))})", True)
    await expect(page.notice).to_contain_text(say("page.server_stopped_text"))
    await page.leave()


async def test_three_ways_to_a_model_each_to_be_copied(visit: Visit) -> None:
    """The chip leads to them: what is to be downloaded, how long that takes, and what to type."""
    async with running(engine="auto") as run:
        page = await started(visit, run.base_url)
        await page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await page.state.click()
        await page.find("#simple-open").click()
        await page.find("#simple-dialog summary").click()
        ways = page.find("#simple-ways li")
        await expect(ways).to_have_count(3)
        for at, size in enumerate(
            ("2\u00a0GB to download, about", "18\u00a0GB to download, about", "")
        ):
            way = ways.nth(at)
            await expect(way).to_contain_text(size)
            command = await way.locator("code").inner_text()
            await way.get_by_role("button", name=say("page.copy")).click()
            await page.comes("navigator.clipboard.readText()", command)
            await expect(page.find("#simple-said")).to_have_text(say("page.copied"))
        await page.leave()


async def test_a_date_a_price_and_a_link_have_their_questions(visit: Visit) -> None:
    """Questions are offered for what is in front of the camera. One press asks; without them the usual ones are back."""
    async with running(engine="builtin") as run:
        page = await started(visit, run.base_url, **SHARP)
        offered, usual = page.find("#offered"), page.find("#quick-what")
        label = "text:THYME HONEY\nBEST BEFORE 12 MAR 2037\n4.50 EUR"
        await page.show(mode=label, textPx=40, clock=False)
        expires, costs = (
            offered.get_by_role("button", name=say(f"builtin.{one}"))
            for one in ("when_expires", "what_costs")
        )
        await expect(costs).to_be_visible()
        response = await page.tap(say("builtin.when_expires"))
        assert "12 MAR 2037" in response["text"]
        await page.show(mode=coded("https://example.org/menu"))
        await expect(offered.get_by_role("button", name=say("builtin.open_link"))).to_be_visible()
        await page.show(mode="clock")
        await expect(usual).to_be_visible()
        await expect(expires).to_have_count(0)
        await page.leave()
