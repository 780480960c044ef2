"""The page in a low window, a phone on its side, and on the smallest phones: the answer has room and opens at its first line."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.test_page_look import LONG
from tests.browser.visitor import NOT_REACHED, Visit, Visitor, bounds, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# The log's height, and whether the answer's first line is inside the log
_SEEN = """() => {
  const log = document.querySelector("#log").getBoundingClientRect();
  const words = document.querySelector(".turn:last-of-type .text").getBoundingClientRect();
  return [log.height, words.top >= log.top && words.top + 24 <= log.bottom];
}"""


@pytest.mark.parametrize(
    ("size", "height"), [((844, 390), 240), ((320, 568), 110)], ids=["844x390", "320x568"]
)
async def test_a_long_answer_opens_at_its_first_line(
    page: Visitor, model: FakeOpenAI, size: tuple[int, int], height: int
) -> None:
    """In a low wide window the answer has most of the column."""
    model.answer_for = lambda _body, _jpeg: [f"{word} " for word in (LONG * 3).split()]
    await page.resize(*size)
    await page.ask("What is in this box?")
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await page.settle()
    found, first_line = await page.evaluate(_SEEN)
    assert first_line
    assert found >= height


# A camera with a zoom and a torch
_FULL = """() => {
  const { getCapabilities } = MediaStreamTrack.prototype;
  MediaStreamTrack.prototype.getCapabilities = function () {
    return { ...getCapabilities.call(this), zoom: { min: 1, max: 4, step: 0.1 }, torch: true };
  };
}"""
# Whether all of the notice can be read: it is inside the window, nothing lies over its middle, and
# none of it waits to be scrolled to
_READ = """() => {
  const notice = document.querySelector("#notice");
  const { left, top, width, height, bottom } = notice.getBoundingClientRect();
  const there = document.elementFromPoint(left + width / 2, top + height / 2);
  const whole = notice.scrollHeight <= notice.clientHeight + 1 && top >= 0 && bottom <= innerHeight;
  return Boolean(there?.closest("#notice")) && whole;
}"""


async def test_a_notice_can_be_read_whole(visit: Visit, builtin: Running) -> None:
    """With all that a camera can have, while the picture is black and then the server is gone;
    before the first answer, with one, and with the chat over most of the picture."""
    page = await visit(builtin.base_url, scripts=[_FULL])
    page.expect(NOT_REACHED, "net::ERR_INTERNET_DISCONNECTED")
    notice, handle = page.notice, page.find("#sheet-handle")

    async def read() -> None:
        for size in ((568, 320), (320, 568), (390, 844)):
            await page.resize(*size)
            await page.comes(_READ, True)
            if await handle.is_visible():
                await handle.click()
                await page.comes(_READ, True)
                await handle.click()

    await page.start()
    await page.show(mode="black", clock=False)
    await expect(notice).to_contain_text(say("page.black"))
    await read()
    await page.ask("What does it say?")
    await read()
    await page.page.context.set_offline(True)
    await expect(notice).to_contain_text("offline")
    await read()


async def test_a_turned_phone_stays_at_the_newest_answer(page: Visitor) -> None:
    """In windows of other sizes the log has other heights, and the reader is where they were."""
    for _ in range(5):
        await page.ask("What is this?")
    for size in ((320, 568), (844, 390), (320, 568), (390, 844)):
        await page.resize(*size)
        await expect(page.turns.last.locator(".text")).to_be_in_viewport(ratio=0.2)
        await page.settle()
        await expect(page.find("#newest")).to_be_hidden()


async def test_numbers_a_refusal_and_the_menu_are_in_sight(visit: Visit, builtin: Running) -> None:
    """In low windows the state's numbers come into sight when they are opened. Of a refused watch
    there is one bell, the words, and the way to ask it as a question; nothing over another. Then all
    of the menu, and what is asked below an opened list of watches; at 400 % it is scrolled.
    """
    page = await started(visit, builtin.base_url)
    for size in ((320, 568), (844, 390)):
        await page.resize(*size)
        await page.find("#state").click()
        await expect(page.find("#fact-connection")).not_to_be_empty()
        numbers = page.find("#facts details")
        await numbers.locator("summary").click()
        await expect(page.find("#fact-data")).to_be_in_viewport(ratio=0.99)
        await numbers.locator("summary").click()
        await page.page.keyboard.press("Escape")

    await page.resize(390, 844)
    await page.press("#watch")
    await page.box.fill("the cat sits on the table")
    await page.box.press("Enter")
    note = page.find(".note").last
    await expect(note).to_contain_text(say("server.watch_builtin"))
    offer = page.find("#ask-offer")
    for size in ((844, 390), (390, 844)):
        await page.resize(*size)
        await expect(offer).to_be_visible()
        await page.settle()
        words, over = await bounds(note), await bounds(offer)
        assert words["y"] + words["height"] <= over["y"] + 1, size
        # One line, and the room around it
        assert words["height"] <= 45, size
        await expect(page.find("#end-mode")).to_be_visible()
    # What it can watch for stands there as soon as nothing is typed.
    await page.box.fill("")
    await expect(page.find("#offered button:visible")).to_have_count(3)
    await page.find("#end-mode").click()

    await page.watch("you see a dog")
    await page.find("#watches > summary").click()
    for size in ((320, 568), (844, 390)):
        await page.resize(*size)
        await expect(page.find("#bar")).to_be_in_viewport(ratio=0.99)
        await page.find("#menu-open").click()
        for one in await page.find("#menu button:visible").all():
            await expect(one).to_be_in_viewport(ratio=0.99)
        await page.page.keyboard.press("Escape")
    await page.resize(320, 256)
    await page.find("#menu-open").click()
    for one in await page.find("#menu button:visible").all():
        await one.scroll_into_view_if_needed()
        await expect(one).to_be_in_viewport(ratio=0.9)
        assert (await bounds(one))["width"] > 240


# What is not wholly inside the element that scrolls it, by its words
_CUT = """(names) => {
  const [around, inside] = names;
  const frame = document.querySelector(around).getBoundingClientRect();
  return [...document.querySelectorAll(inside)].filter((one) => {
    const { top, bottom } = one.getBoundingClientRect();
    return one.checkVisibility() && (top < frame.top - 4 || bottom > frame.bottom + 4);
  }).map((one) => one.textContent.trim());
}"""


async def test_what_opens_in_a_low_window_is_seen_whole(visit: Visit, builtin: Running) -> None:
    """An answer's points open to all their entries, then to the ways to look; so do the tiles of "more"."""
    page = await started(visit, builtin.base_url)
    for size in ((320, 568), (844, 390)):
        await page.resize(*size)
        await page.ask("What colour is this?")
        proof = await page.points()
        for name in ("page.copy", "answer.save", "chat.read_aloud", "chat.delete_short"):
            await expect(proof.get_by_role("button", name=say(name))).to_be_in_viewport(ratio=0.95)
        await expect(proof.locator(".about")).to_be_hidden()
        inside = ".turn:last-of-type .evidence :is(button, summary)"
        await page.comes(_CUT, [], ["#log", inside])
        ways = await page.ways()
        for name in ("now", "detail", "past", "where"):
            way = ways.get_by_role("button", name=say(f"page.way_{name}"), exact=True)
            await expect(way).to_be_in_viewport(ratio=0.99)
        await proof.locator("> summary").click()
        await expect(page.find("#quick-what")).to_be_visible()
    await page.find("#more-open").click()
    await page.comes(_CUT, [], ["#more", "#more > *"])
