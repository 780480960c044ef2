"""The picture keeps one scale in every state, and moves up by a part of its height only."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visit, Visitor
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SIZES = ((390, 844), (320, 568), (844, 390), (1280, 800))
MOST_UP = 0.17
# CSS pixels for a pixel of the picture, and the part of the stage's height by which the picture has moved up
PLACE = """() => {
  const video = document.getElementById("video");
  const [shown, stage] = [video, document.getElementById("stage")].map((one) => one.getBoundingClientRect());
  const scales = [shown.width / video.videoWidth, shown.height / video.videoHeight];
  const whole = getComputedStyle(video).objectFit === "contain";
  const still = document.getAnimations().every(({ playState }) => playState !== "running");
  const scale = whole ? Math.min(...scales) : Math.max(...scales);
  return [still, Number(scale.toFixed(3)), (stage.top - shown.top) / stage.height];
}"""


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_one_scale_in_every_state(
    visit: Visit, builtin: Running, size: tuple[int, int]
) -> None:
    page: Visitor = await visit(
        builtin.base_url, viewport=size, width=480, height=640, clock=False, fps=10
    )
    await page.start()
    found: dict[str, float] = {}

    async def measure(state: str) -> None:
        await page.comes(f"({PLACE})()[0]", True)
        _, found[state], up = await page.evaluate(PLACE)
        assert -0.001 <= up <= MOST_UP + 0.001, (state, up)

    await measure("live")
    await page.ask("What colour is this?")
    await measure("answered")
    await page.points()
    await measure("points open")
    await page.turns.last.locator(".evidence > summary").click()
    await page.find("#more-open").click()
    await measure("more open")
    await page.find("#more-open").click()
    await page.watch()
    await measure("watch")
    await page.press(say("guide.name"))
    await expect(page.find("#aim")).to_be_visible()
    await measure("guide")
    await page.press(say("guide.name"))
    await page.show(mode="black")
    await expect(page.notice).to_be_visible()
    await measure("notice")
    await page.box.click()
    await page.page.set_viewport_size({"width": size[0], "height": size[1] - 130})
    await measure("keyboard")
    assert set(found.values()) == {found["live"]}, found
