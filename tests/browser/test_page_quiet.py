"""The page leaves the picture alone: few controls, and nothing over its middle."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visit, Visitor
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SIZES = [(320, 568), (390, 844), (768, 1024), (844, 390), (1280, 800), (1920, 1080)]
# Of an answer: its picture, and what lies behind its points; the sheet's handle comes with it.
OF_AN_ANSWER = 3

CONTROLS = """() => [...document.querySelectorAll("button, summary, input, textarea, a[href], select")]
  .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.closest(".visually-hidden"))
  .map((one) => one.id || one.className || one.textContent.trim())"""

# What lies over the middle two thirds of the picture, as far as it can be seen
OVER = """() => {
  const shown = (id) => document.getElementById(id).getBoundingClientRect();
  const stage = shown("stage");
  const panel = document.getElementById("panel");
  const sheet = getComputedStyle(panel).backgroundColor !== "rgba(0, 0, 0, 0)" ? panel.getBoundingClientRect() : null;
  const bottom = sheet && sheet.left < stage.right ? Math.min(stage.bottom, sheet.top) : stage.bottom;
  const found = new Set();
  const steps = 24;
  for (let i = 0; i <= steps; i++)
    for (let j = 0; j <= steps; j++) {
      const x = stage.left + stage.width * (1 / 6 + (2 / 3) * (i / steps));
      const y = stage.top + (bottom - stage.top) * (1 / 6 + (2 / 3) * (j / steps));
      for (const one of document.elementsFromPoint(x, y)) {
        if (["video", "still", "far", "stage"].includes(one.id)) break;
        found.add(one.id || one.className || one.tagName);
      }
    }
  return [...found];
}"""


async def controls(page: Visitor) -> list[str]:
    found: list[str] = await page.page.evaluate(CONTROLS)
    return found


async def over(page: Visitor) -> Any:
    return await page.page.evaluate(OVER)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_few_controls_and_a_free_middle(
    visit: Visit, server: Running, model: FakeOpenAI, size: tuple[int, int]
) -> None:
    """While it is live, with one answer, and while a watch is ordered."""
    page = await visit(server.base_url, viewport=size)
    await page.start()
    assert len(await controls(page)) <= 8, await controls(page)
    assert await over(page) == []
    await page.ask("What is this?")
    assert len(await controls(page)) <= 8 + OF_AN_ANSWER, await controls(page)
    assert await over(page) == []
    await page.press(say("watch.tell_me"))
    await expect(page.button(say("watch.person_comes"))).to_be_visible()
    assert await over(page) == []


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_what_is_wrong_stands_beside_the_picture(
    visit: Visit, builtin: Running, size: tuple[int, int]
) -> None:
    """A message, and a hint of the guide."""
    page = await visit(builtin.base_url, viewport=size)
    await page.start()
    await page.show(mode="black")
    await expect(page.notice).to_be_visible()
    assert await over(page) == []
    await page.show(mode="text:WAY OUT", textPx=80)
    await expect(page.notice).to_be_hidden()
    await page.press(say("guide.name"))
    await expect(page.page.locator("#aim")).to_be_visible()
    assert await over(page) == []


async def test_a_long_press_holds_the_picture(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    page = await visit(server.base_url, viewport=(390, 844))
    await page.start()
    mouse = page.page.mouse
    await mouse.move(195, 300)
    await mouse.down()
    await expect(page.state).to_have_text(say("page.picture_held"))
    await mouse.up()
    await mouse.move(195, 300)
    await mouse.down()
    await expect(page.state).to_have_text(say("page.live"))
    await mouse.up()


async def test_a_finger_that_moves_holds_nothing(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    page = await visit(server.base_url, viewport=(390, 844))
    await page.start()
    mouse = page.page.mouse
    await mouse.move(195, 300)
    await mouse.down()
    await mouse.move(230, 300)
    await page.page.wait_for_timeout(700)
    await expect(page.state).to_have_text(say("page.live"))
    await mouse.up()


async def test_what_is_on_shows_in_the_bar(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """As one mark, whose cross ends it."""
    page = await visit(server.base_url, viewport=(390, 844))
    await page.start()
    mark = page.page.locator("#end-mode")
    await expect(mark).to_be_hidden()
    await page.press(say("chat.describe"))
    await expect(mark).to_have_attribute(
        "aria-label", say("page.end_mode", mode=say("chat.describe"))
    )
    await mark.click()
    await expect(mark).to_be_hidden()
    await expect(page.page.locator("#describe")).to_have_attribute("aria-pressed", "false")


async def test_simple_mode_says_what_it_can_do_and_how_to_get_more(
    visit: Visit, builtin: Running
) -> None:
    page = await visit(builtin.base_url, viewport=(390, 844))
    await page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.start()
    await expect(page.page.locator("#simple-label")).to_be_visible()
    await page.page.locator("#state").click()
    await page.button(say("stage.simple_more")).click()
    dialog = page.page.locator("#simple-dialog")
    await expect(dialog.locator("li")).to_have_count(3)
    await dialog.get_by_role("button", name=say("page.copy")).first.click()
    copied = await page.page.evaluate("navigator.clipboard.readText()")
    assert copied == "bash scripts/run.sh --model small"
    await dialog.get_by_role("button", name=say("page.done")).click()
    await expect(dialog).to_be_hidden()


async def test_the_same_answer_is_announced_again(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """A live region that keeps its words says nothing."""
    page = await visit(server.base_url)
    await page.start()
    await page.ask("What is this?")
    region = page.page.locator("#announcer")
    await expect(region).to_have_text("I see a cup.")
    before = await region.evaluate("one => one.textContent")
    await page.ask("What is this?")
    await expect(page.turns).to_have_count(2)
    await page.comes(
        "before => document.querySelector('#announcer').textContent !== before", True, before
    )


async def test_a_closed_dialog_gives_the_focus_back_to_the_menu(
    visit: Visit, builtin: Running
) -> None:
    """Also the second time, when its part is here already."""
    page = await visit(builtin.base_url)
    menu = page.button(say("page.menu"))
    for _ in range(2):
        await page.press(say("settings.menu"))
        await expect(page.page.locator("#settings")).to_be_visible()
        await page.page.keyboard.press("Escape")
        await expect(menu).to_be_focused()
