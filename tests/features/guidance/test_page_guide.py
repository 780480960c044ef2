"""Guidance on the page: one short hint over the picture, for eyes, screen readers and voices."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.visitor import CALM, GREY, ORANGE, RED, SPOKEN, Visit, bounds, started
from tests.support.running import Running
from tests.support.words import say

# Keeps the notes that are played, as hertz.
NOTES = """window.notes = []; const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (at) { window.notes.push(this.frequency.value); start.call(this, at); };"""
LABEL = "text:TAKE ONE TABLET DAILY\nWITH A GLASS OF WATER\nBEFORE YOU EAT"
# Print too small to read. Where there is none at all, a thing may be what somebody looks for.
_NOTHING = f"{say('guide.no_text')} · {say('guide.begun')}"
_TOO_SMALL = re.compile(f"^({re.escape(_NOTHING)}|{say('guide.too_far')})$")

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_hints_come_while_they_are_wanted(visit: Visit, builtin: Running) -> None:
    """Hints follow the picture; without the wish nothing is looked at and nothing is shown."""
    page = await started(visit, builtin.base_url, **CALM)
    await page.show(mode=LABEL, textPx=50, clock=False)
    button, line = page.find("#guide"), page.find("#aim")
    await expect(button).to_have_attribute("aria-pressed", "false")
    await expect(line).to_be_hidden()
    since = await page.now()
    await page.press("#guide")
    assert (await page.sent("settings", since=since))["guidance"] is True
    await page.got('m.type === "aim" && m.hint === "good" && m.about === "text"', since=since)
    await expect(line).to_have_text(say("guide.good"))
    # A screen reader announces it.
    assert await line.get_attribute("role") == "status"
    await expect(line).to_have_attribute("aria-live", "polite")
    await page.show(mode=LABEL, textPx=6, clock=False)
    await expect(line).to_have_text(_TOO_SMALL)
    await page.show(mode=GREY, clock=False)
    await expect(line).to_have_text(_NOTHING)
    since = await page.now()
    await page.press("#guide")
    assert (await page.sent("settings", since=since))["guidance"] is False
    await expect(line).to_be_hidden()
    await expect(button).to_have_attribute("aria-pressed", "false")


async def test_the_level_of_help(visit: Visit, builtin: Running) -> None:
    """Hints are spoken where answers are, and then the screen reader stays silent about them; hints
    alone, with tones, or none at all: then there is no button, and nothing is looked at.
    """

    async def choose(help: str) -> None:
        await page.settings()
        await page.page.get_by_label(say("settings.help")).select_option(help)
        await page.button(say("page.done")).click()

    page = await started(visit, builtin.base_url, scripts=[SPOKEN, NOTES], **CALM)
    await page.show(mode=LABEL, textPx=50, clock=False)
    await page.press("#speak")
    button, line = page.find("#guide"), page.find("#aim")
    await page.press(say("guide.name"))
    await expect(line).to_have_text(say("guide.good"))
    await expect(line).to_have_attribute("aria-live", "off")
    assert await page.evaluate("window.spoken") == [say("guide.good")]
    await page.press("#guide")
    await expect(line).to_be_hidden()
    await page.evaluate("window.spoken = []; window.notes = []")
    await choose("shown")
    await page.press("#guide")
    await expect(line).to_have_text(say("guide.good"))
    # The screen reader announces what is not spoken.
    await expect(line).to_have_attribute("aria-live", "polite")
    assert await page.evaluate("[window.spoken, window.notes]") == [[], []]
    await choose("tones")
    await page.show(mode=LABEL, textPx=6, clock=False)
    await expect(line).to_have_text(_TOO_SMALL)
    assert set(await page.evaluate("window.notes")) == {330}
    await page.show(mode=LABEL, textPx=50, clock=False)
    await expect(line).to_have_text(say("guide.good"))
    assert {659, 988} <= set(await page.evaluate("window.notes.map(Math.round)"))
    assert await page.evaluate("window.spoken") == []
    since = await page.now()
    await choose("none")
    assert (await page.sent("settings", since=since))["guidance"] is False
    await expect(button).to_be_hidden()
    await expect(line).to_be_hidden()


async def test_alerts_are_spoken_where_answers_are(visit: Visit, builtin: Running) -> None:
    """The voice says what alerted; the screen reader does not say it a second time."""
    page = await started(visit, builtin.base_url, scripts=[SPOKEN])
    await page.show(mode=GREY, clock=False)
    await page.press("#speak")
    await page.watch()
    since = await page.now()
    await page.show(mode=ORANGE)
    await page.got(
        'm.type === "watches" && m.watches[0].reason.includes("I do not see it")', since=since
    )
    await page.show(mode=RED)
    await expect(page.find(".alert")).to_have_count(1)
    begun, rang = await page.evaluate("window.spoken")
    assert begun == say("watch.watching_for", condition="you see red")
    assert rang.startswith("you see red. ")
    await expect(page.find("#announcer")).not_to_contain_text("you see red")


async def test_a_name_alone_leads_in_guide_mode(visit: Visit, builtin: Running) -> None:
    """The bar says so, and no empty sheet covers the picture."""
    page = await started(visit, builtin.base_url, **CALM)
    box = page.find("#question")
    await expect(box).to_have_attribute("placeholder", say("chat.ask"))
    await page.press("#guide")
    await expect(box).to_have_attribute("placeholder", say("guide.asks"))
    await page.got('m.type === "aim"')
    assert (await bounds(page.find("#panel")))["height"] < 200
    await page.send("the cup")
    assert (await page.sent("goal"))["thing"] == "the cup"
    await expect(page.find("#aim")).to_have_text(say("lead.looking", thing="a cup"))
    await expect(page.turns).to_have_count(0)
    assert (await bounds(page.find("#panel")))["height"] < 200
    await page.find("#end-mode").click()
    await expect(box).to_have_attribute("placeholder", say("guide.asks"))
    await page.find("#end-mode").click()
    await expect(box).to_have_attribute("placeholder", say("chat.ask"))
