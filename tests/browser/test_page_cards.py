"""Answers as cards: how a long one ends, what can be done with it, what asks, and what is told of its picture."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from playwright.async_api import expect

from tests.browser.visitor import CALM, NOT_REACHED, Visit, bounds, shown, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, with_model
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# The ends of the log behind which there are more words, of those that fade
_FADES = """() => {
  const log = document.getElementById("log");
  const fades = getComputedStyle(log).maskImage !== "none";
  return ["above", "below"].filter((end) => fades && log.hasAttribute(`data-${end}`));
}"""
_LONG = "There is a lot to be said about this cup, and about the table on which it stands. " * 14
# Names of the rows of an answer's menu; and whether one of them, or anything in it, is filled
_ROWS = """() => {
  const group = document.querySelector(".turn:last-of-type .acts");
  const rows = [...group.children].filter((one) => one.checkVisibility());
  const filled = [...group.querySelectorAll("*")].filter((one) => one.checkVisibility() &&
    getComputedStyle(one).backgroundColor === getComputedStyle(document.getElementById("send")).backgroundColor);
  return [rows.map((row) => row.className), filled.length];
}"""


async def test_a_long_answer_grows_and_fades(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Up to 62 % of the height; its last line in sight fades where more is hidden, and so does the
    first once the reader has gone on. A short one, or the end, does not.
    """
    page = await started(visit, server.base_url)
    await page.ask("What is this?")
    await page.comes(_FADES, [])
    model.answer_for = lambda _body, _jpeg: [_LONG]
    await page.ask("Tell me all about it.")
    await page.comes(_FADES, ["below"])
    await page.rest()
    height = await page.evaluate(
        "document.getElementById('panel').offsetHeight / document.getElementById('app').offsetHeight"
    )
    assert 0.6 < height <= 0.621
    await page.evaluate("document.getElementById('log').scrollTop = 1e6")
    await page.comes(f"({_FADES})().includes('below')", False)


async def test_the_menu_of_an_answer_is_one_group(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """At most six entries, none filled, Delete the last; the ways to look again say what they do."""
    page = await started(visit, server.base_url)
    await page.ask("What is this?")
    await page.points()
    rows, filled = await page.evaluate(_ROWS)
    assert rows == ["copy", "save", "speak", "look-again", "figures", "delete"]
    ways = await page.ways()
    assert filled == (await page.evaluate(_ROWS))[1] == 0
    twice = ways.get_by_role("button", name=say("page.way_twice"))
    await expect(twice).to_have_attribute("title", say("answer.hint_twice"))
    await expect(page.turns.last.locator(".line")).not_to_contain_text("unchanged")


async def test_blur_is_told_once(visit: Visit, builtin: Running) -> None:
    """In the notice until an answer tells it of its picture; the suggestions stay."""
    page = await started(visit, builtin.base_url)
    sign = np.full((360, 640, 3), 235, np.uint8)
    cv2.putText(sign, "SALE", (60, 230), cv2.FONT_HERSHEY_SIMPLEX, 6, (20, 20, 20), 22)
    blurred = np.asarray(cv2.GaussianBlur(sign, (0, 0), 9), np.uint8)
    await page.show(mode=shown(blurred), clock=False)
    await page.got('m.type === "status" && m.blurred')
    await expect(page.notice).to_contain_text(say("page.blurred"))
    await expect(page.find("#quick-read")).to_be_visible()
    await page.ask("What does it say?")
    await expect(page.turns.last.locator(".remark")).to_contain_text(say("page.was_blurred"))
    await expect(page.notice).to_be_hidden()


_FOLLOWS = "one => one.previousElementSibling?.matches('.fact') ?? false"


async def test_a_price_and_a_date_are_cards(visit: Visit, builtin: Running) -> None:
    """The figure that was asked for is large, its sentence below it; an answer to another question is no card."""
    page = await started(visit, builtin.base_url, **CALM)
    await page.show(mode="text:SALE\n12.50 EUR", textPx=48)
    turn = page.turns.last
    await page.ask("What does it cost?")
    await expect(turn).to_have_attribute("data-card", "price")
    await expect(turn.locator(".fact")).to_have_text("12.50 EUR")
    assert await turn.locator(".text").evaluate(_FOLLOWS)
    await page.ask("What colour is this?")
    await expect(turn).not_to_have_attribute("data-card", re.compile(""))
    await page.show(mode="text:BEST BEFORE\n12 JAN 2020", textPx=48)
    await page.ask("When does it expire?")
    await expect(turn).to_have_attribute("data-card", "date")
    await expect(turn.locator(".fact")).to_have_text("12 JAN 2020")
    await expect(turn.locator(".fact")).to_have_class(re.compile("over"))


async def test_a_list_is_a_card(visit: Visit, server: Running, model: FakeOpenAI) -> None:
    """By its own marks, with at most a line before it; a list in a longer text is not."""
    page = await started(visit, server.base_url)
    model.answer_for = lambda _body, _jpeg: ["I see:\n\n", "- a cup\n- a spoon\n- a plate"]
    await page.ask("What is on the table?")
    await expect(page.turns.last).to_have_attribute("data-card", "list")
    answers = ["I see:\n\n- a cup\n- a spoon\n\nNothing else.", f"{_LONG}\n\n- a cup\n- a spoon"]
    model.answer_for = lambda _body, _jpeg: [answers.pop()]
    for _ in range(2):
        await page.ask("What is on the table?")
        await expect(page.turns.last.locator("li")).to_have_count(2)
        await expect(page.turns.last).not_to_have_attribute("data-card", "list")


# The buttons of the consent stand beside each other, below its sentence.
_BELOW = """() => {
  const [words, ...buttons] = [...document.querySelectorAll(".consent :is(p, button)")]
    .map((one) => one.getBoundingClientRect());
  return buttons.every(({ top }) => top >= words.bottom && top === buttons[0].top);
}"""


async def test_what_a_model_may_do_is_asked_by_a_card(visit: Visit) -> None:
    """With two buttons below its sentence, which is no grey line."""
    async with FakeOpenAI(model="Qwen3-VL-8B-Instruct") as fake, with_model(fake) as run:
        page = await started(visit, run.base_url)
        page.expect(NOT_REACHED)  # the server ends before the page does
        await page.ask("What is this?")
        card = page.find(".consent")
        await expect(card).to_contain_text(say("chat.tool_consent"))
        await expect(card.get_by_role("button")).to_have_text(
            [say("page.not_now"), say("chat.tool_allow")]
        )
        await page.comes(_BELOW, True)
        await page.leave()


async def test_a_code_is_a_card(visit: Visit, builtin: Running) -> None:
    """Its words, picture and button in one."""
    page = await started(visit, builtin.base_url, **CALM)
    code = cv2.QRCodeEncoder.create().encode("https://example.org/menu")
    code = cv2.resize(code, None, fx=12, fy=12, interpolation=cv2.INTER_NEAREST)
    sheet = np.full((720, 1280), 255, np.uint8)
    top, left = (720 - code.shape[0]) // 2, (1280 - code.shape[1]) // 2
    sheet[top : top + code.shape[0], left : left + code.shape[1]] = code
    await page.show(mode=shown(np.asarray(cv2.cvtColor(sheet, cv2.COLOR_GRAY2BGR), np.uint8)))
    await page.ask("Scan the code")
    turn = page.turns.last
    await expect(turn).to_have_attribute("data-card", "code")
    button = turn.locator(".said .codes button")
    await expect(button).to_have_text(say("answer.open_host", host="example.org"))
    # The words above have it.
    await expect(turn.locator(".codes code")).to_have_count(0)


async def test_the_column_is_where_lines_end(visit: Visit, builtin: Running) -> None:
    """At the right, and from right to left at the left; the picture lies beside it. A single tile has its row."""
    for locale, at_left in (("en", False), ("ar", True)):
        page = await visit(
            builtin.base_url, viewport=(1280, 800), context_options={"locale": locale}
        )
        await expect(page.find("html")).to_have_attribute("lang", locale)
        stage, panel = await bounds(page.find("#stage")), await bounds(page.find("#panel"))
        assert (panel["x"] == 0) is at_left
        assert (stage["x"] == panel["width"]) is at_left
        assert stage["width"] + panel["width"] == 1280
        await page.leave()


# Widths of the rows of tiles as parts of the widest
_TILES = """() => {
  const tiles = [...document.querySelectorAll("#more > button")].filter((one) => one.checkVisibility());
  const rows = Map.groupBy(tiles, (one) => one.offsetTop);
  const widths = [...rows.values()].map((row) => row.at(-1).offsetLeft + row.at(-1).offsetWidth - row[0].offsetLeft);
  return [tiles.length % 2, Math.max(...widths) - Math.min(...widths)];
}"""


async def test_no_tile_stands_beside_nothing(visit: Visit, builtin: Running) -> None:
    page = await visit(builtin.base_url, width=480, height=640, viewport=(820, 1180))
    await page.start()
    await page.find("#more-open").click()
    odd, _ = await page.evaluate(_TILES)
    if not odd:
        await page.evaluate("document.querySelector('#more > button:not([hidden])').hidden = true")
    await page.comes(_TILES, [1, 0])
