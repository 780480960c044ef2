"""The fixed cameras in the operator's panel: state, picture, a question, trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.visitor import TOKEN, Visit
from tests.features.rtsp.scripted import jpeg_camera, red_jpeg
from tests.support.running import Running, running

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    path: Path = tmp_path_factory.mktemp("house") / "cameras.toml"
    async with jpeg_camera(red_jpeg) as port:
        path.write_text(
            f'[[camera]]\nname = "yard"\nurl = "http://127.0.0.1:{port}/video"\n'
            '[[camera]]\nname = "door"\nurl = "rtsp://127.0.0.1:9/x"\nwatches = ["a parcel lies there"]\n'
        )
        async with running(
            operator_token=TOKEN, standing_cameras=str(path), rate_limit_per_minute=0
        ) as one:
            yield one


async def test_the_operator_sees_and_asks_a_camera(visit: Visit, run: Running) -> None:
    """One is live: its picture, and an answer to a question. One is not there: why, and what to do."""
    page = await visit(f"{run.base_url}/#operator")
    await expect(page.find("#cameras")).to_be_hidden()
    await page.operate()
    cameras = page.find("#cameras")
    yard = cameras.locator("li").filter(has_text="yard")
    door = cameras.locator("li").filter(has_text="door")
    await expect(yard).to_contain_text("live", timeout=30_000)
    await expect(yard).to_contain_text("JPEG 320×240")
    await expect(yard.locator("img")).to_be_hidden()
    await yard.get_by_role("button", name="Show picture").click()
    await expect(yard.get_by_role("img", name="What yard sees")).to_be_visible(timeout=30_000)
    size = await yard.locator("img").evaluate(
        "async (one) => (await one.decode(), one.naturalWidth)"
    )
    assert size == 320
    await yard.get_by_label("Ask yard").fill("What color is it?")
    await yard.get_by_role("button", name="Ask", exact=True).click()
    await expect(yard.locator(".answer")).to_contain_text("red", timeout=30_000, ignore_case=True)
    # On a phone all of it stays within its frame, with a longer word on the button, too.
    await page.resize(390, 844)
    button = yard.locator("form button")
    word = await button.inner_text()
    await button.evaluate("(one, word) => { one.textContent = word }", "Nachfragen")
    assert await cameras.evaluate("one => one.scrollWidth - one.clientWidth") <= 0
    await button.evaluate("(one, word) => { one.textContent = word }", word)
    await yard.get_by_role("button", name="Hide picture").click()
    await expect(yard.locator("img")).to_be_hidden()
    await expect(door).to_contain_text("no picture", timeout=30_000)
    await expect(door).to_contain_text("No response from its address.")
    await expect(door).to_contain_text("a parcel lies there")
    await expect(door.get_by_label("Ask door")).to_be_hidden()
    await door.get_by_role("button", name="Try now").click()
