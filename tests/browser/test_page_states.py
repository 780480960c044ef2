"""For who sees little: states that are spoken, tones, and the amount of words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from benchmarks.browser import set_camera
from server.shared.watch_answers import parse_conditions
from tests.browser.test_page_links import GIVEN_UP, through, whole_way
from tests.browser.visitor import BLUE, GREY, NOT_REACHED, Visit, Visitor, hurry, started
from tests.features.reading.test_page_reading import _LIVE
from tests.features.voice_out.test_page_speaking import _VOICE
from tests.support.fakes_openai import Behaviour, FakeOpenAI, Seen
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Writes down the notes that are played, as hertz.
_NOTES = """() => {
  window.__notes = [];
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (...at) { window.__notes.push(this.frequency.value); return start.apply(this, at); };
}"""
_HEARD = (_VOICE, _LIVE, _NOTES)
LOST, THINKING = [440, 330, 262], 392


async def listener(visit: Visit, url: str, **options: Any) -> Visitor:
    return await started(visit, url, scripts=_HEARD, **options)


async def said(page: Visitor) -> list[str]:
    found: list[str] = await page.evaluate("window.__said.filter((one) => one !== '(silent)')")
    return found


async def hears(page: Visitor, text: str) -> None:
    await page.page.wait_for_function("text => window.__said.includes(text)", arg=text)


async def test_a_camera_that_goes_and_comes_is_told_by_voice_and_tone(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """The voice says it, and the screen reader does not say it again; with speech off it does."""
    page = await listener(visit, server.base_url)
    await page.press("#speak")
    await set_camera(page.page, mode="frozen")
    await expect(page.notice).to_be_visible(timeout=20_000)
    title = await page.find("#notice-title").inner_text()
    await hears(page, f"{title} {await page.find('#notice-text').inner_text()}")
    await page.comes("window.__notes", LOST)
    await page.show(mode="clock")
    await hears(page, say("voice.camera_back"))
    assert not [one for one in await page.evaluate("window.__announced") if title in one]
    await page.press("#speak")
    await set_camera(page.page, mode="frozen")
    await page.page.wait_for_function(
        "title => window.__announced.some((one) => one.includes(title))", arg=title
    )
    assert (await said(page)).count(say("voice.camera_back")) == 1


async def test_a_connection_that_goes_and_comes_is_told(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """The voice says what the page shows, and that it is back."""
    async with whole_way(server) as (url, relay, cut):
        way = through(relay, HEAL_WITHIN=300, ANSWER_WITHIN=1000)
        page = await listener(visit, url, prepare=way)
        page.expect(NOT_REACHED, GIVEN_UP)
        await page.press("#speak")
        # The part that speaks is there.
        await page.sends("m.speak")
        cut(True)
        await expect(page.notice).to_be_visible(timeout=30_000)
        await page.page.wait_for_function(
            "() => window.__said.some((one) => one.includes('onnection'))"
        )
        await page.comes("window.__notes.slice(0, 3)", LOST)
        cut(False)
        await expect(page.state).to_have_text(say("page.live"), timeout=30_000)
        await hears(page, say("voice.connection_back"))
        await page.leave()


async def test_answers_and_descriptions_are_announced_or_spoken(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Each answer once; one that fails is spoken where answers are. So are descriptions, and a screen
    reader does not say them again; with speech off it does.
    """
    page = await listener(visit, server.base_url)
    await page.ask("What is this?")
    await page.comes("window.__announced.join(' ').split('I see a cup.').length - 1", 1)
    await page.press("#speak")
    model.behaviour = Behaviour.BAD_REQUEST
    sent = await page.send("And this?")
    error = await page.end(sent["id"])
    assert error["type"] == "error"
    await hears(page, error["message"])
    announced = await page.evaluate("window.__announced")
    assert error["message"] not in " ".join(announced)

    model.behaviour = Behaviour.NORMAL
    await page.evaluate("window.__announced.length = 0")
    await page.press(say("chat.describe"))
    await hears(page, "I see a cup.")
    assert "I see a cup." not in " ".join(await page.evaluate("window.__announced"))
    await page.press("#speak")
    model.answer_for = lambda _body, _jpeg: ["I ", "see ", "a ", "lamp."]
    await page.page.wait_for_function(
        "() => window.__announced.some((one) => one.includes('I see a lamp.'))"
    )
    assert "I see a lamp." not in await said(page)


async def test_long_thinking_is_heard(visit: Visit, server: Running, model: FakeOpenAI) -> None:
    """A tone now and then, and a word after some seconds; nothing once the answer speaks. Also where
    what speaks comes after the question, over a slow link.
    """
    tick = 800
    quick = {"TICK_FIRST": tick // 2, "TICK_EVERY": tick, "SAY_AFTER": 3 * tick // 2}

    async def prepare(page: Page) -> None:
        await hurry(page, "states.js", **quick)
        await hurry(page, "slow.js", FIRST=tick)

    page = await listener(visit, server.base_url, prepare=prepare)
    asked = asyncio.Event()

    async def hold(route: Route) -> None:
        await asked.wait()
        await route.continue_()

    await page.page.route("**/voice_out/spoken.js", hold)
    await page.press("#speak")
    model.answer_for = lambda _body, _jpeg: ["", "I ", "see ", "a ", "cup."]
    model.hold()
    since = await page.now()
    await page.send("What is this?")
    await page.got('m.type === "started"')
    asked.set()
    await hears(page, say("chat.thinking"))
    await expect(page.turns.last.locator(".slow")).to_be_visible()
    model.let_go()
    await hears(page, "I see a cup.")
    ticks = (await page.evaluate("window.__notes")).count(THINKING)
    assert 1 <= ticks <= 1 + (await page.now() - since) / tick
    await page.page.wait_for_timeout(tick * 1.5)
    assert (await page.evaluate("window.__notes")).count(THINKING) == ticks
    heard = [*await said(page), *await page.evaluate("window.__announced")]
    assert say("answer.model_busy") not in heard


async def test_tones_can_be_switched_off_and_the_device_keeps_that(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """With the amount of words: a new page of the same device has both, and tells the server."""
    page = await listener(visit, server.base_url)
    await page.settings()
    await page.page.get_by_label(say("settings.verbosity")).select_option(say("settings.short"))
    for words in ("normal", "short"):
        await page.sends(f'm.verbosity === "{words}"')
    await page.page.get_by_label(say("settings.tones")).uncheck()
    await page.button(say("page.done")).click()
    await page.press("#speak")
    await set_camera(page.page, mode="frozen")
    # Few words: the title alone.
    await expect(page.notice).to_be_visible(timeout=20_000)
    await hears(page, await page.find("#notice-title").inner_text())
    assert await page.evaluate("window.__notes") == []
    await page.page.goto("about:blank")
    await page.page.goto(server.base_url)
    await page.evaluate("history.state")
    since = await page.now()
    await page.start()
    await page.sends('m.type === "settings" && m.verbosity === "short"', since=since)
    await page.settings()
    await expect(page.page.get_by_label(say("settings.verbosity"))).to_have_value("short")
    await expect(page.page.get_by_label(say("settings.tones"))).not_to_be_checked()


async def test_answers_have_the_wanted_length(page: Visitor, model: FakeOpenAI) -> None:
    """The model is asked for it."""
    for chosen, words in (
        ("short", "in as few words as possible"),
        ("normal", "in one to three short sentences"),
        ("everything", "leave nothing out"),
    ):
        await page.press(say("settings.menu"))
        length = page.page.get_by_label(say("settings.verbosity"))
        await length.select_option(say(f"settings.{chosen}"))
        await page.button(say("page.done")).click()
        await page.page.keyboard.press("Escape")
        await page.ask("What is this?")
        assert words in model.last.body["messages"][0]["content"]


def never(body: dict[str, Any], _jpeg: bytes | None) -> list[str]:
    """The answer of a model that sees none of the conditions."""
    names = parse_conditions(Seen(body, {}, [], 0.0, 0.0).texts[-1][1])
    entries = [{"id": name, "seen": False, "sure": 0.9, "why": "Not yet."} for name in names]
    return [json.dumps({"watches": entries})]


async def hinder(page: Visitor, model: FakeOpenAI, way: str) -> None:
    match way:
        case "dark":
            await page.show(mode="black")
        case "still":
            await set_camera(page.page, mode="frozen")
        case "gone":
            await model.close()
        case "loading":
            model.behaviour = Behaviour.LOADING
            await page.show(mode=BLUE)


async def help_again(page: Visitor, model: FakeOpenAI, way: str) -> None:
    model.behaviour = Behaviour.NORMAL
    if way == "gone":
        await model.start()
    await page.show(mode=GREY)


async def test_it_says_when_it_cannot_watch_and_when_it_can(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """The reason stands in the list and its heading, and is heard; so is that it goes on."""
    model.answer_for = never
    page = await listener(visit, server.base_url)
    await page.show(mode=GREY, clock=False)
    await page.watch("the kettle boils")
    summary = page.find("#watches-summary")
    await page.find("#watches > summary").click()
    told = "text => window.__announced.some((one) => one.includes(text))"
    for way, reason in (
        ("dark", say("server.watch_dark")),
        ("still", "No new pictures come from the camera."),
        ("gone", "The model is not available right now."),
        ("loading", "The model is being loaded."),
    ):
        await page.evaluate("window.__announced.length = 0")
        cannot, again = f"{say('watch.cannot')} {reason}", say("watch.watching_again")
        try:
            await hinder(page, model, way)
            await expect(summary).to_contain_text(cannot, timeout=30_000)
            await expect(page.find("#watches-list li")).to_contain_text(cannot)
            await page.page.wait_for_function(told, arg=cannot)
        finally:
            await help_again(page, model, way)
        await expect(summary).to_have_text(
            say("watch.watching_for", condition="the kettle boils"), timeout=30_000
        )
        await page.page.wait_for_function(told, arg=again)
        announced = await page.evaluate("window.__announced")
        heard = [text for text in announced if say("watch.cannot") in text or again in text]
        assert heard[-1] == again
        assert {text[: len(cannot)] for text in heard[:-1]} == {cannot}
