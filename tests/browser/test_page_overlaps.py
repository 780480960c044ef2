"""Nothing lies on anything else, and nothing sticks out: in four languages, in windows from a watch's
to a desktop's, with letters of the usual and of twice the size; and axe finds no fault there.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.test_page_axe import _SMALL, AXE, Checked, in_each_state
from tests.browser.test_page_languages import spoken
from tests.browser.test_page_look import _WIDE
from tests.browser.test_page_small import _SPILLED
from tests.browser.visitor import Visit, Visitor
from tests.support.fakes_openai import FakeOpenAI
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

# Windows with the size of their letters: in the low ones twice the size leaves less room than the usual one.
SIZES = [
    *((320, 256, "200"), (844, 390, "200")),
    *((390, 844, "100"), (390, 844, "200"), (1280, 800, "100"), (1280, 800, "200")),
]
# Looks at a window in which something is wrong, 0.3 s apart
TRIES = 4
# English has test_page_look and test_page_small in each run.
LANGUAGES = ("ar", *at_night("en", "de", "ja"))

# The size of the letters, and two pictures drawn with it
_LETTERS = """async (size) => {
  document.documentElement.dataset.size = size;
  for (let drawn = 0; drawn < 2; drawn++) await new Promise(requestAnimationFrame);
}"""


async def opened(visit: Visit, server: Running, code: str) -> Visitor:
    return await (visit(server.base_url) if code == "en" else spoken(visit, server, code))


async def crowded(page: Visitor, state: str) -> list[str]:
    """Return controls that cannot be hit, spill or stick out, by size of window and letters."""
    wrong: list[str] = []
    for width, height, letters in SIZES:
        await page.resize(width, height)
        await page.evaluate(_LETTERS, letters)
        # The layout of a new size may come some pictures later.
        for _ in range(TRIES):
            found: dict[str, Any] = {
                "covered": await page.evaluate(_HIT),
                "spilled": await page.evaluate(_SPILLED),
                "out": (await page.evaluate(_OUT))["out"],
            }
            if not any(found.values()):
                break
            await page.page.wait_for_timeout(300)
        where = f"{state}, {width}x{height}, {letters} %"
        wrong += [f"{where}: {kind}: {one}" for kind, all in found.items() for one in all]
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("code", LANGUAGES)
async def test_nothing_lies_on_anything_else(
    visit: Visit, server: Running, model: FakeOpenAI, code: str
) -> None:
    """Each control can be hit, its words fit, and nothing is beside the window.

    And in other languages than English, in which more states are looked at, axe finds no fault.
    """
    page = await opened(visit, server, code)
    checked = Checked(page)

    async def look(state: str) -> None:
        if code != "en" and AXE.is_file():
            await checked.look(state)
        checked.wrong += await crowded(page, state)
        await page.resize(390, 844)
        await page.evaluate(_LETTERS, "100")

    await in_each_state(page, model, look)
    assert not checked.wrong, "\n".join(checked.wrong)
