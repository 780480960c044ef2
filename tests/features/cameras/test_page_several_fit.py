"""Several cameras: nothing lies on anything else, and axe finds no fault;
in four languages, in windows from a watch's to a desktop's, with letters of twice the size, too.
"""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.test_page_axe import AXE, Checked
from tests.browser.test_page_languages import live, spoken
from tests.browser.test_page_overlaps import _HIT, _OUT, LANGUAGES, SIZES, TRIES, crowded
from tests.browser.visitor import Visit, Visitor
from tests.features.cameras.test_page_several import LINK
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed"),
    pytest.mark.asyncio(loop_scope="session"),
]

# A name as long as one may be
NAME = "The back door behind the garden's shed 2"
assert len(NAME) == 40

# Letters of a page without settings, as the browser enlarges them
_ENLARGED = """async (size) => {
  document.documentElement.style.fontSize = `${size}%`;
  for (let drawn = 0; drawn < 2; drawn++) await new Promise(requestAnimationFrame);
}"""
_OUT_ALONE = _OUT.replace("log.scrollWidth - log.clientWidth", "0")
assert "log.scrollWidth" not in _OUT_ALONE


class Fit(Checked):
    """A page and what is wrong with it: by axe in a phone's window, by its places in all."""

    async def fits(self, state: str) -> None:
        await self.look(state)
        self.wrong += await crowded(self.page, state)
        await self.small()

    async def alone(self, state: str) -> None:
        """The same of a page without a log and settings."""
        await self.look(state)
        for width, height, letters in SIZES:
            await self.page.resize(width, height)
            await self.page.evaluate(_ENLARGED, letters)
            for _ in range(TRIES):
                found = await self.page.evaluate(_HIT)
                found += (await self.page.evaluate(_OUT_ALONE))["out"]
                if not found:
                    break
                await self.page.page.wait_for_timeout(300)
            self.wrong += [f"{state}, {width}x{height}, {letters} %: {one}" for one in found]
        await self.small()

    async def small(self) -> None:
        await self.page.resize(390, 844)
        await self.page.evaluate(
            "document.documentElement.dataset.size = '100'; document.documentElement.style.fontSize = ''"
        )


async def opened(visit: Visit, server: Running, code: str) -> Visitor:
    if code == "en":
        return await visit(server.base_url)
    return await spoken(visit, server, code)


@pytest.mark.parametrize("code", LANGUAGES)
async def test_several_cameras_fit(
    visit: Visit, server: Running, model: FakeOpenAI, code: str
) -> None:
    """The dialog alone, with a link and with a camera that was lost; the strip; the page that joins."""
    page = await opened(visit, server, code)
    fit = Fit(page)
    found = page.page
    await live(page)
    await found.locator("#menu-open").click()
    await found.locator("#cameras-open").click()
    dialog = found.locator("#camera-dialog")
    await expect(dialog).to_be_visible()
    await expect(found.locator("#several-phone")).to_be_visible()
    await fit.fits("dialog")
    await found.locator("#several-phone").click()
    link = found.locator("#several-link")
    await expect(link).to_have_value(LINK)
    await found.locator("#several-list .name").last.fill(NAME)
    await found.locator("#several-list .name").last.blur()
    await found.locator("#several-advanced summary").click()
    await found.locator("#several-whip").click()
    await expect(found.locator("#several-token")).not_to_have_value("")
    await fit.fits("link")

    device = await visit(await link.input_value(), context_options={"locale": code})
    joining = Fit(device)
    await expect(device.find("html")).to_have_attribute("lang", code)
    await joining.alone("joins")
    await device.find("#join-start").click()
    await expect(device.find("#join-state")).to_contain_text(NAME)
    tile = found.locator("#view > .strip .tile")
    await expect(tile.locator("img")).to_be_visible(timeout=15_000)
    await joining.alone("sends")
    await fit.fits("both in the dialog")
    await found.locator("#camera-close").click()
    await fit.fits("strip")
    await tile.click()
    await found.locator("#view > .strip .together").click()
    await fit.fits("all asked")
    await device.find("#join-stop").click()
    await expect(found.locator("#view > .strip .shown")).not_to_have_text(NAME)
    await joining.alone("stopped")
    await fit.fits("lost")
    wrong = fit.wrong + joining.wrong
    assert not wrong, "\n".join(wrong)
