"""Questions about the recent past, where an answer looked, and the memory's switch."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visit, Visitor, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def remembered(page: Visitor, *shown: str) -> None:
    """Put one thing after the other in front of the camera; the server keeps a picture of each."""
    kept = 0
    for text in shown:
        since = await page.now()
        await page.show(mode=f"text:{text}", textPx=90)
        # One more: the first description may be about the thing before.
        told = await page.got(f'm.type === "recall" && m.pictures > {kept}', since=since)
        kept = told["pictures"]


async def test_an_answer_shows_the_pictures_of_the_past_that_it_names(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """The model gets them before the picture of now; one tap on another way to look asks again."""
    model.answer_for = lambda _body, _jpeg: ["The keys lay there [1]."]
    page = await visit(server.base_url)
    await page.resize(1280, 800)
    await page.start()
    await remembered(page, "KEYS", "CUP", "BOX")
    response = await page.ask("Where did I put the keys?")
    assert response["route"] == "past"
    assert len(model.last.jpegs) == len(response["frames"]) + 1 >= 3
    turn = page.turns.last
    pictures = turn.locator(".frames li")
    await expect(pictures).to_have_count(1)
    await expect(pictures).to_have_text(re.compile(r"^\[1\] \d+:\d+:\d+.*, \d+\ss ago$"))
    image = pictures.get_by_role("img", name=re.compile("^Picture 1, "))
    assert await image.evaluate("one => one.decode().then(() => one.naturalWidth)") == 240
    await expect(turn.locator(".evidence > summary")).to_contain_text(
        re.compile(r"^fake-vl · last\s\d+\ss · ")
    )

    ways = await page.ways(turn)
    await expect(ways.get_by_role("button", pressed=True)).to_have_text(say("page.way_past"))
    since = await page.now()
    await ways.get_by_role("button", name=say("page.way_now"), exact=True).click()
    sent = await page.sent("chat", since=since)
    assert (sent["content"], sent["route"]) == ("Where did I put the keys?", "now")
    assert (await page.response(sent["id"]))["route"] == "now"
    assert len(model.last.jpegs) == 1
    # Pressed once more, it looks at what is there now.
    again = (await page.ways()).get_by_role("button", pressed=True)
    since = await page.now()
    await again.click()
    sent = await page.sent("chat", since=since)
    assert (sent["content"], sent["route"]) == ("Where did I put the keys?", "now")
    assert (await page.response(sent["id"]))["route"] == "now"
    await expect(page.turns.last.locator(".evidence > summary")).to_contain_text(
        say("answer.just_now")
    )
    await expect(page.turns.last.locator(".frames")).to_be_hidden()
    older = page.turns.first
    await expect(older.locator(".about")).to_contain_text(
        re.compile(r"Earlier frames\s*\d, as pictures")
    )


async def test_the_memory_is_shown_forgotten_and_switched_off(
    visit: Visit, server: Running
) -> None:
    """Its size and bounds; the wish stays over a reload, and without it nothing is kept."""
    page = await visit(server.base_url)
    await page.resize(1280, 800)
    await page.start()
    await remembered(page, "KEYS")
    await page.find("#state").click()
    words = page.find("#fact-memory")
    await expect(words).to_have_text(
        re.compile(r"^\d+ pictures?\. At most 5\smin, in the server's memory only\.$")
    )
    await expect(page.find("#fact-memory-size")).to_have_text(re.compile(r"^0\.\d\sMB / 2\sMB$"))
    since = await page.now()
    await page.button(say("facts.forget")).click()
    await page.got('m.type === "recall" && m.pictures === 0', since=since)
    since = await page.now()
    await page.button(say("facts.remember")).click()
    assert (await page.sent("settings", since=since))["recall"] is False
    await expect(words).to_have_text(say("facts.memory_off"))
    await expect(page.button(say("facts.forget"))).to_be_disabled()

    since = await page.now()
    await page.page.reload()
    await page.start()
    await page.sends("m.recall === false", since=since)
    await page.find("#state").click()
    await expect(words).to_have_text(say("facts.memory_off"))
    await page.ask("What just happened?")
    await expect(page.turns.last.locator(".ways button")).to_have_count(5)
    names = await page.turns.last.locator(".ways button").all_text_contents()
    assert names == [
        say("page.way_now"),
        say("page.way_detail"),
        say("page.way_twice"),
        say("page.way_where"),
        say("page.way_read"),
    ]


async def test_a_tap_on_the_past_without_any_says_so(visit: Visit, builtin: Running) -> None:
    """The built-in engine looks back for a named thing alone: the answer is about now, in its words and below."""
    page = await started(visit, builtin.base_url)
    await page.ask("What is this?")
    past = (await page.ways()).get_by_role("button", name=say("page.way_past"))
    since = await page.now()
    await past.click()
    sent = await page.sent("chat", since=since)
    response = await page.response(sent["id"])
    assert (sent["route"], response["route"]) == ("past", "now")
    await expect(page.turns.last.locator(".frames")).to_contain_text(say("answer.about_now"))
