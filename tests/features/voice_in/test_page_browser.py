"""Questions that the browser's own recogniser understands, where the server has none: consent, states, and the level."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from server.features.voice_in.service import ListeningService
from tests.browser.visitor import Visit, Visitor, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_words import FakeWords
from tests.support.running import Running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Stands in for the browser's recogniser, which needs its maker's service: a test says what it hears.
EAR = """() => {
  window.ears = [];
  window.SpeechRecognition = window.webkitSpeechRecognition = class {
    constructor() { window.ears.push(this); }
    start() { this.runs = true; setTimeout(() => this.runs && this.onaudiostart?.(), 0); }
    abort() { this.runs = false; setTimeout(() => this.onend?.(), 0); }
  };
  window.hear = (transcript, isFinal) =>
    window.ears.at(-1).onresult({ results: [Object.assign([{ transcript }], { isFinal })] });
}"""
RUNNING = "window.ears.filter((one) => one.runs).length"


def brand(name: str) -> str:
    return f"Object.defineProperty(navigator, 'userAgentData', {{ value: {{ brands: [{{ brand: '{name}' }}] }} }});"


async def talk(page: Visitor) -> None:
    """Press Talk, agree, and wait until it listens."""
    await page.button(say("voice.talk")).click()
    await page.button(say("dialogs.allow")).click()
    await expect(page.find("#talking-words")).to_have_text(say("voice.listening"))


async def open_page(visit: Visit, server: Running, *scripts: str) -> Visitor:
    return await started(visit, server.base_url, scripts=[EAR, *scripts])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Google Chrome", say("voice.heard_by", browser="Google Chrome", maker="Google")),
        ("Microsoft Edge", say("voice.heard_by", browser="Microsoft Edge", maker="Microsoft")),
        ("Chromium", say("voice.heard_by_maker")),
    ],
)
async def test_nothing_is_heard_before_consent(
    visit: Visit, server: Running, name: str, words: str
) -> None:
    """It names who hears it, where that is certain."""
    page = await open_page(visit, server, brand(name))
    talk = page.button(say("voice.talk"))
    await talk.click()
    await expect(page.find("#disclosure-title")).to_have_text(words)
    await expect(page.find("#disclosure-once")).to_have_text(say("dialogs.agreed_kept"))
    await page.button(say("page.not_now")).click()
    await expect(page.find("#disclosure-dialog")).to_be_hidden()
    await expect(talk).to_have_attribute("aria-pressed", "false")
    assert await page.evaluate("window.ears.length") == 0
    await talk.click()
    await expect(page.find("#disclosure-title")).to_have_text(words)


async def test_consent_is_kept_and_revoked_in_the_settings(visit: Visit, server: Running) -> None:
    page = await open_page(visit, server)
    await talk(page)
    await page.page.reload()
    await page.start()
    await page.button(say("voice.talk")).click()
    await expect(page.find("#talking-words")).to_have_text(say("voice.listening"))
    await page.settings()
    choice = page.find("#settings-browser-speech")
    await expect(choice).to_be_checked()
    await choice.uncheck()
    assert await page.evaluate(RUNNING) == 0
    await page.button(say("page.done")).click()
    await expect(page.find("#talking")).to_be_hidden()
    await page.button(say("voice.talk")).click()
    await expect(page.find("#disclosure-dialog")).to_be_visible()


async def test_what_was_said_is_a_typed_question(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Words appear while they are said; nothing listens until the answer is over, and then it goes on."""
    model.hold()
    page = await open_page(visit, server)
    await talk(page)
    words = page.find("#talking-words")
    await page.evaluate("window.hear('What is', false)")
    await expect(words).to_have_text("What is")
    await expect(page.find("#talking")).to_have_attribute("data-state", "hearing")
    await page.evaluate("window.hear('What is this?', true)")
    sent = await page.sent("chat")
    assert sent["content"] == "What is this?"
    await expect(words).to_have_text(say("voice.answering"))
    await expect(page.find("#talking[data-heard]")).to_have_count(0)
    assert await page.evaluate(RUNNING) == 0
    model.let_go()
    await page.response(sent["id"])
    await expect(words).to_have_text(say("voice.listening"))
    assert await page.evaluate(RUNNING) == 1
    # Nobody speaks.
    await page.evaluate("window.ears.at(-1).onend()")
    await expect(page.find("#talking")).to_be_hidden()
    await expect(page.button(say("voice.talk"))).to_have_attribute("aria-pressed", "false")


async def test_a_spoken_command_begins_a_watch(visit: Visit, server: Running) -> None:
    """As the same words do that are typed; then it listens again."""
    page = await open_page(visit, server)
    await talk(page)
    await page.evaluate("window.hear('Tell me when the kettle boils', true)")
    assert (await page.sent("watch"))["condition"] == "the kettle boils"
    await expect(page.find("#talking-words")).to_have_text(say("voice.listening"))


async def test_the_level_follows_the_sound(visit: Visit, server: Running) -> None:
    level = "Number(document.querySelector('#talking > b').style.getPropertyValue('--level'))"
    page = await open_page(visit, server)
    await talk(page)
    assert await page.evaluate(level) == 0
    await page.evaluate("window.ears.at(-1).onspeechstart()")
    assert await page.evaluate(level) > 0.5
    await expect(page.find("#talking-words")).to_have_text(say("voice.hearing"))
    await page.evaluate("window.ears.at(-1).onspeechend()")
    assert await page.evaluate(level) == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [("not-allowed", "voice.denied"), ("network", "voice.browser_failed")],
)
async def test_a_failure_is_explained(
    visit: Visit, server: Running, error: str, words: str
) -> None:
    page = await open_page(visit, server)
    await talk(page)
    await page.evaluate(f"window.ears.at(-1).onerror({{ error: '{error}' }})")
    await expect(page.find(".note")).to_have_text(say(words))
    await expect(page.find("#talking")).to_be_hidden()


async def test_another_recogniser_is_preferred(
    visit: Visit, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own, when it becomes ready: nothing goes to the browser's maker any more."""
    page = await open_page(visit, server)
    await talk(page)
    listening: Any = server.program.added.provided[ListeningService]
    monkeypatch.setattr(listening.asr, "settled", FakeWords("No"))
    for session in server.program.sessions.list_all():
        session.greet()
    await expect(page.find("#talking")).to_be_hidden()
    assert await page.evaluate(RUNNING) == 0
