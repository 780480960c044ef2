"""The page where there is little room: small windows, 400 % zoom, large letters.

All that can be pressed is in sight.
"""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.test_page_look import _WIDE
from tests.browser.visitor import Visit, Visitor, bounds, started
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SIZES = [(390, 844), (320, 568), (1280, 800)]

# Names of the buttons of which something is covered by something else, or out of the window.
_COVERED = """(selector) => [...document.querySelectorAll(selector)].filter((button) => {
  if (!button.checkVisibility()) return false;
  const box = button.getBoundingClientRect();
  const inset = 3;
  const points = [[box.left + box.width / 2, box.top + inset], [box.left + box.width / 2, box.bottom - inset],
    [box.left + box.height / 2, box.top + box.height / 2], [box.right - box.height / 2, box.top + box.height / 2]];
  return points.some(([x, y]) => !button.contains(document.elementFromPoint(x, y)));
}).map((button) => button.textContent.trim())"""

# Visible buttons whose words need more room than they have.
_SPILLED = """() => [...document.querySelectorAll("#app button")].filter((button) => button.checkVisibility()
  && button.textContent.trim() && button.scrollWidth > button.clientWidth + 1)
  .map((button) => button.textContent.trim() || button.getAttribute("aria-label"))"""

# Width that the placeholder needs, less that of its box
_PLACEHOLDER = """() => {
  const box = document.querySelector("#question");
  const style = getComputedStyle(box);
  const context = document.createElement("canvas").getContext("2d");
  context.font = `${style.fontSize} ${style.fontFamily}`;
  const needs = context.measureText(box.placeholder).width;
  return needs - (box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight));
}"""


async def refused(page: Visitor) -> None:
    """The camera is stopped, and refused when it is to be started again."""
    if await page.find("#video").is_visible():
        await page.press(say("chat.camera_off"))
    # A socket that was just begun ends with the refusal.
    page.expect("WebSocket is closed before")
    await page.evaluate("window.__camera.refuse = 'NotAllowedError'")
    await page.start_button.click()
    await expect(page.card).to_contain_text(say("page.camera_denied"))


async def refused_in_sight(page: Visitor) -> None:
    """Refuse the camera: Start Camera, the other camera and the check are neither covered by the
    chat nor below the edge.
    """
    await refused(page)
    for size in SIZES:
        await page.resize(*size)
        for name in (say("page.start"), say("stage.use_another"), say("page.check_connection")):
            await expect(page.card.get_by_role("button", name=name)).to_be_in_viewport(ratio=0.99)
        await page.comes(_COVERED, [], "#card button")
        await page.comes(f"({_WIDE})().out", [])


async def test_a_new_page_has_its_words_and_buttons_in_sight(visit: Visit, server: Running) -> None:
    """The placeholder of the text box is not cut on any screen, and no button of a refusal."""
    page = await visit(server.base_url)
    for width in (320, 390, 1280):
        await page.resize(width, 640)
        await page.comes(f"({_PLACEHOLDER})() <= 0", True)
    await refused_in_sight(page)


async def test_picture_and_sheet_share_an_upright_page(visit: Visit, builtin: Running) -> None:
    """A picture is cropped only where it would be a strip between bars, and shown whole with a
    press; beside the chat it is whole. The sheet goes along with the finger; let go above it covers
    most of the picture, below it gives it back. A tap does the same.
    """
    page = await started(visit, builtin.base_url)
    whole = page.find("#whole")
    video = page.find("#video")
    await expect(whole).to_have_attribute("aria-pressed", "false")
    await expect(video).to_have_css("object-fit", "cover")
    await page.press("#whole")
    await expect(whole).to_have_attribute("aria-pressed", "true")
    await expect(video).to_have_css("object-fit", "contain")
    await page.resize(1280, 800)
    await expect(whole).to_be_hidden()
    await page.resize(390, 844)
    await page.press("#whole")
    await expect(video).to_have_css("object-fit", "cover")

    await page.ask("What colour is this?")
    handle, mouse = page.find("#sheet-handle"), page.page.mouse
    height = "Math.round(document.querySelector('#panel').getBoundingClientRect().height)"
    await page.rest()
    low = await page.evaluate(height)

    async def drag(by: int) -> None:
        await page.rest()
        before = await page.evaluate(height)
        box = await bounds(handle)
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        await mouse.move(x, y)
        await mouse.down()
        await mouse.move(x, y + by, steps=4)
        await page.comes(height, before - by)
        await mouse.up()

    await drag(-60)
    await expect(handle).to_have_attribute("aria-expanded", "true")
    await page.comes(f"{height} > {low + 100}", True)
    await drag(60)
    await expect(handle).to_have_attribute("aria-expanded", "false")
    await page.comes(height, low)
    await handle.click()
    await expect(handle).to_have_attribute("aria-expanded", "true")
    await expect(handle).to_have_attribute("aria-label", say("page.chat_less"))
