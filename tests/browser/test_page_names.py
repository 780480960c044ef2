"""Names and words of strangers, on the page and in the operator's panel: HTML in them stays text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.test_page_operator import let_in
from tests.browser.visitor import TOKEN, Visit, started
from tests.features.cameras.test_page_several import invite
from tests.features.grants.test_page_programs import _LOOKS, given
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import with_model

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

HTML = "<img src=//q onerror=hit()>"
# Fields of the panel's answers that somebody else names
NAMES = "name folder model label device camera session title detail address source kind host codec"
# Elements that a name has become
_BECOME = """() => document.querySelectorAll("[onerror], [onload], img[src*='//q'], body script").length"""
# Elements that say it, by what they are in
_SAYS = """(words) => [...document.querySelectorAll("*")].filter((one) =>
  [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.includes(words))).length"""


def hostile(value: Any, key: str = "") -> Any:
    """The same answer with names that nobody's rule has seen: HTML, marks that reverse a line, 10,000 characters."""
    if isinstance(value, dict):
        return {key: hostile(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [hostile(one, key) for one in value]
    named = isinstance(value, str) and value and key in NAMES.split()
    return f"{HTML}\u202e\u2066\0" + "x" * 10_000 if named else value


async def rewritten(page: Page) -> None:
    async def answer(route: Route) -> None:
        reply = await route.fetch()
        if "json" in reply.headers.get("content-type", ""):
            await route.fulfill(response=reply, body=json.dumps(hostile(await reply.json())))
        else:
            await route.fulfill(response=reply)

    await page.route("**/api/operator/**", answer)
    await page.route("**/api/engine", answer)


async def test_html_in_names_and_words_stays_text(visit: Visit) -> None:
    """Those of the model, a camera, a program, a watch, a question and an answer; the server's
    own rules for names do not count in the panel."""
    async with FakeOpenAI() as model:
        model.models = [HTML]
        model.answer_for = lambda _body, _jpeg: [HTML]
        async with with_model(model, operator_token=TOKEN) as run:
            page = await started(visit, run.base_url)
            await page.ask(HTML)
            await page.press("#watch")
            await page.box.fill(HTML)
            await page.box.press("Enter")
            await page.got('m.type === "watches" && m.watches.length > 0')
            await invite(page, HTML)
            await page.page.keyboard.press("Escape")
            await page.press("#programs-open")
            address, token = await given(page, HTML)
            await page.find("#programs-close").click()
            assert await page.evaluate(_LOOKS, [address, f"Bearer {token}", HTML]) == 200
            await expect(page.find(".look[data-state=done]")).to_contain_text(HTML)
            # Question, answer, watch, camera, program, its question and its answer
            assert await page.evaluate(_SAYS, HTML) >= 7
            assert await page.evaluate(_BECOME) == 0
            panel = await visit(run.base_url, prepare=rewritten)
            await let_in(panel)
            await panel.comes(f"({_SAYS})('onerror=hit()') >= 2", True)
            assert await panel.evaluate(_BECOME) == 0
            await panel.leave()
            await page.leave()
