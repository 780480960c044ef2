"""Nothing lies on anything else, and nothing sticks out: in four languages, in windows from a watch's
to a desktop's, with letters of the usual and of twice the size; and axe finds no fault there.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser import test_page_programs
from tests.browser.test_page_axe import _SMALL, AXE, Checked
from tests.browser.test_page_languages import live, spoken
from tests.browser.test_page_look import _WIDE, LONG
from tests.browser.test_page_small import _SPILLED
from tests.browser.visitor import Visit, Visitor
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.parts import at_night
from tests.support.running import Running

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# In the log only while it is as high as a button: with long words and large letters less of it is
# left in the lowest windows.
_HIT = _SMALL.replace(
    'one.closest(".visually-hidden")',
    'one.closest(".visually-hidden") || one.closest("#log")?.clientHeight < 44',
).replace(
    # The way to the newest answer goes with the scrolling that brings what it covers.
    "const mine = (at) => at && (",
    "const mine = (at) => at && (at.closest('#newest') || ",
)
assert "#newest" in _HIT
# The rows of ready questions and of cameras scroll sideways where they have no room.
_OUT = _WIDE.replace(".visually-hidden, svg", ".visually-hidden, svg, #quick > *, .strip > *")
assert "#quick" in _OUT

SIZES = [(320, 256), (320, 568), (390, 844), (844, 390), (820, 1180), (1280, 800)]
LETTERS = ("100", "200")
# Looks at a window in which something is wrong, 0.3 s apart
TRIES = 4
LANGUAGES = ("en", "ar", *at_night("de", "ja"))

# A picture that came from the server
BLOB = re.compile("^blob:")

# The size of the letters, and two pictures drawn with it
_LETTERS = """async (size) => {
  document.documentElement.dataset.size = size;
  for (let drawn = 0; drawn < 2; drawn++) await new Promise(requestAnimationFrame);
}"""


async def opened(visit: Visit, server: Running, code: str) -> Visitor:
    page = await (visit(server.base_url) if code == "en" else spoken(visit, server, code))
    page.box = page.page.locator("#question")
    return page


async def crowded(page: Visitor, state: str) -> list[str]:
    """Return controls that cannot be hit, spill or stick out, by size of window and letters."""
    wrong: list[str] = []
    for width, height in SIZES:
        await page.resize(width, height)
        for letters in LETTERS:
            await page.page.evaluate(_LETTERS, letters)
            # The layout of a new size may come some pictures later.
            for _ in range(TRIES):
                found: dict[str, Any] = {
                    "covered": await page.page.evaluate(_HIT),
                    "spilled": await page.page.evaluate(_SPILLED),
                    "out": (await page.page.evaluate(_OUT))["out"],
                }
                if not any(found.values()):
                    break
                await page.page.wait_for_timeout(300)
            where = f"{state}, {width}x{height}, {letters} %"
            wrong += [f"{where}: {kind}: {one}" for kind, all in found.items() for one in all]
    return wrong


async def in_an_answers_dialogs(page: Visitor, look: Callable[[str], Awaitable[None]]) -> None:
    """Look at what the model saw, beside another answer's picture, at saving, and at a link."""
    found = page.page
    await found.locator("#quick-what").click()
    await expect(page.turns).to_have_count(2)
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await page.turns.last.locator(".shot").click()
    dialog = found.locator("#seen-dialog")
    await expect(dialog.locator("img")).to_have_attribute("src", BLOB)
    await look("what the model saw")
    await dialog.locator("select").select_option(index=1)
    await expect(dialog.locator("img").nth(1)).to_have_attribute("src", BLOB)
    await look("two pictures")
    await found.keyboard.press("Escape")
    await found.locator("#keep").evaluate("button => button.click()")
    await expect(found.locator("#keep-dialog")).to_be_visible()
    await look("saving")
    await found.keyboard.press("Escape")
    await page.turns.last.locator(".text button").first.click()
    await expect(found.locator("#link-dialog")).to_be_visible()
    await look("link")
    await found.keyboard.press("Escape")


async def in_each_state(
    page: Visitor, model: FakeOpenAI, look: Callable[[str], Awaitable[None]]
) -> None:
    """Look at a page as it was opened, with a camera, answers, an answer on its way, and dialogs."""
    await look("start")
    await live(page)
    model.answer_for = lambda _body, _jpeg: [LONG]
    await page.page.locator("#quick-what").click()
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await look("answered")
    await in_an_answers_dialogs(page, look)
    model.behaviour = Behaviour.STALLS
    await page.send("And this?")
    await expect(page.turns.last).to_have_attribute("data-state", "answering")
    # Words that are typed meanwhile can be sent: two buttons stand beside them.
    await page.box.fill("And that?")
    await look("answering")
    await page.box.fill("")
    await page.page.locator("#cancel").click()
    model.behaviour = Behaviour.DIES
    await page.end((await page.send("And now?"))["id"])
    await look("error")
    model.behaviour = Behaviour.NORMAL
    await page.page.locator("#state").click()
    await expect(page.page.locator("#fact-engine")).not_to_be_empty()
    await look("state")
    await page.page.keyboard.press("Escape")
    await page.press("#settings-open")
    await expect(page.page.locator("#settings")).to_be_visible()
    await look("settings")
    await page.page.keyboard.press("Escape")
    await test_page_programs.in_each_state(page, look)


@pytest.mark.slow
@pytest.mark.parametrize("code", LANGUAGES)
async def test_nothing_lies_on_anything_else(
    visit: Visit, server: Running, model: FakeOpenAI, code: str
) -> None:
    """Each control can be hit, its words fit, and nothing is beside the window."""
    page = await opened(visit, server, code)
    wrong: list[str] = []

    async def look(state: str) -> None:
        wrong.extend(await crowded(page, state))
        await page.resize(390, 844)
        await page.page.evaluate(_LETTERS, "100")

    await in_each_state(page, model, look)
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed")
@pytest.mark.parametrize("code", LANGUAGES[1:])
async def test_no_violation_in_other_languages(
    visit: Visit, server: Running, model: FakeOpenAI, code: str
) -> None:
    """As in English, where more states are looked at."""
    page = await opened(visit, server, code)
    checked = Checked(page)
    await in_each_state(page, model, checked.look)
    assert not checked.wrong, "\n".join(checked.wrong)
