"""The operator has the loaded model make a video on the page: asked for, watched, cancelled, shown
from the page's own memory.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from server.features.generation.job import GenerationJob
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.entry import RunMode
from server.features.hosting.hosting import Hosting
from tests.browser.test_page_operator import let_in
from tests.browser.visitor import TOKEN, Visit, operator, started
from tests.features.generation.test_generator import missing
from tests.features.generation.test_runtime import load, plan
from tests.real_model.server import PYTHON
from tests.support.clients import soon
from tests.support.running import Running, running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Width of the video as the browser decodes it; 0 where it has no H.264.
WIDTH = """video => new Promise(resolve => {
  if (!video.canPlayType('video/mp4; codecs="avc1.64000a"')) return resolve(-1);
  const look = () => video.readyState >= 2 ? resolve(video.videoWidth) : setTimeout(look, 50);
  look();
})"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run() -> AsyncIterator[Running]:
    """Let operators start the worker without a model, whose behaviour the model's name selects."""
    async with running(operator_token=TOKEN, rate_limit_per_minute=0) as one:
        manager = one.program.added.provided[Hosting].manager
        manager.context = dataclasses.replace(manager.context, planner=plan, loader=load)
        yield one


async def start(run: Running, manner: str) -> None:
    await run.program.added.provided[Hosting].manager.start(
        Choice(model=f"tests/{manner}", mode=RunMode.IN_PROCESS)
    )
    await run.program.added.provided[Hosting].manager.wait_settled()


async def test_a_video_is_made_on_the_page(visit: Visit, run: Running) -> None:
    """From a sentence and what the camera shows; the server has it no more, and the page shows it,
    whatever is refused next.
    """
    page = await started(visit, run.base_url)
    await let_in(page)
    section = page.find("#making")
    await expect(section).to_be_hidden()
    await start(run, "first")
    await expect(section.get_by_role("heading", name="Make a video")).to_be_visible()
    # This model needs a picture to begin with.
    camera = section.get_by_label("Begin with what the camera shows now")
    await expect(camera).to_be_checked()
    await expect(camera).to_be_disabled()
    await expect(section.get_by_label("Leave out")).to_be_hidden()
    await section.get_by_label("Prompt").fill("a red ball rolls")
    await section.get_by_text("Size, length, steps").click()
    for name, value in (("Width", "64"), ("Height", "32"), ("Seconds", "0.5"), ("Seed", "7")):
        await section.get_by_label(name, exact=True).fill(value)
    make = section.get_by_role("button", name="Make it")
    await make.click()
    state = section.get_by_role("status")
    await expect(state).to_contain_text("Made in")
    about = section.locator("#making-about")
    await expect(about).to_contain_text("64×32, 0.56 s, seed 7. Only this page has it")
    video = section.locator("video")
    await expect(video).to_be_visible()
    assert (await video.get_attribute("src") or "").startswith("blob:")
    assert await video.evaluate(WIDTH) in (64, -1)
    save = section.get_by_role("link", name=say("answer.save"))
    assert await save.get_attribute("download") == "video-7.mp4"
    await soon(lambda: run.program.added.provided[GenerationJob]._result is None)
    # The server's own sentence; and what was made is there still.
    count = section.locator("#making-count")
    await expect(count).to_have_text(
        "0.5 s of 16 frames a second: 9 frames, the nearest count that this model makes."
    )
    await section.get_by_label("Seed").fill("")
    await section.get_by_label("Seconds").fill("60")
    await section.get_by_label("Frames a second").fill("60")
    await expect(count).to_contain_text("more than 257 frames")
    await make.click()
    await expect(section.get_by_role("alert")).to_contain_text("3600 frames; allowed are 1 to 257")
    page.expect(r"status of 400")
    await expect(video).to_be_visible()
    assert await video.evaluate(WIDTH) in (64, -1)
    # The error of a hidden field is shown all the same.
    await section.get_by_label("Width").fill("100")
    await section.get_by_text("Size, length, steps").click()
    await expect(section.get_by_label("Width")).to_be_hidden()
    await make.click()
    await expect(section.get_by_label("Width")).to_be_visible()
    assert await section.get_by_label("Width").evaluate("field => field.matches(':invalid')")


async def test_a_page_that_is_loaded_anew_has_the_work_that_goes_on(
    visit: Visit, run: Running
) -> None:
    """It is watched and cancelled there; a result that went to another page is shown as gone."""
    page = await operator(visit, run.base_url)
    await start(run, "endless")
    section = page.find("#making")
    state = section.get_by_role("status")
    make = section.get_by_role("button", name="Make it")
    await expect(section.get_by_label("Leave out")).to_be_visible()
    await section.get_by_label("Prompt").fill("a red ball rolls")
    await make.click()
    await expect(state).to_contain_text("At work")
    await page.page.reload()
    # The operator's address opens the panel again.
    await page.operate()
    await expect(state).to_contain_text("At work")
    await expect(make).to_be_hidden()
    await section.get_by_role("button", name="Cancel").click()
    await expect(state).to_have_text("Cancelled")
    await expect(make).to_be_enabled()
    making = run.program.added.provided[GenerationJob]
    assert not making.progress.error

    await start(run, "video")
    await section.get_by_label("Prompt").fill("a red ball rolls")
    await section.get_by_text("Size, length, steps").click()
    for name in ("Width", "Height"):
        await section.get_by_label(name, exact=True).fill("32")
    await make.click()
    await expect(state).to_contain_text("Made in")
    await soon(lambda: making._result is None)
    await page.page.reload()
    await page.operate()
    await expect(state).to_contain_text("went to another page")
    await expect(section.locator("video")).to_be_hidden()


async def test_what_breaks_off_is_asked_for_again_or_said(visit: Visit, run: Running) -> None:
    """A result comes with the next look; the end of a model in the middle is shown at once,
    also where no other comes.
    """
    page = await operator(visit, run.base_url)
    await start(run, "video")
    broken: list[str] = []

    async def breaks(route: Route) -> None:
        if broken:
            await route.continue_()
            return
        broken.append(route.request.url)
        await route.abort("connectionreset")

    await page.page.route("**/api/engine/video/result*", breaks)
    page.expect(r"net::ERR_CONNECTION_RESET")
    section = page.find("#making")
    await section.get_by_label("Prompt").fill("a red ball rolls")
    await section.get_by_text("Size, length, steps").click()
    for name in ("Width", "Height"):
        await section.get_by_label(name, exact=True).fill("32")
    await section.get_by_role("button", name="Make it").click()
    await expect(section.locator("video")).to_be_visible()
    await expect(section.get_by_role("alert")).to_be_hidden()
    assert broken

    await start(run, "endless")
    await section.get_by_role("button", name="Make it").click()
    await expect(section.get_by_role("status")).to_contain_text("At work")
    await run.program.added.provided[Hosting].manager.stop()
    await expect(section.get_by_role("alert")).to_contain_text(
        "was unloaded before the job was done"
    )
    await expect(section.get_by_role("progressbar")).to_be_hidden()
    await expect(section.get_by_label("Prompt")).to_be_hidden()


async def test_the_options_of_loading_are_in_the_command(visit: Visit, tmp_path: Path) -> None:
    """The ticked options are those of the command; the flow shift is 5, another number, or the
    model's own.
    """
    if lacking := missing():
        assert "REAL_MODEL_REQUIRED" not in os.environ, lacking
        pytest.skip(lacking)
    folder = tmp_path / "tiny-video"
    (folder / "vae").mkdir(parents=True)
    index = {"_class_name": "WanPipeline", "vae": ["diffusers", "AutoencoderKLWan"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    settings = {"model_path": folder, "engine_python": PYTHON}
    async with running(operator_token=TOKEN, rate_limit_per_minute=0, **settings) as own:
        page = await operator(visit, own.base_url)
        panel = page.find("#operator-panel")
        await panel.locator("#engine-models").get_by_text("tiny-video", exact=True).click()
        await expect(panel.locator("#engine-modes :checked")).to_have_value("in_process")
        command = panel.locator("#engine-command")
        end = re.escape(f"--model {folder} --dtype auto")
        await expect(command).to_have_text(re.compile(f"{end} --flow-shift 5$"))
        await panel.locator("#engine-fields summary").click()
        await panel.get_by_label("Flow shift", exact=True).fill("3.5")
        for name in ("VAE tiling", "Offload to main memory", "Compile first"):
            await panel.get_by_label(name).check()
        flags = "--vae-tiling --cpu-offload --compile"
        await expect(command).to_have_text(re.compile(f"{end} --flow-shift 3.5 {flags}$"))
        await panel.get_by_label("The model's own flow shift").check()
        await expect(panel.get_by_label("Flow shift", exact=True)).to_be_disabled()
        await expect(command).to_have_text(re.compile(f"{end} {flags}$"))
        await page.leave()
