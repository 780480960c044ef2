"""The page's part of spoken answers, module by module in headless Chromium."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.client.test_modules import browser, page, run

__all__ = ["browser", "page"]

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

# A page with a voice of its browser's that writes down what it gets, and ends pieces on request
PARTS = """
const log = [], said = [], waiting = [];
const voice = { paused: false, speak: (one) => { said.push(one.text); waiting.push(one); one.onstart(); },
  cancel: () => { said.push("(silent)"); waiting.length = 0; },
  pause() { voice.paused = true; }, resume() { voice.paused = false; } };
Object.defineProperty(window, "speechSynthesis", { value: voice, configurable: true });
window.SpeechSynthesisUtterance = class { constructor(text) { this.text = text; } };
const { Speech } = await import("/client/core/chat/speech.js");
const { Speaking } = await import("/client/features/voice_out/speaking.js");
const speech = new Speech(() => {});
const speaking = new Speaking({ send: (message) => log.push(message), speech, language: () => "en",
  mark: (id, start, end) => log.push([id, start, end]), onChange: () => log.push(speaking.id || "(none)") });
const say = (text, start, end) => speaking.receive({ type: "say", id: "a", text, start, end });
"""


async def test_pieces_are_read_in_turn_and_reported(page: Page) -> None:
    """Each is marked while it is read, and the server hears how far the page is."""
    found = await run(
        page,
        PARTS
        + """
        say("One.", 0, 4); say("Two.", 4, 9);
        waiting.shift().onend();
        return [said, log];
        """,
    )
    assert found == [
        ["One.", "Two."],
        ["a", ["a", 0, 4], ["a", 4, 9], {"type": "speech_progress", "id": "a", "end": 4}],
    ]


async def test_the_end_and_a_stop_leave_nothing_marked(page: Page) -> None:
    """Nor spoken; the news of another answer's end does nothing."""
    found = await run(
        page,
        PARTS
        + """
        say("One.", 0, 4);
        speaking.receive({ type: "speaking", id: "b", state: "stopped", text: "", start: 0, end: 0 });
        const before = speaking.id;
        speaking.receive({ type: "speaking", id: "a", state: "stopped", text: "", start: 0, end: 0 });
        return [before, speaking.id, said, log.slice(2)];
        """,
    )
    assert found == ["a", "", ["One.", "(silent)"], [["a", 0, 0], "(none)"]]


async def test_a_lowered_answer_pauses_the_browsers_voice(page: Page) -> None:
    found = await run(
        page,
        PARTS
        + """
        const tell = (state) => {
          speaking.receive({ type: "speaking", id: "a", state, text: "", start: 0, end: 0 });
          return voice.paused;
        };
        say("One.", 0, 4);
        const paused = [tell("lowered"), tell("speaking"), tell("paused")];
        speaking.hush();
        return [paused, voice.paused, log.at(-3)];
        """,
    )
    assert found == [[True, False, True], False, {"type": "cancel", "id": "a"}]


async def test_a_paused_answer_is_silent_with_the_message(page: Page) -> None:
    """The page does not wait for the sound that is on its way; what goes on, and the next answer,
    are heard.
    """
    found = await run(
        page,
        "const sounds = [], Plain = window.Audio;"
        "window.Audio = class extends Plain { constructor() { super(); sounds.push(this); } };"
        + PARTS
        + """
        const told = (id, state) => {
          speaking.receive({ type: "speaking", id, state, text: "", start: 0, end: 0 });
          return sounds[0].muted;
        };
        const heard = [told("a", "speaking"), told("a", "lowered"), told("a", "paused"),
          told("a", "speaking"), told("a", "paused"), told("a", "stopped"), told("b", "speaking")];
        speaking.hush();
        return [sounds.length, heard, sounds[0].muted];
        """,
    )
    assert found == [1, [False, False, True, False, True, True, False], True]


async def test_the_wish_goes_to_each_new_socket_once(page: Page) -> None:
    found = await run(
        page,
        PARTS
        + """
        speaking.connected(true); speaking.connected(true);
        speaking.connected(false); speaking.connected(true);
        speaking.off();
        return log;
        """,
    )
    wish = {"type": "settings", "speak": True}
    assert found == [wish, wish, {"type": "settings", "speak": False}]


async def test_a_browser_without_a_voice_says_at_once_that_it_is_done(page: Page) -> None:
    found = await run(
        page,
        PARTS
        + """
        delete window.SpeechSynthesisUtterance;
        say("One.", 0, 4);
        return [said, log.at(-1)];
        """,
    )
    assert found == [[], {"type": "speech_progress", "id": "a", "end": 4}]


async def test_corrected_words_cancel_nothing(page: Page) -> None:
    """Their question has the id of the answer that is spoken: a cancel would stop the new one."""
    found = await run(
        page,
        PARTS
        + """
        const heads = ["voice_in", "voice_out"].map((name) => import(`/client/features/${name}/index.js`));
        const [talk, speak] = await Promise.all(heads);
        for (const id of ["speak", "talk"]) {
          const button = document.createElement("button");
          button.id = id;
          document.body.append(button);
        }
        const sent = [];
        const conversation = { correct: (turn, text) => sent.push(text), byId: () => null };
        const faces = {};
        const page = {
          chat: { conversation, speech, view: {}, renderRunning() {} },
          part: () => ({ here: speaking, open: async () => {}, ahead: async () => {} }),
          send: (message) => sent.push(message), offer: (name, face) => (faces[name] = face), take() {}, when() {},
        };
        speak.register(page);
        talk.register(page);
        await page.voice.want(true);
        say("One.", 0, 4);
        log.length = 0;
        faces.voice_in.correct({ id: "a" }, "right words");
        return [sent, log, speaking.id];
        """,
    )
    assert found == [
        [{"type": "correct_transcript", "id": "a", "text": "right words"}, "right words"],
        [["a", 0, 0], "(none)"],
        "",
    ]


async def test_a_remark_stops_for_somebody_who_talks(page: Page) -> None:
    """One that waits for the end of an answer, too; the answer goes on."""
    found = await run(
        page,
        PARTS
        + """
        speech.remark("A step.", true);
        speech.hush();
        const first = [...said, speech.busy];
        say("One.", 0, 4); say("Two.", 4, 8);
        speech.remark("A door.", true);
        speech.hush();
        waiting.shift().onend(); waiting.shift().onend();
        return [first, said.slice(2), speech.busy];
        """,
    )
    assert found == [["A step.", "(silent)", False], ["One.", "Two."], False]
