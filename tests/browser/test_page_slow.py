"""A model that loads or pauses: the page says so, and the person can stop it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from benchmarks.browser import set_camera
from tests.browser.visitor import GREY, Visit, Visitor, hurry, started
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.running import Running, with_model
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

BUSY, PAUSES = say("answer.model_busy"), say("answer.model_pauses")
# Milliseconds in place of seconds, and a time by which a line would have come
SOON, LATE = 400, 1500
# Writes down what screen readers hear, and each line that was shown, with the turn's state.
_HEARD = """() => {
  window.__announced = [];
  window.__lines = [];
  addEventListener("DOMContentLoaded", () => {
    const region = document.querySelector("#announcer");
    new MutationObserver(() => {
      window.__announced.push(region.textContent.trim());
    }).observe(region, { childList: true, characterData: true, subtree: true });
    new MutationObserver((changes) => {
      for (const { addedNodes } of changes)
        for (const one of addedNodes)
          if (one.className === "slow") window.__lines.push([one.closest("article")?.dataset.state, one.textContent]);
    }).observe(document.querySelector("#log"), { childList: true, subtree: true });
  });
}"""


async def _prepare(page: Page) -> None:
    await hurry(page, "slow.js", FIRST=SOON, NEXT=SOON, THINKS_LONG=2 * SOON)


@pytest.fixture
def pieces(model: FakeOpenAI) -> FakeOpenAI:
    """The model server that sends each piece when it is released, the first one too."""
    model.answer_for = lambda _body, _jpeg: ["", "I ", "see ", "a ", "cup."]
    model.hold()
    return model


async def impatient(visit: Visit, url: str, **options: Any) -> Visitor:
    """A live page that says after fractions of a second that it waits."""
    page = await started(visit, url, scripts=(_HEARD,), prepare=_prepare, **options)
    await page.evaluate("window.__announced.length = 0")
    return page


def line(page: Visitor) -> Locator:
    return page.turns.last.locator(".slow")


async def test_a_model_that_sends_nothing_is_reported(
    visit: Visit, server: Running, pieces: FakeOpenAI
) -> None:
    """In place of "Thinking…" before the first word, below the words in a pause; a screen reader hears each once."""
    page = await impatient(visit, server.base_url)
    await page.send("What is this?")
    text = page.turns.last.locator(".text")
    await expect(line(page)).to_have_text(BUSY)
    await expect(text).to_be_hidden()
    assert pieces.steps is not None
    for words in ("I", "I see"):
        pieces.steps.release()
        await expect(text).to_have_text(words)
        await expect(line(page)).to_have_text(PAUSES)
        await expect(text).to_be_visible()
    pieces.steps.release()
    await expect(text).to_have_text("I see a")
    pieces.let_go()
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await expect(line(page)).to_have_count(0)
    await page.comes("window.__announced.at(-1)", "I see a cup.")
    assert await page.evaluate("window.__announced") == [BUSY, PAUSES, "I see a cup."]
    lines = await page.evaluate("window.__lines")
    assert lines[:3] == [["thinking", BUSY], *[["answering", PAUSES]] * 2]


async def test_thoughts_are_a_sign_of_life(visit: Visit) -> None:
    """The line goes with the first one, and comes back when no other follows."""
    async with FakeOpenAI() as model, with_model(model) as run:
        model.deltas = [{"content": ""}, {"reasoning_content": "It is round."}, {"content": "Cup."}]
        page = await impatient(visit, run.base_url)
        # With its first thought ever the engine asks anew, in another form.
        await page.ask("What is that?")
        model.hold()
        await page.send("What is this?")
        await expect(line(page)).to_have_text(BUSY)
        assert model.steps is not None
        model.steps.release()
        await expect(page.turns.last.locator(".thoughts")).to_be_visible()
        await expect(line(page)).to_have_text(PAUSES)
        model.let_go()
        await expect(page.turns.last.locator(".text")).to_have_text("Cup.")
        await expect(line(page)).to_have_count(0)
        await page.leave()


async def by_pointer(page: Visitor) -> None:
    await page.button(say("chat.stop")).click()


async def by_keyboard(page: Visitor) -> None:
    await expect(page.box).to_be_focused()
    await page.page.keyboard.press("Tab")
    await expect(page.button(say("chat.stop"))).to_be_focused()
    await page.page.keyboard.press("Enter")
    await expect(page.box).to_be_focused()


@pytest.mark.parametrize("stop", [by_pointer, by_keyboard])
async def test_it_can_be_stopped_before_the_first_word(
    visit: Visit,
    server: Running,
    model: FakeOpenAI,
    stop: Callable[[Visitor], Awaitable[None]],
) -> None:
    """The line goes, and the model server loses the request."""
    model.behaviour = Behaviour.KEEP_ALIVE_ONLY
    page = await impatient(visit, server.base_url)
    await page.send("What is this?")
    await expect(line(page)).to_have_text(BUSY)
    await expect(page.button(say("chat.stop"))).to_be_in_viewport(ratio=1)
    await stop(page)
    await expect(page.turns.last.locator(".remark")).to_have_text(say("page.cancelled"))
    await expect(line(page)).to_have_count(0)
    await model.last.done.wait()
    assert model.last.closed_early


async def test_it_goes_with_an_error(visit: Visit) -> None:
    """The model server is gone in a pause."""
    async with FakeOpenAI() as model, with_model(model) as run:
        page = await impatient(visit, run.base_url)
        model.behaviour = Behaviour.STALLS
        await page.send("What is this?")
        await expect(line(page)).to_have_text(PAUSES)
        await model.close()
        await expect(page.turns.last).to_have_attribute("data-state", "failed")
        await expect(line(page)).to_have_count(0)
        await page.leave()


async def test_no_other_wait_is_taken_for_the_models(
    visit: Visit, builtin: Running, server: Running, model: FakeOpenAI
) -> None:
    """Not that for a picture, nor that for text in front of the camera, which the built-in engine reads."""
    page = await impatient(visit, server.base_url)
    await set_camera(page.page, mode="frozen")
    await page.send("What is this?")
    await expect(page.turns.last.locator(".text")).to_have_text(say("chat.waiting_picture"))
    # Chromium may send the picture once more.
    await expect(page.turns.last).to_have_attribute("data-state", re.compile("done|failed"))
    lines = await page.evaluate("window.__lines")
    assert {state for state, _ in lines} <= {"thinking", "answering"}

    page = await impatient(visit, builtin.base_url, mode=GREY)
    sent = await page.send(say("stage.read_this_to_me"))
    await page.got(f'm.type === "started" && m.id === "{sent["id"]}"')
    await page.page.wait_for_timeout(LATE)
    await expect(page.turns.last).to_have_attribute("data-state", "thinking")
    assert await page.evaluate("window.__lines") == []
    assert say("chat.thinking") in await page.evaluate("window.__announced")
