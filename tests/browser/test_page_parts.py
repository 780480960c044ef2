"""The parts of the page that are fetched when somebody opens them: not with the page, in one press,
and told where they do not come.
"""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.visitor import Visit, Visitor, hurry, started
from tests.client.test_files import MOST_BYTES, MOST_FILES
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# The browser's own words, and the page's, for what could not be fetched
LOST = ("Failed to load resource", "A part of the page did not load")

# Folders of parts
LATER = ("answer", "dialogs", "doctor", "facts", "operator", "settings", "track", "voice", "watch")
# The files fetched besides the page itself, and the bytes of all, not compressed
_LOADED = """() => {
  const [page] = performance.getEntriesByType("navigation");
  const files = performance.getEntriesByType("resource");
  const size = files.reduce((sum, one) => sum + one.decodedBodySize, page.decodedBodySize);
  return [files.map((one) => one.name), size];
}"""

# All of the doctor is here.
HAS_CHECKS = """() =>
  performance.getEntriesByType("resource").some((one) => one.name.endsWith("webchecks.js") && one.responseEnd)"""


class Held:
    """Requests for modules below client/, which wait until they are let go, or break."""

    def __init__(self, modules: str) -> None:
        self.modules = modules
        self.breaks = 0
        self.asked: list[str] = []
        self.free = asyncio.Event()

    async def prepare(self, page: Page) -> None:
        await page.route(f"**/client/core/{self.modules}", self._answer)

    async def _answer(self, route: Route) -> None:
        self.asked.append(route.request.url.rpartition("/")[2])
        if self.breaks > 0:
            self.breaks -= 1
            await route.abort("connectionreset")
            return
        await self.free.wait()
        await route.continue_()


async def fetched(page: Visitor, *folders: str) -> set[str]:
    """The modules below these folders that the page has asked for."""
    names = await page.evaluate(
        "() => performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)"
    )
    return {name for name in names if name.startswith(tuple(f"/client/core/{f}/" for f in folders))}


async def test_a_first_load_fetches_no_part(visit: Visit, builtin: Running) -> None:
    """Neither doctor nor operator, and everything else once; each part comes when it is opened."""
    page = await visit(builtin.base_url)
    await page.page.wait_for_load_state("networkidle")
    assert await fetched(page, *LATER) == set()
    names, size = await page.evaluate(_LOADED)
    assert len(names) == len(set(names))
    assert len(names) + 1 <= MOST_FILES
    assert size <= MOST_BYTES
    await page.press(say("page.check_connection"))
    await expect(page.find("#doctor-list li").first).to_be_visible()
    assert "/client/core/doctor/panel.js" in await fetched(page, "doctor")
    assert await fetched(page, "operator") == set()
    await page.button(say("doctor.close")).click()
    await page.evaluate("location.hash = 'operator'")
    await expect(page.find("#operator-dialog")).to_be_visible()
    assert "/client/core/operator/panel.js" in await fetched(page, "operator")


async def test_the_operator_page_opens_its_panel_by_itself(visit: Visit, builtin: Running) -> None:
    """It is fetched at once, without the doctor."""
    page = await visit(f"{builtin.base_url}/#operator")
    await expect(page.find("#operator-dialog")).to_be_visible()
    assert await fetched(page, "doctor") == set()


async def test_the_doctor_is_here_once_the_camera_is_live(visit: Visit, builtin: Running) -> None:
    """It has to work without the server; the operator's panel has not."""
    page = await started(
        visit, builtin.base_url, prepare=lambda page: hurry(page, "client.js", DOCTOR_AHEAD=50)
    )
    await page.page.wait_for_function(HAS_CHECKS)
    assert await fetched(page, "operator") == set()


async def test_a_slow_link_shows_what_was_pressed(visit: Visit, builtin: Running) -> None:
    """The button is busy until the part is there; a second press does nothing more."""
    held = Held("doctor/*")
    page = await visit(builtin.base_url, prepare=held.prepare)
    button = page.find("#menu-open")
    await page.press(say("page.check_connection"))
    await expect(button).to_have_attribute("aria-busy", "true")
    assert await button.evaluate("(one) => getComputedStyle(one).cursor") == "progress"
    await page.press(say("page.check_connection"))
    held.free.set()
    await expect(page.find("#doctor")).to_be_visible()
    await expect(button).not_to_have_attribute("aria-busy", "true")
    assert held.asked.count("doctor.js") == 1


@pytest.mark.parametrize(
    ("part", "called", "module"),
    [
        ("doctor", "page.missing_doctor", "webchecks.js"),
        ("doctor", "page.missing_doctor", "doctor.css"),
        ("operator", "page.missing_operator", "panel.js"),
    ],
)
async def test_a_part_that_does_not_come_is_told(
    visit: Visit, builtin: Running, part: str, called: str, module: str
) -> None:
    """In a sentence, as often as it fails; "Try again" gets it without a new page, which would lose
    the chat.
    """
    held = Held(f"{part}/{module}")
    held.breaks = 2
    held.free.set()
    page = await visit(builtin.base_url, prepare=held.prepare)
    page.expect(*LOST)
    await page.evaluate("window.same = true")
    if part == "operator":
        await page.evaluate("location.hash = 'operator'")
    else:
        await page.press(say("page.check_connection"))
    missing = page.find("#missing-dialog")
    for _ in range(2):
        await expect(missing).to_be_visible()
        await expect(missing).to_contain_text(say(called))
        await missing.get_by_role("button", name=say("page.try_again")).click()
    opened = {"doctor": "#doctor", "operator": "#operator-dialog"}[part]
    await expect(page.find(opened)).to_be_visible()
    await expect(missing).to_be_hidden()
    # boot.js would reload after half a second.
    await page.page.wait_for_timeout(800)
    assert await page.evaluate("window.same") is True
    await expect(page.find("[aria-busy]")).to_have_count(0)


async def test_a_part_that_never_ends_to_come_is_told(visit: Visit, builtin: Running) -> None:
    """After a while; what comes after that opens with the next press, and not by itself."""
    held = Held("doctor/webchecks.js")

    async def prepare(page: Page) -> None:
        await held.prepare(page)
        await hurry(page, "part.js", PATIENCE=1500)

    page = await visit(builtin.base_url, prepare=prepare)
    page.expect(*LOST)
    button = page.find("#menu-open")
    await page.press(say("page.check_connection"))
    missing = page.find("#missing-dialog")
    await expect(missing).to_be_visible()
    await missing.get_by_role("button", name=say("page.not_now")).click()
    await expect(button).not_to_have_attribute("aria-busy", "true")
    held.free.set()
    await page.page.wait_for_function(HAS_CHECKS)
    await expect(page.find("#doctor")).to_be_hidden()
    await page.press(say("page.check_connection"))
    await expect(page.find("#doctor")).to_be_visible()
