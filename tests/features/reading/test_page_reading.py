"""A text that is read on while the camera moves over it: on the page, by voice, by a screen reader."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from server.features.reading import text as read_pace
from tests.browser.visitor import Visit, Visitor, started
from tests.features.voice_out.test_page_speaking import _VOICE
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LINES = ("TOMATO SOUP", "With basil and cream", "Shake well before use", "Keep in the fridge")
UPPER, LOWER = "text:" + "\n".join(LINES[:3]), "text:" + "\n".join(LINES[1:])

# Writes down what screen readers would say: each text that comes into a live region.
_LIVE = """() => {
  window.__announced = [];
  const off = (one) => one.closest("[aria-live]")?.getAttribute("aria-live") === "off";
  new MutationObserver((list) => {
    const regions = new Set(list.map(({ target }) => (target.nodeType === 3 ? target.parentElement : target)?.closest?.("[role=status], [aria-live=polite]")));
    for (const one of regions) {
      const text = one?.textContent.trim();
      if (text && !off(one) && !one.closest("[hidden]")) window.__announced.push(text);
    }
  }).observe(document, { subtree: true, childList: true, characterData: true });
}"""


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def hurry(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Texts end sooner than for people."""
    monkeypatch.setattr(read_pace, "QUIET_SECONDS", 4.0)
    monkeypatch.setattr(read_pace, "WHOLE_SECONDS", 3.0)
    yield


async def begin(visit: Visit, url: str, *scripts: str) -> Visitor:
    page = await started(visit, url, scripts=scripts)
    await page.show(mode=UPPER, textPx=40, clock=False)
    await page.settle()
    return page


async def test_lines_are_read_once_as_the_camera_moves(visit: Visit, builtin: Running) -> None:
    """One answer grows; a screen reader hears each piece once, and the end."""
    page = await begin(visit, builtin.base_url, _LIVE)
    sent = await page.send(say("stage.read_this_to_me"))
    text = page.turns.last.locator(".text")
    await expect(text).to_have_text("\n".join(LINES[:3]), timeout=20_000)
    await page.show(mode=LOWER)
    await expect(text).to_have_text("\n".join(LINES), timeout=20_000)
    response = await page.response(sent["id"], timeout=30)
    assert response["text"] == "\n".join(LINES)
    assert (response["route"], response["finish_reason"]) == ("read", "stop")
    await expect(page.find("#aim")).to_have_text(say("guide.read_to_end"))
    await expect(page.find("#aim")).to_be_hidden(timeout=10_000)
    await expect(page.turns.last.locator(".about")).to_contain_text(say("page.looked_read"))
    wanted = [*LINES, say("guide.read_to_end")]
    await page.comes(
        "all => all.every((one) => window.__announced.join(' ').includes(one))", True, wanted
    )
    announced = " ".join(await page.evaluate("window.__announced"))
    for line in wanted:
        assert announced.count(line) == 1, line


async def test_a_tap_ends_it_with_what_was_read(visit: Visit, builtin: Running) -> None:
    """The button that cancels other answers; the text so far stays, and nothing says that it
    failed. What was read once can be read on with a tap: it is one of the ways to look.
    """
    page = await begin(visit, builtin.base_url)
    sent = await page.send("Lies mir das vor")
    await expect(page.turns.last.locator(".text")).to_contain_text(LINES[2], timeout=20_000)
    await page.button(say("chat.stop")).click()
    response = await page.response(sent["id"])
    assert (response["text"], response["finish_reason"]) == ("\n".join(LINES[:3]), "stop")
    await expect(page.turns.last.locator(".remark")).to_be_hidden()
    await expect(page.button(say("chat.stop"))).to_be_hidden()
    await page.tap(say("stage.read_this"), timeout=30)
    since = await page.now()
    await (await page.ways()).get_by_role("button", name=say("page.way_read")).click()
    sent = await page.sent("chat", since=since)
    assert sent["route"] == "read"
    await expect(page.turns.last.locator(".text")).to_contain_text(LINES[2], timeout=20_000)
    await page.button(say("chat.stop")).click()
    await page.response(sent["id"])


async def test_it_is_spoken_and_waits_for_the_voice(visit: Visit, builtin: Running) -> None:
    """Each line is spoken once; the end is spoken after the last one, and by the voice alone."""
    page = await begin(visit, builtin.base_url, _VOICE, _LIVE)
    await page.press("#speak")
    # The one-tap question reads on for somebody who listens.
    await expect(page.find("#quick-read")).to_have_text(say("stage.read_to_me"))
    since = await page.now()
    await page.button(say("stage.read_to_me")).click()
    sent = await page.sent("chat", since=since)
    assert sent["content"] == say("stage.read_this_to_me")
    await expect(page.turns.last.locator(".text")).to_contain_text(LINES[2], timeout=20_000)
    await page.show(mode=LOWER)
    await page.response(sent["id"], timeout=30)
    await expect(page.find("#aim")).to_have_text(say("guide.read_to_end"))
    await page.page.wait_for_function(
        "end => window.__said.includes(end)", arg=say("guide.read_to_end")
    )
    said = " ".join(await page.evaluate("window.__said"))
    for line in LINES:
        assert said.count(line) == 1, said
    assert said.index(LINES[3]) < said.index(say("guide.read_to_end"))
    announced = " ".join(await page.evaluate("window.__announced"))
    assert LINES[0] not in announced
    assert say("guide.read_to_end") not in announced
