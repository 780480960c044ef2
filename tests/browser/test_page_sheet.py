"""The sheet and the bar have their places and colours on a phone."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visit, bounds, started
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# What is cut or broken with large letters: ids of labels, and names without room
CUT = """() => {
  const cut = [...document.querySelectorAll("#state-label, #more b, #more small")]
    .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1 && one.clientWidth);
  const out = [...document.querySelectorAll("#more button")].filter((one) => one.scrollWidth > one.clientWidth + 1);
  const broken = [...document.querySelectorAll("#facts dt")]
    .filter((one) => one.checkVisibility() && one.offsetHeight > 1.6 * parseFloat(getComputedStyle(one).lineHeight));
  return [...cut, ...out, ...broken].map((one) => one.textContent.trim());
}"""


async def test_a_watch_alone_has_a_sheet_of_one_kind(visit: Visit, builtin: Running) -> None:
    """Before the first answer its suggestions and its box look as they do after it."""
    page = await started(visit, builtin.base_url)
    chip, bar = page.find("#quick-what"), page.find("#bar")
    await page.watch()
    looks = "one => [getComputedStyle(one).backgroundColor, getComputedStyle(one).boxShadow]"
    before = [await chip.evaluate(looks), await bar.evaluate(looks)]
    await page.ask("What colour is this?")
    assert before == [await chip.evaluate(looks), await bar.evaluate(looks)]


async def test_the_tiles_begin_where_the_sheet_does(visit: Visit, builtin: Running) -> None:
    """On small phones, too, where nothing of the bar touches the window's edge. With letters of
    twice the size all is whole: the state's word before "basic mode", the tiles in one column,
    labels above what they name.
    """
    page = await started(visit, builtin.base_url)
    await page.ask("What colour is this?")
    for size in ((320, 568), (390, 844)):
        await page.resize(*size)
        await page.find("#more-open").click()
        await page.rest()
        sheet, tiles = await bounds(page.find("#panel")), await bounds(page.find("#more"))
        assert tiles["y"] - sheet["y"] < 44
        await page.find("#more-open").click()
        edge = "one => one.getBoundingClientRect().top + parseFloat(getComputedStyle(one).borderTopWidth)"
        for name in ("#state", "#menu-open"):
            assert await page.find(name).evaluate(edge) >= 6

    await page.evaluate("document.documentElement.dataset.size = '200'")
    await expect(page.state).to_have_text(say("page.live"))
    await page.find("#more-open").click()
    await page.comes(CUT, [])
    await page.find("#more-open").click()
    await page.find("#state").click()
    await page.comes(CUT, [])
