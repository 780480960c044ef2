"""Questions that are spoken: espeak-ng talks into Chromium's microphone, and the page shows the answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from benchmarks.browser import chromium, page_with_camera
from scripts.bench.voice_sounds import write_sound
from server.features.voice_in.recogniser import WordTime
from server.features.voice_in.service import ListeningService
from server.features.voice_out.voices import VoiceService
from server.shared.sound.line import VoiceLine
from tests.browser.fixtures import SMALL_CAMERA
from tests.browser.test_page_sound import until
from tests.browser.test_page_states import _NOTES
from tests.browser.visitor import SHELL, Visitor, hurry, slow_down
from tests.features.voice_out.test_page_speaking import _RECORD, _VOICE, ANSWER, recorded
from tests.support.clients import metric, soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_words import FakeWords
from tests.support.running import Running, with_model
from tests.support.sounds import (
    SENTENCES,
    make_hiss,
    make_silence,
    mix,
    needs_espeak,
    synthesise_espeak,
)
from tests.support.speech_server import SpeechServer
from tests.support.words import say

# The tones that it listens, and that it has heard, in hertz
LISTENING, HEARD = [523, 784], 784

pytestmark = [needs_espeak, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a room, a question, a pause, then the room again."""
    path = tmp_path_factory.mktemp("speech") / "question.wav"
    sound = np.concatenate([make_silence(1), synthesise_espeak(SENTENCES[0]), make_silence(30)])
    return write_sound(path, mix(sound, make_hiss(len(sound) / 16_000)))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def talking_browser(speech: Path) -> AsyncIterator[Browser]:
    args = [
        "--no-proxy-server",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={speech}%noloop",
    ]
    async with chromium(args=args, executable=SHELL) as browser:
        yield browser


@asynccontextmanager
async def person(browser: Browser, server: Running, **hurried: int) -> AsyncIterator[Visitor]:
    """Somebody at the page, whose browser may use the microphone. `hurried`: constants of
    listening.js.
    """
    async with AsyncExitStack() as stack:
        page = await stack.enter_async_context(
            page_with_camera(
                browser, context_options={"permissions": ["microphone"]}, **SMALL_CAMERA
            )
        )
        await slow_down(page)
        if hurried:
            await hurry(page, "voice_in/listening.js", **hurried)
        visitor = Visitor(page, server.base_url)
        await visitor.open()
        yield visitor
        assert visitor.problems == []
        await visitor.leave()


def understood(server: Running, monkeypatch: pytest.MonkeyPatch, words: FakeWords) -> None:
    """Let all later sessions of a server use these words."""
    monkeypatch.setattr(server.program.added.provided[ListeningService].asr, "settled", words)


async def test_it_says_what_became_of_a_question(
    talking_browser: Browser, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words that take long are said to be on their way; without any it asks for them again."""
    words = FakeWords("")
    words.early, words.hold = False, asyncio.Event()
    understood(server, monkeypatch, words)
    async with person(talking_browser, server, SLOW=500, UNCLEAR=1500) as visitor:
        await visitor.start()
        await visitor.button(say("voice.talk")).click()
        state = visitor.find("#talking-words")
        await expect(state).to_have_text(say("voice.still_listening"), timeout=20_000)
        words.hold.set()
        await expect(state).to_have_text(say("voice.unclear"))
        await expect(state).to_have_text(say("voice.listening"), timeout=10_000)


async def test_a_spoken_question_is_answered(
    talking_browser: Browser, server: Running, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tap on Talk; then speech, its end, words, the picture of "this", the answer; another tap
    mutes. Tones tell that it listens, and that it has heard.
    """
    words = FakeWords("What is this in front of me?")
    words.times = (
        WordTime("What", 0.3, 0.5), WordTime("is", 0.5, 0.6), WordTime("this", 0.6, 0.8),
        WordTime("in", 0.8, 0.9), WordTime("front", 0.9, 1.2), WordTime("of", 1.2, 1.3),
        WordTime("me?", 1.3, 1.5),
    )  # fmt: skip
    words.hold = asyncio.Event()
    understood(server, monkeypatch, words)
    async with person(talking_browser, server) as visitor:
        await visitor.evaluate(f"({_NOTES})()")
        await visitor.start()
        talk = visitor.button(say("voice.talk"))
        await expect(talk).to_have_attribute("aria-pressed", "false")
        await talk.click()
        await expect(talk).to_have_attribute("aria-pressed", "true")
        await expect(visitor.find("#talking[data-heard]")).to_be_visible()
        notes = "wanted => JSON.stringify(window.__notes) === JSON.stringify(wanted)"
        await visitor.page.wait_for_function(notes, arg=[*LISTENING, HEARD])
        words.hold.set()
        heard = await visitor.got('m.type === "transcript" && m.final')
        assert heard["text"] == "What is this in front of me?"
        response = await visitor.response(heard["id"])
        assert response["text"] == "I see a cup."
        assert response["frame"]["word"] == "this"
        shot = visitor.turns.last.locator(".shot")
        await expect(shot).to_have_attribute("data-word", "“this”")
        await expect(shot.locator("img")).to_have_attribute(
            "alt", say("chat.there_when_said", word="this")
        )
        # All of the question came over the connection.
        length = len(synthesise_espeak(SENTENCES[0])) / 16_000
        assert length <= len(words.heard[0]) / 16_000 <= length + 2
        states = [
            entry["message"]["state"]
            for entry in await visitor.log()
            if entry["way"] == "got" and entry["message"]["type"] == "listening"
        ]
        # A newer state replaces one that waits, so that short ones may not be seen.
        assert {"waiting", "speech"} <= set(states)
        since = await visitor.now()
        await talk.click()
        await expect(visitor.find("#talking")).to_be_hidden()
        await visitor.got('m.type === "listening" && m.state === "off"', since=since)
        *_, session = server.program.sessions.list_all()
        await soon(lambda: not VoiceLine.of(session.lines).on_sound)


async def test_speech_over_an_answer_stops_it(
    talking_browser: Browser, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """espeak-ng speaks over espeak-ng: the page is silent, the model is stopped, and the next question
    knows what was heard of the answer, and no more.
    """
    model.answer_for = lambda _body, _jpeg: [f"{word} " for word in 4 * ANSWER]
    model.between_tokens = 0.08
    words = FakeWords("And what is behind it?")
    words.hold = asyncio.Event()
    async with (
        SpeechServer() as speech_server,
        with_model(model, speech_base_url=speech_server.base_url) as server,
    ):
        voice = server.program.added.provided[VoiceService].voice
        assert voice is not None
        await until(lambda: voice.ready)
        understood(server, monkeypatch, words)
        async with person(talking_browser, server) as visitor:
            await visitor.start()
            await visitor.press(say("chat.read_aloud"))
            *_, session = server.program.sessions.list_all()
            await until(
                lambda: session.part("voice_out").wanted and VoiceLine.of(session.lines).connected
            )
            await visitor.evaluate(_RECORD)
            sent = await visitor.send("What do you see?")
            await until(lambda: VoiceLine.of(session.lines).player.played > 0.5)
            spoken_over = model.last
            await visitor.button(say("voice.talk")).click()
            assert (await visitor.end(sent["id"]))["finish_reason"] == "cancelled"
            assert metric(server, "speech_stopped_total", reason="voice") == 1
            await soon(lambda: spoken_over.closed_early)
            await visitor.page.wait_for_timeout(400)
            stopped = await visitor.now()
            await visitor.page.wait_for_timeout(600)
            heard, times, _ = await recorded(visitor)
            later = heard[int(np.searchsorted(times, stopped)) * len(heard) // len(times) :]
            assert np.abs(heard).max() > 0.05
            assert len(later) == 0 or np.abs(later).max() < 0.01
            model.answer_for = lambda _body, _jpeg: ["A lamp."]
            words.hold.set()
            asked = await visitor.got('m.type === "transcript" && m.final && m.text')
            assert (await visitor.response(asked["id"]))["text"] == "A lamp."
            said = [text for role, text in model.last.texts if role == "assistant"]
            assert said[-1].startswith("There is a red")
            assert len(said[-1].split()) < 3 * len(ANSWER)


async def test_heard_words_are_corrected_before_and_after_the_answer(
    talking_browser: Browser, server: Running, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One turn with the new words, asked about the picture of the old ones."""
    understood(server, monkeypatch, FakeWords("What is this in front of me?"))
    model.first_token = 20.0
    async with person(talking_browser, server) as visitor:
        await visitor.start()
        await visitor.button(say("voice.talk")).click()
        heard = await visitor.got('m.type === "transcript" && m.final')
        await visitor.got(f'm.type === "started" && m.id === "{heard["id"]}"')
        asked = visitor.turns.last.locator(".asked")
        for words, wait in (("What colour is it?", 0.0), ("Is it warm?", 0.0)):
            model.first_token = wait
            since = await visitor.now()
            await visitor.button(say("answer.correct_question")).click()
            field = visitor.page.get_by_label(say("answer.question_words"), exact=True)
            await expect(field).to_be_focused()
            await field.fill(words)
            await field.press("Enter")
            sent = await visitor.sent("correct_transcript", since=since)
            assert (sent["id"], sent["text"]) == (heard["id"], words)
            ended = (
                f'm.type === "response" && m.id === "{heard["id"]}" && m.finish_reason === "stop"'
            )
            await visitor.got(ended, since=since)
            await expect(asked).to_contain_text(words)
            await expect(visitor.turns.last.locator(".text")).to_have_text("I see a cup.")
            assert words in model.last.texts[-1][1]
        assert len({one.jpeg for one in list(model.requests)[-3:]}) == 1
        await expect(visitor.turns).to_have_count(1)


async def test_orders_are_spoken_in_place_of_questions(
    talking_browser: Browser, server: Running, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last answer again, a watch, a running description and its end, the way to a thing, a held
    picture: nobody has to see a button. The page says what they did, also after the last one, which
    turns the camera off.
    """
    words = FakeWords("What is this?")
    understood(server, monkeypatch, words)
    async with person(talking_browser, server) as visitor:
        page, talk = visitor.page, visitor.button(say("voice.talk"))
        await visitor.evaluate(f"({_VOICE})()")
        await visitor.start()

        async def speak(wanted: str) -> dict[str, Any]:
            since = await visitor.now()
            await talk.click()
            return await visitor.got(wanted, since=since, timeout=60)

        async def obey(text: str, order: str, said: str = "") -> dict[str, Any]:
            # A busy machine may hear one sentence as two.
            words.texts = [text]
            message = await speak(f'm.type === "transcript" && m.order === "{order}"')
            if said:
                await page.wait_for_function("said => window.__said.includes(said)", arg=said)
            if order != "camera_off":
                await talk.click()
            return message

        await speak('m.type === "response" && m.kind === "chat"')
        await talk.click()
        await obey("Say that again.", "again", "I see a cup.")
        ordered = await obey("Tell me when the kettle boils.", "watch")
        assert ordered["condition"] == "the kettle boils"
        await visitor.got('m.type === "watches" && m.watches[0]?.condition === "the kettle boils"')
        describe = visitor.find("#describe")
        await obey("Describe.", "describe")
        await expect(describe).to_have_attribute("aria-pressed", "true")
        await obey("Stop.", "stop")
        await expect(describe).to_have_attribute("aria-pressed", "false")
        await visitor.press(say("chat.read_aloud"))
        await obey("Guide me to the cup.", "guide_to", say("lead.looking", thing="a cup"))
        assert (await visitor.sent("goal"))["thing"] == "the cup"
        hold = page.locator("#hold")
        await obey("Hold the picture.", "hold", f"{say('page.picture_held')}.")
        await expect(hold).to_have_attribute("aria-pressed", "true")
        *_, session = server.program.sessions.list_all()
        await soon(lambda: session.questions.held_frame is not None)
        await obey("Camera off.", "camera_off", say("server.camera_off"))
        await expect(hold).to_be_hidden()
        assert await page.evaluate("window.__said.at(-1)") == say("server.camera_off")
        # The question and the description: no order is a question.
        asked = await visitor.turns.locator(".asked").all_inner_texts()
        assert len(asked) == 2, asked
        assert len([text for text in asked if say("answer.correct") in text or "What" in text]) == 1


async def test_the_level_is_shown_and_no_listening_during_an_answer(
    talking_browser: Browser, server: Running, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bars follow the voice; who talks while an answer comes interrupts it."""
    understood(server, monkeypatch, FakeWords("What is this?"))
    model.hold()
    async with person(talking_browser, server) as visitor:
        await visitor.start()
        await visitor.button(say("voice.talk")).click()
        level = "() => Number(document.querySelector('#talking > b')?.style.getPropertyValue('--level')) > 0.3"
        await visitor.page.wait_for_function(level)
        heard = await visitor.got('m.type === "transcript" && m.final')
        words = visitor.find("#talking-words")
        await expect(words).to_have_text(say("voice.answering_over"))
        model.let_go()
        await visitor.response(heard["id"])
        await expect(words).to_have_text(say("voice.listening"))


async def test_a_held_button_is_heard_and_nothing_else(
    talking_browser: Browser, server: Running, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice is kept on the device; Space holds the button, too."""
    words = FakeWords("What is this?")
    understood(server, monkeypatch, words)
    async with person(talking_browser, server) as visitor:
        await visitor.start()
        await visitor.button(say("voice.talk")).click()
        await visitor.button(say("voice.change")).click()
        await visitor.page.get_by_label(say("voice.hold_button")).check()
        strip = visitor.find("#talking")
        await expect(strip).not_to_have_attribute("data-heard", re.compile(".*"))
        hold = visitor.button(say("voice.hold_to_talk"))
        await hold.focus()
        await visitor.page.keyboard.down(" ")
        await expect(strip).to_have_attribute("data-heard", "")
        sent = await visitor.sent("push_to_talk")
        assert sent["down"] is True
        await visitor.page.wait_for_timeout(3500)
        await visitor.page.keyboard.up(" ")
        heard = await visitor.got('m.type === "transcript" && m.final')
        response = await visitor.response(heard["id"])
        assert response["text"] == "I see a cup."
        await expect(strip).not_to_have_attribute("data-heard", re.compile(".*"))
        kept = json.loads(await visitor.evaluate("localStorage.getItem('qwen-camera-settings')"))
        assert (kept["talk"], kept["silence"]) == ("push", 500)


async def test_a_page_that_cannot_listen_has_no_microphone(
    talking_browser: Browser, builtin: Running
) -> None:
    """Neither server nor browser turns speech into words, and the engine does not hear: Send is in its place."""
    async with person(talking_browser, builtin) as visitor:
        await visitor.page.add_init_script(
            "delete window.SpeechRecognition; delete window.webkitSpeechRecognition;"
        )
        await visitor.page.reload()
        await visitor.start()
        await expect(visitor.button(say("chat.send"))).to_be_visible()
        await expect(visitor.button(say("voice.talk"))).to_be_hidden()


async def test_a_refused_microphone_is_explained(
    talking_browser: Browser, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person said no."""
    understood(server, monkeypatch, FakeWords("No"))

    async def refuse(page: Page) -> None:
        await page.evaluate(
            "() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); }; }"
        )

    async with person(talking_browser, server) as visitor:
        await visitor.start()
        await refuse(visitor.page)
        await visitor.button(say("voice.talk")).click()
        await expect(visitor.find(".note")).to_contain_text(say("voice.denied"))
        await expect(visitor.button(say("voice.talk"))).to_have_attribute("aria-pressed", "false")
