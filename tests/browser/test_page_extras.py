"""Vibration, the offer to install the page, and the small window for the picture."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visit, Visitor, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

VIBRATES = "window.shaken = []; navigator.vibrate = (ms) => window.shaken.push(ms);"
# As Chromium does on a device that may install the page: before its later modules are loaded.
INSTALLS = """() => {
  document.addEventListener("DOMContentLoaded", () => {
    const event = new Event("beforeinstallprompt", { cancelable: true });
    event.prompt = () => { window.prompted = true; };
    window.kept = !window.dispatchEvent(event);
  });
}"""
WINDOW = """() => {
  let shown = null;
  Object.defineProperty(document, "pictureInPictureEnabled", { value: true });
  Object.defineProperty(document, "pictureInPictureElement", { get: () => shown });
  HTMLVideoElement.prototype.requestPictureInPicture = async function () {
    shown = this;
    this.dispatchEvent(new Event("enterpictureinpicture"));
  };
  document.exitPictureInPicture = async () => {
    const was = shown;
    shown = null;
    was.dispatchEvent(new Event("leavepictureinpicture"));
  };
}"""


LOADED = """() => performance.getEntriesByType("resource").some((one) => one.name.endsWith("/core/extras.js"))"""


async def ready(visit: Visit, server: Running, *scripts: str, **options: Any) -> Visitor:
    """A page whose camera is live, and whose extras are loaded."""
    page = await started(visit, server.base_url, scripts=scripts, **options)
    await page.page.wait_for_function(LOADED)
    return page


async def ask(page: Visitor, count: int = 1) -> None:
    for number in range(count):
        sent = await page.send(f"What is this? {number}")
        await page.response(sent["id"])
        await expect(page.find("#cancel")).to_be_hidden()


@pytest.mark.parametrize("reduced", [False, True])
async def test_it_vibrates_with_a_question_and_its_answer(
    visit: Visit, server: Running, model: FakeOpenAI, reduced: bool
) -> None:
    """At the first word, and not where motion is unwelcome."""
    options = {"reduced_motion": "reduce" if reduced else "no-preference"}
    page = await ready(visit, server, VIBRATES, context_options=options)
    model.hold()
    sent = await page.send("What is this?")
    await page.got(f'm.type === "started" && m.id === "{sent["id"]}"')
    if not reduced:
        await page.page.wait_for_function("() => window.shaken.length === 2")
    model.let_go()
    await page.response(sent["id"])
    await expect(page.find("#cancel")).to_be_hidden()
    assert await page.evaluate("window.shaken") == ([] if reduced else [15, 15])


async def test_installing_is_offered_once_after_the_third_answer(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """And never again on this device once it was dismissed."""
    page = await ready(visit, server, INSTALLS)
    assert await page.evaluate("window.kept")
    offer = page.find(".install")
    await ask(page, 2)
    await expect(offer).to_have_count(0)
    await ask(page)
    await expect(offer).to_contain_text(say("app.install_offer"))
    await offer.get_by_text(say("page.not_now")).click()
    await expect(offer).to_have_count(0)
    await page.page.reload()
    await page.start()
    await page.page.wait_for_function(LOADED)
    await ask(page, 4)
    await expect(offer).to_have_count(0)
    assert not await page.evaluate("window.prompted")


async def test_installing_asks_the_browser(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    page = await ready(visit, server, INSTALLS)
    await ask(page, 3)
    await page.find(".install").get_by_text(say("app.install"), exact=True).click()
    assert await page.evaluate("window.prompted")
    await expect(page.find(".install")).to_have_count(0)


async def test_nothing_is_offered_where_it_cannot_be_installed(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    page = await ready(visit, server)
    await ask(page, 3)
    await expect(page.find(".install")).to_have_count(0)


async def test_the_picture_has_a_small_window(visit: Visit, server: Running) -> None:
    page = await ready(visit, server, WINDOW)
    toggle = page.find("#pip")
    for pressed in ("true", "false"):
        await page.press("#pip")
        await expect(toggle).to_have_attribute("aria-pressed", pressed)
    await page.page.evaluate("document.querySelector('#stop').click()")
    await expect(toggle).to_have_attribute("hidden", "")
