"""The operator has the loaded model make a video on the page: asked for, watched, cancelled, shown from the page's own memory."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from server.catalogue.command import Choice
from server.catalogue.entry import RunMode
from tests.browser.test_page_operator import TOKEN, let_in
from tests.browser.visitor import Visit
from tests.running import Running, running
from tests.test_generation_loaded import load, plan

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Width of the video as the browser decodes it; 0 where it has no H.264.
WIDTH = """video => new Promise(resolve => {
  if (!video.canPlayType('video/mp4; codecs="avc1.64000a"')) return resolve(-1);
  const look = () => video.readyState >= 2 ? resolve(video.videoWidth) : setTimeout(look, 50);
  look();
})"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run() -> AsyncIterator[Running]:
    """What an operator starts is the worker without a model, in the manner that the model is named by."""
    async with running(operator_token=TOKEN, rate_limit_per_minute=0) as one:
        manager = one.program.engine_room.manager
        manager._tools = dataclasses.replace(manager._tools, planner=plan, loader=load)
        yield one


async def start(run: Running, manner: str) -> None:
    await run.program.engine_room.manager.start(
        Choice(model=f"tests/{manner}", mode=RunMode.IN_PROCESS)
    )
    await run.program.engine_room.manager.settled()


async def test_a_video_is_made_on_the_page(visit: Visit, run: Running) -> None:
    """From a sentence and what the camera shows; the server has it no more, and the page shows it. Another is cancelled."""
    page = await visit(run.base_url)
    await page.start()
    await let_in(page)
    section = page.page.locator("#making")
    await expect(section).to_be_hidden()
    await start(run, "first")
    await expect(section.get_by_role("heading", name="Make a video")).to_be_visible()
    # This model needs a picture to begin with.
    camera = section.get_by_label("Begin with what the camera shows now")
    await expect(camera).to_be_checked()
    await expect(camera).to_be_disabled()
    await expect(section.get_by_label("What it must not be")).to_be_hidden()
    await section.get_by_label("What it is to be").fill("a red ball rolls")
    await section.get_by_text("Size, length, steps").click()
    for name, value in (("Width", "64"), ("Height", "32"), ("Seconds", "0.5"), ("Seed", "7")):
        await section.get_by_label(name, exact=True).fill(value)
    make = section.get_by_role("button", name="Make it")
    await make.click()
    state = section.get_by_role("status")
    await expect(state).to_contain_text("64×32, 0.562 s, seed 7")
    video = section.locator("video")
    await expect(video).to_be_visible()
    assert (await video.get_attribute("src") or "").startswith("blob:")
    assert await video.evaluate(WIDTH) in (64, -1)
    save = section.get_by_role("link", name="Save")
    assert await save.get_attribute("download") == "video-7.mp4"
    assert run.program.engine_room.making._made is None
    # The server's own sentence
    await section.get_by_label("Seed").fill("")
    await section.get_by_label("Seconds").fill("60")
    await section.get_by_label("Frames a second").fill("60")
    await make.click()
    await expect(section.get_by_role("alert")).to_contain_text("3600 frames; allowed are 1 to 257")
    page.expect(r"status of 400")

    await start(run, "endless")
    await expect(section.get_by_label("What it must not be")).to_be_visible()
    await section.get_by_label("Seconds").fill("1")
    await make.click()
    await expect(state).to_contain_text("At work")
    await section.get_by_role("button", name="Cancel").click()
    await expect(state).to_have_text("Cancelled")
    await expect(make).to_be_enabled()
    assert not run.program.engine_room.making.progress.error
