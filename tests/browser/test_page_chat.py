"""The log of answers: its end, its way back, its details, what stands between the answers, reading
aloud.
"""

from __future__ import annotations

import itertools
import math
import re

import cv2
import numpy as np
import pytest
from playwright.async_api import FloatRect, expect

from tests.browser.test_page_look import LONG
from tests.browser.visitor import NOT_REACHED, Visit, Visitor, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# The distance of the log's end, or of the newest turn from the top, if that is less
_ABOVE = """() => { const log = document.querySelector("#log");
  const first = [...log.querySelectorAll(".turn")].at(-1).getBoundingClientRect().top - log.getBoundingClientRect().top;
  return Math.round(Math.min(log.scrollHeight - log.scrollTop - log.clientHeight, Math.abs(first))); }"""

_SPOKEN = """() => {
  window.__said = [];
  window.SpeechSynthesisUtterance = class { constructor(text) { this.text = text; this.lang = ""; } };
  Object.defineProperty(window, "speechSynthesis", { value: {
    speak: (utterance) => window.__said.push([utterance.text, utterance.lang]), cancel: () => {} } });
}"""


@pytest.mark.parametrize("size", [(390, 844), (1280, 800)], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_the_log_stands_at_its_end_after_every_answer(
    page: Visitor, model: FakeOpenAI, size: tuple[int, int]
) -> None:
    """Words, picture and buttons come one after the other; nothing of the newest answer lies below
    the edge.
    """
    model.answer_for = lambda _body, _jpeg: [f"{word} " for word in LONG.split()]
    await page.resize(*size)
    for number in range(8):
        await page.ask(f"What is in this box, number {number}?")
        await expect(page.turns.last).to_have_attribute("data-state", "done")
        thumb = page.turns.last.locator(".thumb")
        await thumb.evaluate("image => image.decode()")
        await page.comes(f"() => ({_ABOVE})() <= 1", True)


@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
async def test_a_question_covers_no_answer_that_has_room(
    page: Visitor, model: FakeOpenAI, long: bool
) -> None:
    """On a phone: it scrolls away above an answer that nearly fits, and stays above a long one."""
    words = LONG * 3 if long else "It is good until March.\nThat is still to come."
    model.answer_for = lambda _body, _jpeg: [words]
    await page.ask("When does it expire?")
    turn = page.turns.last
    await expect(turn).to_have_attribute("data-state", "done")
    await page.find("#log").evaluate("log => { log.scrollTop = log.scrollHeight; }")
    # The first line's middle belongs to the answer, unless the answer is longer than the log.
    at_top = """turn => {
      const log = document.querySelector("#log").getBoundingClientRect();
      const said = turn.querySelector(".said").getBoundingClientRect();
      const y = Math.max(said.top, log.top) + 10;
      const found = document.elementFromPoint(said.right - 20, y);
      return found.closest(".asked") ? "question" : found.closest(".answer") ? "answer" : found.outerHTML;
    }"""
    wanted = "question" if long else "answer"
    await page.comes(at_top, wanted, await turn.element_handle())
    if long:
        # Nothing of the answer shows above the question.
        log = await page.find("#log").bounding_box()
        assert log is not None
        above = FloatRect(x=log["x"] + 12, y=math.ceil(log["y"]), width=200, height=3)
        png = np.frombuffer(await page.page.screenshot(clip=above), np.uint8)
        pixels = np.asarray(cv2.imdecode(png, cv2.IMREAD_COLOR))
        assert (pixels == pixels[0, 0]).all()


@pytest.mark.parametrize("size", [(390, 844), (320, 568)], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_a_long_answer_begins_below_its_whole_question(
    page: Visitor, model: FakeOpenAI, size: tuple[int, int]
) -> None:
    """Nothing of either is cut."""
    model.answer_for = lambda _body, _jpeg: [LONG * 3]
    await page.resize(*size)
    await page.ask("When does it expire?")
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    order = """turn => {
      const at = (one) => one.getBoundingClientRect();
      const [log, asked, said] = [at(turn.parentElement), ...[".asked", ".said"].map((name) => at(turn.querySelector(name)))];
      return log.top <= asked.top && asked.bottom <= said.top;
    }"""
    await page.comes(order, True, await page.turns.last.element_handle())


@pytest.mark.parametrize("way", ["press", "key"])
async def test_a_long_question_has_three_lines_until_it_is_opened(page: Visitor, way: str) -> None:
    await page.ask("What is this? " * 140)
    asked = page.turns.last.locator(".asked")
    lines = """one => Math.round(one.offsetHeight / parseFloat(getComputedStyle(one).lineHeight))"""
    assert await asked.evaluate(lines) == 3
    if way == "press":
        await asked.click()
    else:
        await asked.press("Enter")
    assert await asked.evaluate(lines) > 20
    begins = "one => Math.round(one.getBoundingClientRect().top - one.closest('#log').getBoundingClientRect().top)"
    await page.comes(begins, 0, await asked.element_handle())


async def test_who_scrolls_up_is_offered_the_way_back(page: Visitor, model: FakeOpenAI) -> None:
    """At once, not with the next answer; it takes the keyboard, and goes again at the end."""
    model.answer_for = lambda _body, _jpeg: [LONG]
    for question in ("What is this?", "And this?"):
        await page.ask(question)
    newest = page.button(say("chat.newest"))
    await expect(newest).to_be_hidden()
    await page.rest()
    await page.find("#log").evaluate("log => { log.scrollTop = 0; }")
    await expect(newest).to_be_visible()
    await page.box.focus()
    # Past the suggestions, which stand between them
    for _ in range(6):
        await page.page.keyboard.press("Shift+Tab")
        if await newest.evaluate("one => one === document.activeElement"):
            break
    await expect(newest).to_be_focused()
    await page.page.keyboard.press("Enter")
    await expect(newest).to_be_hidden()
    await page.comes(f"() => ({_ABOVE})() <= 1", True)


async def test_a_description_that_goes_on_neither_jumps_nor_loses_its_picture(
    page: Visitor, model: FakeOpenAI
) -> None:
    """From the first whole one on its turn has its picture and its height, whatever is written
    meanwhile.
    """
    numbers = itertools.count()
    model.between_tokens = 0.03
    model.answer_for = lambda _body, _jpeg: [
        f"{word} " for word in (f"Scene {next(numbers) % 10}: " + LONG).split()
    ]
    count = await page.turns.count()
    await page.press(say("chat.describe"))
    await expect(page.turns).to_have_count(count + 1)
    await page.turns.last.locator(".earlier li").first.wait_for(state="attached")
    await page.evaluate("""() => {
          window.__seen = new Set();
          const look = () => {
            if (!window.__seen) return;
            const turn = document.querySelector("article.turn:last-of-type");
            const height = Math.round(turn.getBoundingClientRect().height);
            window.__seen.add(`${height} ${turn.querySelector(".thumb").checkVisibility()}`);
            requestAnimationFrame(look);
          };
          look();
        }""")
    await page.turns.last.locator(".earlier li").nth(3).wait_for(state="attached")
    seen: list[str] = await page.evaluate("[...window.__seen]")
    await page.evaluate("window.__seen = null")
    assert len(seen) == 1, seen
    assert seen[0].endswith("true")
    await page.press(say("chat.describe"))


async def test_the_timeline_of_a_description_scrolls_and_copies(
    page: Visitor, model: FakeOpenAI
) -> None:
    """By wheel and by keyboard down to the oldest moment; copied are all, the oldest first."""
    numbers = itertools.count(1)
    model.answer_for = lambda _body, _jpeg: [f"Scene {next(numbers)}. {LONG}"]
    await page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    before = await page.turns.count()
    await page.press(say("chat.describe"))
    turn = page.turns.nth(before)
    moments = turn.locator(".earlier ol")
    await moments.locator("li").nth(4).wait_for(state="attached")
    await page.press(say("chat.describe"))
    await expect(turn).to_have_attribute("data-state", "done")
    count = await moments.locator("li").count()
    await turn.locator(".earlier summary").click()
    first, oldest = moments.locator("li").first, moments.locator("li").last
    await expect(oldest).to_contain_text("Scene 1.")
    await moments.scroll_into_view_if_needed()
    higher = "list => list.scrollHeight > list.clientHeight + 40"
    await page.comes(higher, True, await moments.element_handle())
    await moments.hover()
    await page.page.mouse.wheel(0, 20_000)
    end = "list => list.scrollTop + list.clientHeight > list.scrollHeight - 2"
    await page.page.wait_for_function(end, arg=await moments.element_handle())
    await expect(oldest).to_be_in_viewport()
    await moments.focus()
    await page.page.keyboard.press("Home")
    await page.page.wait_for_function(
        "list => list.scrollTop === 0", arg=await moments.element_handle()
    )
    await expect(first).to_be_in_viewport()
    await page.points(turn)
    await turn.locator(".copy").click()
    await page.page.wait_for_function(
        "async () => (await navigator.clipboard.readText()).includes('Scene 1.')"
    )
    lines = (await page.evaluate("navigator.clipboard.readText()")).splitlines()
    found = [re.match(r"\d\d:\d\d:\d\d Scene (\d+)\. ", line) for line in lines]
    scenes = [int(one[1]) for one in found if one is not None]
    assert len(scenes) == len(lines) == count + 1
    assert scenes == sorted(scenes)


@pytest.mark.parametrize(
    "size", [(390, 844), (320, 568), (1280, 800)], ids=lambda s: f"{s[0]}x{s[1]}"
)
async def test_an_answers_details_open_in_sight(
    page: Visitor, model: FakeOpenAI, size: tuple[int, int]
) -> None:
    """Opened details are visible without scrolling, from their first line on."""
    model.answer_for = lambda _body, _jpeg: [LONG]
    await page.resize(*size)
    await page.ask("What is this?")
    await page.ask("And this?")
    await page.figures()
    for part in (".figures > summary", ".times dt >> nth=0", ".times dd >> nth=-1"):
        await expect(page.turns.last.locator(part)).to_be_in_viewport(ratio=0.9)


async def test_a_new_session_is_told_above_the_answer_that_it_gives(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """A question that waited when the old session ended is the first of the new one."""
    page = await visit(server.base_url)
    page.expect(NOT_REACHED, r"net::ERR_|Failed to load resource")
    await page.start()
    await page.ask("What is the red thing?")
    id = (await page.got('m.type === "ready"'))["session_id"]
    await page.page.context.set_offline(True)
    await server.program.sessions.end(id, "test")
    await expect(page.state).not_to_have_text(say("page.live"))
    await page.box.fill("How big is it?")
    await page.box.press("Enter")
    await expect(page.turns).to_have_count(2)
    await page.page.context.set_offline(False)
    await expect(page.turns.last).to_have_attribute("data-state", "done", timeout=20_000)
    order = await page.evaluate(
        "[...document.querySelectorAll('#log > :not(#empty)')].map(e => e.className)"
    )
    assert order == ["turn", "note", "turn"]
    await expect(page.find(".note")).to_contain_text(
        say("problem.handover_refused").partition(".")[0]
    )


async def test_an_answer_is_read_aloud_in_its_language(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """By the answer's own words, or by the question's where the answer is too short to tell; the
    page's own otherwise. A screen reader gets the same.
    """
    answers = iter(["Ich sehe eine rote Tasse auf dem Tisch.", "Rot.", "12"])
    model.answer_for = lambda _body, _jpeg: [next(answers)]
    page = await started(visit, server.base_url, scripts=[_SPOKEN])
    questions = ("What is this?", "Welche Farbe hat die Tasse auf dem Tisch?", "1+1")
    for question, language in zip(questions, ("de", "de", ""), strict=True):
        await page.evaluate("window.__said.length = 0")
        await page.ask(question)
        await page.points()
        await page.turns.last.get_by_role("button", name=say("chat.read_aloud")).click()
        await page.comes("window.__said.at(-1)?.[1] ?? null", language)
        words = await page.turns.last.locator(".text").element_handle()
        await page.comes("text => text.lang", language, words)
