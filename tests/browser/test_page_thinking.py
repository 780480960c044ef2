"""A model's reasoning is one line on the page that can be opened, never a part of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visitor, bounds
from tests.support.fakes_openai import FakeOpenAI
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

THOUGHTS = ["The thing is round ", "and white, with a handle. ", "It may be a cup or a mug."]


@pytest.fixture
def thinker(model: FakeOpenAI) -> Iterator[FakeOpenAI]:
    """The model server, with a model that thinks."""
    model.thoughts = list(THOUGHTS)
    yield model
    model.thoughts = []


async def test_thoughts_are_folded_and_no_part_of_the_answer(
    page: Visitor, thinker: FakeOpenAI
) -> None:
    """While it thinks a line says so; afterwards the line is there to be opened, and the answer
    stands alone.
    """
    thinker.steps = asyncio.Semaphore(0)
    sent = await page.send("What is this?")
    turn = page.turns.last
    line = turn.locator(".thoughts summary")
    await expect(line).to_have_text(say("chat.thinking"))
    await expect(turn.locator(".thoughts p")).to_be_hidden()
    await expect(turn.locator(".text")).to_have_text("")
    for _ in range(10):
        thinker.steps.release()
    response = await page.response(sent["id"])
    assert response["thinking"] == "".join(THOUGHTS)
    assert response["text"] == "I see a cup."
    await expect(line).to_have_text(say("chat.thoughts"))
    await expect(turn.locator(".text")).to_have_text("I see a cup.")
    await expect(turn.locator(".thoughts p")).to_be_hidden()
    folded = await bounds(turn)
    await line.click()
    await expect(turn.locator(".thoughts p")).to_have_text("".join(THOUGHTS))
    opened = await bounds(turn)
    assert opened["height"] > folded["height"]
    assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth")
    # The next question's history has the answer alone.
    thinker.steps = None
    await page.ask("And now?")
    assert "round" not in str(thinker.last.texts)


async def test_a_model_that_does_not_think_has_no_such_line(page: Visitor) -> None:
    """Nothing is there to be opened."""
    response = await page.ask("What is this?")
    assert "thinking" not in response
    await expect(page.turns.last.locator(".thoughts")).to_be_hidden()
