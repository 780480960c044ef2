"""The manner "Only what's new" of Describe, on the page: its button and order, what is shown and spoken, and its end."""

from __future__ import annotations

import itertools

import pytest
from playwright.async_api import expect

from server.features.builtin.language import get_language
from tests.browser.visitor import SPOKEN, Visit, Visitor, shown, started
from tests.features.builtin.test_notable import wall
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

NOTICES = get_language("en").say("notices")
TOLD = 'm.type === "response" && m.kind === "describe" && m.finish_reason === "stop"'


def view(name: str = "", high: int = 0, x: int = 640) -> str:
    return shown(wall(name, high, x))


async def opened(visit: Visit, url: str, **camera: int) -> Visitor:
    page = await started(visit, url, scripts=[SPOKEN], **camera)
    await page.show(mode=view(), clock=False)
    return page


async def test_what_matters_is_told_without_being_asked(visit: Visit, builtin: Running) -> None:
    """In one quiet entry, and spoken, also where answers are short; the mark in the bar ends it."""
    page = await opened(visit, builtin.base_url, width=1280, height=720)
    await page.press(say("chat.read_aloud"))
    await page.press("#settings-open")
    await page.page.get_by_label(say("settings.verbosity")).select_option("short")
    await page.button(say("page.done")).click()
    button, mark = page.find("#notable"), page.find("#end-mode")
    since = await page.now()
    await page.press("#notable")
    wish = await page.sent("settings", since=since)
    assert wish["about"] == "notable"
    await expect(button).to_have_attribute("aria-pressed", "true")
    await expect(page.find("#describe")).to_have_attribute("aria-pressed", "false")
    assert (await page.got(TOLD, since=since))["text"] == NOTICES
    entry = page.turns.last
    await expect(entry.locator(".asked")).to_have_text(say("chat.noticing"))
    await expect(entry.locator(".text")).to_have_text(NOTICES)
    at = [await page.now()]
    for name, high, x, said in (
        ("coffee", 500, 640, "Close ahead: a cup."),
        ("astronaut", 430, 1060, "Just appeared: a person."),
    ):
        since = await page.now()
        await page.show(mode=view(name, high, x))
        assert (await page.got(TOLD, since=since))["text"] == said
        at.append(await page.now())
        await expect(entry.locator(".text")).to_have_text(said)
    assert all(later - before > 4500 for before, later in itertools.pairwise(at))
    await expect(page.turns).to_have_count(1)
    await expect(entry.locator(".earlier li")).to_have_count(2)
    heard = await page.evaluate("window.spoken")
    assert heard[-3:] == [NOTICES, "Close ahead: a cup.", "Just appeared: a person."]
    # The cross in the bar ends it.
    since = await page.now()
    await mark.click()
    assert (await page.sent("settings", since=since))["describe"] is False
    await expect(button).to_have_attribute("aria-pressed", "false")
    await expect(entry).to_have_attribute("data-state", "done")


async def test_an_order_begins_it_and_the_camera_ends_it(visit: Visit, builtin: Running) -> None:
    """It takes the place of a description, and a description takes its place."""
    page = await opened(visit, builtin.base_url)
    notable, describe = page.find("#notable"), page.find("#describe")
    await page.press("#describe")
    await page.got(TOLD)
    since = await page.now()
    await page.send("What would I want to know?")
    assert (await page.got(TOLD, since=since))["text"] == NOTICES
    await expect(notable).to_have_attribute("aria-pressed", "true")
    await expect(describe).to_have_attribute("aria-pressed", "false")
    # The description and this; the order was no question.
    asked = page.turns.locator(".asked")
    await expect(asked).to_have_text([say("chat.describing"), say("chat.noticing")])
    since = await page.now()
    await page.press("#describe")
    await expect(notable).to_have_attribute("aria-pressed", "false")
    assert (await page.got(TOLD, since=since))["text"] != NOTICES
    await page.send("Stop describing.")
    await expect(describe).to_have_attribute("aria-pressed", "false")
    await page.send("Sag mir, was wichtig ist.")
    await expect(notable).to_have_attribute("aria-pressed", "true")
    await page.send("Stop")
    await expect(notable).to_have_attribute("aria-pressed", "false")
    await page.press("#notable")
    await expect(notable).to_have_attribute("aria-pressed", "true")
    await page.press("#stop")
    await expect(notable).to_have_attribute("aria-pressed", "false")
    await expect(page.find("#end-mode")).to_be_hidden()
