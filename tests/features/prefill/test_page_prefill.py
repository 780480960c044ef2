"""An unchanged picture on the real page."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visit, started
from tests.support.clients import metric
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import with_model
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_an_unchanged_picture_says_what_was_not_computed_again(visit: Visit) -> None:
    """The page and the metrics name the same number: that of the model server's cache."""
    model = FakeOpenAI()
    model.card = {"owned_by": "vllm"}
    async with model, with_model(model) as run:
        page = await started(visit, run.base_url)
        await page.show(mode="text:TEA", clock=False)
        await page.settle(6)
        # Its picture may have gone ahead while it was typed.
        await page.ask("What is this?")
        # The scene is known a moment later.
        await page.settle(20)
        second = await page.ask("Which colour is it?")
        assert second["frame"]["unchanged_since"] <= second["frame"]["captured_at"]
        assert model.requests[-1].jpeg == model.requests[-2].jpeg
        turn = page.turns.last
        about = turn.locator(".about")
        await expect(about).to_contain_text("unchanged since")
        await expect(about).to_contain_text(
            f"{say('answer.not_computed')}{say('answer.visual_tokens', count=64)}"
        )
        await expect(about).to_contain_text("(64 from the cache)")
        # Of the first question, too, when its picture went ahead
        assert metric(run, "visual_tokens_saved_total") in (64, 128)
        await page.leave()
