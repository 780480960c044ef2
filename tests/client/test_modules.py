"""The page's modules one by one in headless Chromium, with a server made of routes."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, WebSocketRoute

from benchmarks.browser import chromium
from server.access.request_order import Attempt
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

CLIENT = Path(__file__).resolve().parents[2] / "client"
# Nothing listens there: every request is answered by a route. localhost counts as secure.
ORIGIN = "http://localhost:9"

PROFILE = """
const profile = (max_framerate, max_bitrate) =>
  ({max_framerate, max_bitrate, degradation_preference: "maintain-resolution", content_hint: "detail"});
const plan = (ramp = [], awake_ms = 200, settle = []) =>
  ({idle: profile(2, 100000), awake: profile(30, 2500000), ramp, settle, awake_ms});
const later = ms => new Promise(resolve => setTimeout(resolve, ms));
// A sender as the browsers have it: parameters have to be fresh, and one call at a time.
class FakeSender {
  calls = []; frames = 0; busy = false; fresh = false; kept = {}; refuse = false; ignore = false; delay = 5;
  track = {contentHint: ""};
  getParameters() { this.fresh = true; return {encodings: [{...this.kept}]}; }
  async setParameters(p) {
    if (this.busy || !this.fresh) throw new Error("not serial");
    if (this.refuse) throw new Error("refused");
    this.busy = true; this.fresh = false;
    this.calls.push({...p.encodings[0], degradation: p.degradationPreference});
    await later(this.delay);
    if (!this.ignore) this.kept = p.encodings[0];
    this.busy = false;
  }
  async getStats() { return new Map([["a", {type: "outbound-rtp", framesSent: this.frames}]]); }
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """An empty page from which the client's modules can be imported."""

    async def serve(route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN).partition("?")[0]
        if path.startswith("/client/"):
            file = CLIENT / path.removeprefix("/client/")
            kind = mimetypes.guess_type(file.name)[0] or "text/plain"
            await route.fulfill(body=file.read_bytes(), content_type=kind)
        else:
            await route.fulfill(body="<!doctype html>", content_type="text/html")

    opened = await browser.new_page()
    await opened.route("**/*", serve)
    await opened.goto(ORIGIN)
    yield opened
    await opened.unroute_all(behavior="wait")
    await opened.close()


@pytest_asyncio.fixture(loop_scope="module")
async def held(page: Page) -> AsyncIterator[list[Route]]:
    """Requests that a test leaves unanswered; they are aborted after it."""
    routes: list[Route] = []
    yield routes
    for route in routes:
        await route.abort()


async def run(page: Page, body: str) -> Any:
    """Run the body of an async function on the page; what it returns."""
    return await page.evaluate("async () => {" + PROFILE + body + "}")


async def test_setting_follows_the_ramp(page: Page) -> None:
    """Each step of the ramp, and of the way back, holds from its time on; the last one stays."""
    found = await run(
        page,
        """
        const {settingAt} = await import("/client/core/live/sender.js");
        const ramp = [{at_ms: 0, max_bitrate: 1000}, {at_ms: 300, max_bitrate: 2000}, {at_ms: 600, max_bitrate: 3000}];
        const settle = [{at_ms: 0, max_bitrate: 9000}, {at_ms: 500, max_bitrate: 8000}];
        const at = (awake, since, steps = ramp, back = []) => {
          const {setting, next} = settingAt(plan(steps, 200, back), awake, since);
          return [setting.framerate, setting.bitrate, next === Infinity ? null : next];
        };
        return [at(false, 0), at(false, 0, ramp, settle), at(false, 500, ramp, settle), at(false, Infinity, ramp, settle), at(true, 0), at(true, 299), at(true, 300), at(true, 9000), at(true, 0, [])];
        """,
    )
    assert found == [
        [2, 100000, None],
        [2, 9000, 500],
        [2, 8000, None],
        [2, 8000, None],
        [30, 1000, 300],
        [30, 1000, 300],
        [30, 2000, 600],
        [30, 3000, None],
        [30, 2500000, None],
    ]


async def test_frame_rates_are_whole_and_at_least_one(page: Page) -> None:
    """As Safari wants them; a track without contentHint and a sender without encodings (Firefox's)
    do as well.
    """
    found = await run(
        page,
        """
        const {SenderControl, settingAt} = await import("/client/core/live/sender.js");
        const rates = [0.1, 0.6, 2.4, 29.7].map((rate) =>
          settingAt({...plan(), idle: profile(rate, 1000.5)}, false, 0).setting);
        const sender = new FakeSender();
        sender.track = {};
        sender.getParameters = function () { this.fresh = true; return {encodings: []}; };
        const control = new SenderControl({limitRate: async () => {}});
        control.attach(sender, plan());
        await later(20);
        return {rates: rates.map((s) => s.framerate), bits: rates[0].bitrate, calls: sender.calls, track: sender.track};
        """,
    )
    assert found["rates"] == [1, 1, 2, 30]
    assert isinstance(found["bits"], int)
    assert [call["maxFramerate"] for call in found["calls"]] == [2]
    assert found["track"] == {}


async def test_waking_calls_the_browser_at_once(page: Page) -> None:
    """setParameters is called before wake() returns, so a question sent right after it is behind
    it.
    """
    found = await run(
        page,
        """
        const {SenderControl} = await import("/client/core/live/sender.js");
        const sender = new FakeSender();
        const control = new SenderControl({limitRate: async () => {}});
        control.attach(sender, plan());
        await later(50);
        const before = sender.calls.length;
        control.wake();
        return [sender.calls.length - before, sender.calls.at(-1).maxFramerate, sender.track.contentHint];
        """,
    )
    assert found == [1, 30, "detail"]


async def test_wakes_are_one_and_idle_comes_back(page: Page) -> None:
    """Many causes in a row are one change up and one down, each with fresh parameters, never two at
    a time.
    """
    found = await run(
        page,
        """
        const {SenderControl} = await import("/client/core/live/sender.js");
        const sender = new FakeSender();
        const control = new SenderControl({limitRate: async () => {}});
        control.attach(sender, plan([], 200));
        await later(30);
        for (let i = 0; i < 10; i++) { control.wake(); await later(20); }
        const awake = control.awake;
        await later(400);
        return [sender.calls.map(call => call.maxFramerate), awake, control.awake];
        """,
    )
    assert found == [[2, 30, 2], True, False]


async def test_bits_fall_step_by_step_after_waking(page: Page) -> None:
    """Not before anything woke it, and again after each wake; the steps are followed to the last
    one.
    """
    found = await run(
        page,
        """
        const {SenderControl} = await import("/client/core/live/sender.js");
        const sender = new FakeSender();
        const control = new SenderControl({limitRate: async () => {}});
        const settle = [{at_ms: 0, max_bitrate: 900000}, {at_ms: 60, max_bitrate: 400000}, {at_ms: 120, max_bitrate: 100000}];
        control.attach(sender, plan([], 60, settle));
        await later(250);
        const rounds = [];
        for (let round = 0; round < 2; round++) {
          sender.calls.length = 0;
          control.wake();
          await later(500);
          rounds.push(sender.calls.map(c => [c.maxFramerate, c.maxBitrate]));
        }
        return rounds;
        """,
    )
    way = [[30, 2500000], [2, 900000], [2, 400000], [2, 100000]]
    assert found == [way, way]


async def test_newest_wish_wins(page: Page) -> None:
    """Changes that come while a call is under way are not queued up: the last one is applied."""
    found = await run(
        page,
        """
        const {SenderControl} = await import("/client/core/live/sender.js");
        const sender = new FakeSender();
        sender.delay = 100;
        const control = new SenderControl({limitRate: async () => {}});
        control.attach(sender, plan());
        for (const rate of [3, 4, 5, 6]) control.follow({...plan(), idle: profile(rate, 100000)});
        await later(350);
        return sender.calls.map(call => call.maxFramerate);
        """,
    )
    assert found == [2, 6]


async def test_the_server_can_wake(page: Page) -> None:
    """A sender message with wake_ms raises the camera for that long, also beyond the usual time."""
    found = await run(
        page,
        """
        const {SenderControl} = await import("/client/core/live/sender.js");
        const sender = new FakeSender();
        const control = new SenderControl({limitRate: async () => {}});
        control.attach(sender, plan([], 50));
        await later(20);
        control.follow({...plan([], 50), wake_ms: 300});
        await later(150);
        const still = control.awake;
        await later(300);
        return [still, control.awake, sender.calls.map(call => call.maxFramerate)];
        """,
    )
    assert found == [True, False, [2, 30, 2]]


async def test_a_rate_that_is_not_followed_is_set_at_the_camera(page: Page) -> None:
    """A browser that takes the parameters and sends 30 a second all the same gets the limit at its
    camera.
    """
    found = await run(
        page,
        """
        const {SenderControl} = await import("/client/core/live/sender.js");
        const sender = new FakeSender();
        const limits = [];
        const control = new SenderControl({limitRate: async rate => { limits.push(rate); }});
        const camera = setInterval(() => { sender.frames += limits.length ? 0 : 3; }, 100);
        control.attach(sender, plan());
        await later(2900);
        clearInterval(camera);
        return [control.method, limits];
        """,
    )
    assert found == ["constraints", [2]]


async def test_nothing_that_works_leaves_the_camera_alone(page: Page) -> None:
    """The camera stays at full rate when neither parameters nor constraints work."""
    found = await run(
        page,
        """
        const {SenderControl} = await import("/client/core/live/sender.js");
        const sender = new FakeSender();
        sender.refuse = true;
        const limits = [];
        const control = new SenderControl({limitRate: async rate => { limits.push(rate); }});
        const camera = setInterval(() => { sender.frames += 3; }, 100);
        control.attach(sender, plan());
        await later(5600);
        clearInterval(camera);
        return [control.method, limits];
        """,
    )
    assert found == ["none", [2, 30]]


async def test_what_is_no_message_is_ignored(page: Page) -> None:
    """Text that is not JSON, not an object or without a type gives null, and nothing throws."""
    found = await run(
        page,
        """
        const {parse} = await import("/client/core/live/api.js");
        const raw = ["{", "null", "7", "[]", '{"type":7}', '{"type":"pong","at":1}', new ArrayBuffer(2)];
        return raw.map(text => parse(text)?.type ?? null);
        """,
    )
    assert found == [None, None, None, None, None, "pong", None]


CONVERSATION = """
const {Conversation} = await import("/client/core/chat/conversation.js");
const gone = [];
const talk = new Conversation({onTurn: () => {}, onGone: turn => gone.push(turn.id)});
const frame = {id: "f1", thumbnail: "data:"};
const response = (id, text, finish_reason = "stop", kind = "chat") =>
  ({type: "response", id, text, kind, finish_reason, frame, timings: {}, usage: {}});
"""


async def test_answers_stream_into_their_turn(page: Page) -> None:
    """Started brings the frame, deltas add up, the response is the whole; late ones for an ended
    turn change nothing.
    """
    found = await run(
        page,
        CONVERSATION
        + """
        talk.ask("q1", "What?", "auto", true);
        const seen = [];
        const note = () => seen.push([talk.turns[0].state, talk.turns[0].text, talk.turns[0].frame?.id ?? null]);
        talk.receive({type: "started", id: "q1", kind: "chat", frame}); note();
        talk.receive({type: "delta", id: "q1", text: "A "}); note();
        talk.receive({type: "delta", id: "q1", text: "cat"}); note();
        talk.receive({type: "delta", id: "other", text: "x"});
        talk.receive(response("q1", "A cat.")); note();
        talk.receive({type: "delta", id: "q1", text: "late"});
        talk.receive({type: "error", id: "q1", code: "busy", message: "late", retryable: true}); note();
        return [seen, talk.running];
        """,
    )
    assert found == [
        [
            ["thinking", "", "f1"],
            ["answering", "A ", "f1"],
            ["answering", "A cat", "f1"],
            ["done", "A cat.", "f1"],
            ["done", "A cat.", "f1"],
        ],
        None,
    ]


async def test_words_of_a_spoken_question_grow_into_a_turn(page: Page) -> None:
    """It can be corrected once all words are there and until the next question; silence leaves nothing."""
    found = await run(
        page,
        CONVERSATION
        + """
        const seen = [];
        const note = () => seen.push(talk.turns.map(turn => [turn.question, turn.state, turn.correctable]));
        talk.receive({type: "transcript", id: "s1", text: "what", final: false}); note();
        talk.receive({type: "transcript", id: "s1", text: "what cow", final: true}); note();
        talk.receive({type: "started", id: "s1", kind: "chat", frame}); note();
        talk.receive({type: "transcript", id: "s2", text: "uh", final: false});
        talk.receive({type: "transcript", id: "s2", text: "", final: true}); note();
        talk.receive({type: "transcript", id: "s3", text: "", final: true}); note();
        return [seen, gone];
        """,
    )
    heard = ["what cow", "thinking", False]
    assert found == [
        [
            [["what", "hearing", False]],
            [["what cow", "sent", True]],
            [["what cow", "thinking", True]],
            [heard],
            [heard],
        ],
        ["s2"],
    ]


async def test_a_sound_that_was_not_used_is_said(page: Page) -> None:
    """Not of one that was heard, and not of an engine that never hears."""
    found = await run(
        page,
        """
        const {remarks} = await import("/client/core/page/words.js");
        return ["refused", "empty", "heard", "deaf", undefined].map(sound => remarks({sound}));
        """,
    )
    words = say("page.sound_unused")
    assert found == [words, words, "", "", ""]


async def test_corrected_words_get_their_own_answer(page: Page) -> None:
    """The rest of the answer to the wrong words is left out, whether it had ended or not."""
    found = await run(
        page,
        CONVERSATION
        + """
        const seen = [];
        const turn = () => talk.turns[0];
        const note = () => seen.push([turn().question, turn().state, turn().text]);
        talk.receive({type: "transcript", id: "s1", text: "what cow", final: true});
        talk.receive({type: "started", id: "s1", kind: "chat", frame});
        talk.correct(turn(), "what colour"); note();
        talk.receive({type: "delta", id: "s1", text: "A cow"});
        talk.receive(response("s1", "A cow", "replaced")); note();
        talk.receive({type: "started", id: "s1", kind: "chat", frame});
        talk.receive({type: "delta", id: "s1", text: "Red"});
        talk.receive(response("s1", "Red.")); note();
        talk.correct(turn(), "what shade"); note();
        talk.receive(response("s1", "", "cancelled")); note();
        talk.correct(turn(), "what tint");
        talk.receive({type: "error", id: "s1", code: "not_found", message: "Ask anew.", retryable: false}); note();
        return seen;
        """,
    )
    assert found == [
        ["what colour", "sent", ""],
        ["what colour", "sent", ""],
        ["what colour", "done", "Red."],
        ["what shade", "sent", ""],
        ["what shade", "done", ""],
        ["what tint", "failed", ""],
    ]


async def test_heard_words_are_corrected_in_place(page: Page) -> None:
    """By a button, with the keyboard; Escape leaves them; typed questions have no button."""
    found = await run(
        page,
        """
        const {fillQuestion} = await import("/client/core/answer/correcting.js");
        const asked = document.createElement("p");
        document.body.append(asked);
        const turn = {question: "what cow", state: "sent", correctable: true};
        const said = [];
        const fill = () => fillQuestion(asked, turn, text => { said.push(text); turn.question = text; });
        const press = (key) => asked.querySelector("textarea")
          .dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
        fill();
        asked.querySelector("button").click();
        const field = asked.querySelector("textarea");
        const seen = [field.value, document.activeElement === field];
        field.value = "typing";
        fill();
        seen.push(asked.querySelector("textarea")?.value);
        press("Escape");
        seen.push(asked.firstChild.textContent);
        asked.querySelector("button").click();
        asked.querySelector("textarea").value = "  what colour ";
        press("Enter");
        seen.push(asked.firstChild.textContent, document.activeElement === asked.querySelector("button"));
        asked.querySelector("button").click();
        turn.correctable = false;
        fill();
        seen.push(asked.textContent);
        return [seen, said];
        """,
    )
    assert found == [
        ["what cow", True, "typing", "what cow", "what colour", True, "what colour"],
        ["what colour"],
    ]


async def test_a_broken_connection_ends_what_was_sent(page: Page) -> None:
    """A sent question fails and can be asked again; a waiting one goes on waiting."""
    found = await run(
        page,
        CONVERSATION
        + """
        talk.ask("q1", "One?", "auto", true);
        talk.ask("q2", "Two?", "auto", false);
        talk.interrupt("Lost.");
        const broken = talk.turns.map(turn => [turn.state, turn.problem, turn.retryable]);
        // A question that is asked again has its end from then on.
        talk.ask("q3", "Three?", "auto", true);
        talk.interrupt("Lost.", "q3");
        talk.sent("q3");
        talk.receive({...response("q3", ""), finish_reason: "cancelled"});
        const waits = talk.byId("q3").state;
        talk.receive(response("q3", "A cat."));
        return [broken, waits, talk.byId("q3").state];
        """,
    )
    assert found == [[["failed", "Lost.", True], ["waiting", "", False]], "sent", "done"]


async def test_a_description_is_one_turn(page: Page) -> None:
    """Its answers replace each other, older ones are kept bounded, and the half one goes when it is
    switched off.
    """
    found = await run(
        page,
        CONVERSATION
        + """
        const turn = () => talk.turns[0];
        for (let i = 0; i < 310; i++) {
          const at = {...frame, captured_at: 1000 + i};
          talk.receive({type: "started", id: `d${i}`, kind: "describe", frame: at});
          talk.receive({...response(`d${i}`, `text ${i}`, "stop", "describe"), frame: at});
        }
        talk.receive({type: "unchanged", id: "d308", looked_at: 5});
        const late = turn().looked;
        talk.receive({type: "unchanged", id: "d309", looked_at: 6});
        const looked = turn().looked;
        talk.receive({type: "started", id: "d310", kind: "describe", frame});
        talk.receive({type: "delta", id: "d310", text: "half"});
        const half = turn().text;
        talk.endDescription();
        return [talk.turns.length, half, turn().text, turn().earlier.length, turn().earlier[1], late, looked, turn().state];
        """,
    )
    kept = {"at": 1308, "text": "text 308"}
    assert found == [1, "text 309", "text 309", 300, kept, 0, 6, "done"]


async def test_a_description_changes_its_words_and_its_picture_together(page: Page) -> None:
    """The first one is shown as it is written; later ones when they are whole, with the frame they
    are about.
    """
    found = await run(
        page,
        CONVERSATION
        + """
        const seen = [];
        const note = () => seen.push([talk.turns[0].text, talk.turns[0].frame.id, talk.turns[0].frame.thumbnail ?? ""]);
        const at = (id, thumbnail) => ({...frame, id, thumbnail});
        talk.receive({type: "started", id: "d0", kind: "describe", frame: at("f0")});
        talk.receive({type: "delta", id: "d0", text: "A"}); note();
        talk.receive({...response("d0", "A cup.", "stop", "describe"), frame: at("f0", "p0")}); note();
        talk.receive({type: "started", id: "d1", kind: "describe", frame: at("f1")}); note();
        talk.receive({type: "delta", id: "d1", text: "B"}); note();
        talk.receive({...response("d1", "Bees.", "stop", "describe"), frame: at("f1", "p1")}); note();
        return seen;
        """,
    )
    old = ["A cup.", "f0", "p0"]
    assert found == [["A", "f0", ""], old, old, old, ["Bees.", "f1", "p1"]]


async def test_a_change_between_model_and_built_in_engine_is_told_once(page: Page) -> None:
    """Not what it is at first; then each change once, however often it is heard."""
    found = await run(
        page,
        """
        const {Stand} = await import("/client/core/page/words.js");
        const stand = new Stand();
        return [["vllm", "m"], ["vllm", "m"], ["builtin", "builtin"], ["builtin", "builtin"], ["local", "n"], ["vllm", "m"]]
          .map(([engine, model]) => stand.heard(engine, model, {ready: null}));
        """,
    )
    assert found[:2] == ["", ""]
    assert say("stage.simple_mode") in found[2]
    assert found[3] == ""
    assert found[4] == f"{say('stage.model_now', model='n')}."
    assert found[5] == ""


async def test_what_changed_is_drawn_once_a_picture(page: Page) -> None:
    """Not while it changes; then every turn once, in order; what went away or was drawn before is
    not drawn.
    """
    found = await run(
        page,
        """
        const {Drawing} = await import("/client/core/chat.js");
        const drawn = [];
        const drawing = new Drawing(turns => drawn.push([...turns].map(turn => turn.key)));
        const picture = () => new Promise(resolve => requestAnimationFrame(resolve));
        const [a, b, c] = ["a", "b", "c"].map(key => ({key}));
        drawing.changed(a); drawing.changed(b); drawing.changed(c); drawing.changed(a); drawing.gone(b);
        const before = drawn.length;
        await picture();
        drawing.changed(b); drawing.flush();
        const atOnce = drawn.length;
        await picture();
        drawing.changed(c);
        await picture();
        return [before, atOnce, drawn];
        """,
    )
    assert found == [0, 2, [["a", "c"], ["b"], ["c"]]]


async def test_the_chat_is_bounded(page: Page) -> None:
    """The oldest turn goes when there are more than a hundred."""
    found = await run(
        page,
        CONVERSATION
        + """
        for (let i = 0; i < 103; i++) talk.ask(`q${i}`, "?", "auto", true);
        return [talk.turns.length, gone];
        """,
    )
    assert found == [100, ["q0", "q1", "q2"]]


SOCKET = """
const {ChatSocket} = await import("/client/core/live/socket.js");
const states = [];
const events = [];
const session = {
  id: "s1", token: "t1",
  async ensure() { events.push("ensure"); },
  distrust() { events.push("distrust"); },
  forget() { events.push("forget"); },
};
const socket = new ChatSocket({
  session,
  onMessage: message => events.push(message.type),
  onState: (state, code) => states.push([state, code]),
});
"""


async def test_close_codes(page: Page) -> None:
    """Each code leads to the behaviour that it stands for: another token, a new session, coming
    back, or the end.
    """
    meant: dict[int, tuple[str, str | None]] = {
        4401: ("waiting", "distrust"),
        4403: ("ended", None),
        4404: ("waiting", "forget"),
        4408: ("ended", None),
        4409: ("ended", None),
        4429: ("waiting", None),
        1009: ("waiting", None),
        1011: ("waiting", None),
        1013: ("waiting", None),
    }
    codes = iter(meant)

    async def refuse(ws: WebSocketRoute) -> None:
        await ws.close(code=next(codes))

    await page.route_web_socket("**/ws/*", refuse)
    for code, (state, event) in meant.items():
        found = await run(
            page,
            SOCKET
            + """
        socket.open();
        while (!states.some(([, code]) => code)) await later(5);
        const end = [states.at(-1), events];
        socket.close();
        return end;
        """,
        )
        assert found[0] == [state, code]
        assert found[1] == ["ensure"] + ([event] if event else []), code


async def test_attempts_are_numbered(page: Page) -> None:
    """Each socket says which attempt of this page it is, a later one with a larger number; so the
    server knows late ones.
    """
    pages, numbers = await run(
        page,
        """
        const made = [];
        window.WebSocket = class {
          static OPEN = 1;
          readyState = 0;
          constructor(address) { made.push(new URL(address)); }
          close() { this.readyState = 3; }
        };
        const set = window.setTimeout;
        window.setTimeout = (f, ms) => set(f, Math.min(ms, 10));
        """
        + SOCKET
        + """
        socket.open();
        // Each is given up.
        while (made.length < 3) await later(5);
        socket.close();
        const query = name => made.map(address => address.searchParams.get(name));
        return [query("page"), query("attempt").map(Number)];
        """,
    )
    assert len(set(pages)) == 1
    assert Attempt.read(pages[0], "1") is not None
    assert 0 < numbers[0] < numbers[1] < numbers[2]


async def test_the_socket_comes_back(page: Page) -> None:
    """After a lost connection the next one opens by itself, with the token as a subprotocol and
    nowhere else.
    """
    opened: list[str] = []

    async def accept(ws: WebSocketRoute) -> None:
        opened.append(ws.url)
        ws.send('{"type":"pong","at":1}')
        if len(opened) == 1:
            await ws.close(code=1011)

    await page.route_web_socket("**/ws/*", accept)
    found = await run(
        page,
        SOCKET
        + """
        socket.open();
        while (states.filter(([state]) => state === "open").length < 2) await later(20);
        const sent = socket.send({type: "ping"});
        socket.close();
        return [states.map(([state]) => state), sent, socket.send({type: "ping"})];
        """,
    )
    assert found[0][:5] == ["connecting", "open", "waiting", "connecting", "open"]
    assert found[1:] == [True, False]
    assert [url.partition("?")[0] for url in opened] == ["ws://localhost:9/ws/s1"] * 2


async def test_a_socket_that_is_asked_and_silent_is_given_up_in_time(page: Page) -> None:
    """Until it answers it is doubted, and nothing should be sent into it; without an answer another
    one opens beside it and takes its place, of which only the opening is reported.
    """
    opened: list[WebSocketRoute] = []

    def answer(text: str | bytes) -> None:
        if len(opened) == 2 or not silent:
            opened[-1].send('{"type":"pong","at":1}')

    silent: list[bool] = []

    async def accept(ws: WebSocketRoute) -> None:
        opened.append(ws)
        ws.on_message(answer)

    await page.route_web_socket("**/ws/*", accept)
    await page.expose_function("fallSilent", lambda: silent.append(True))
    found = await run(
        page,
        SOCKET
        + """
        let trusted = 0;
        const socket2 = new ChatSocket({session, onMessage: () => {}, onTrusted: () => trusted++,
          onState: (state, code) => states.push([state, code])});
        const opens = () => states.filter(([state]) => state === "open").length;
        socket2.open();
        while (opens() < 1) await later(5);
        socket2.probe(1000);
        const doubted = [socket2.doubted];
        while (trusted < 1) await later(5);
        doubted.push(socket2.doubted);
        await window.fallSilent();
        socket2.probe(100);
        doubted.push(socket2.doubted);
        while (opens() < 2) await later(5);
        doubted.push(socket2.doubted);
        socket2.send({type: "ping"});
        while (trusted < 2) await later(5);
        doubted.push(socket2.doubted);
        socket2.close();
        return [doubted, states.map(([state]) => state)];
        """,
    )
    assert found == [[True, False, True, True, False], ["connecting", "open", "open", "closed"]]
    assert len(opened) == 2


async def test_a_silent_sockets_place_is_taken_without_a_break(page: Page) -> None:
    """The server closes the old one with 4409 as the new one comes, perhaps before this page knows:
    no other window has the session. A spare that does not come either ends both, and the next try
    follows.
    """
    opened: list[WebSocketRoute] = []

    async def accept(ws: WebSocketRoute) -> None:
        opened.append(ws)
        ws.on_message(lambda _text: None)
        if len(opened) == 2:
            await opened[0].close(code=4409)
            ws.send('{"type":"pong","at":1}')

    await page.route_web_socket("**/ws/*", accept)
    found = await run(
        page,
        SOCKET
        + """
        let silent = 0;
        const chat = new ChatSocket({session, onMessage: () => {}, onSilent: () => silent++,
          onState: (state, code) => states.push([state, code])});
        chat.open();
        while (chat.state !== "open") await later(5);
        chat.ask(50);
        const trusted = !chat.doubted;
        while (states.length < 3 || chat.doubted) await later(5);
        await later(50);
        const sent = chat.send({type: "ping"});
        chat.close();
        return [trusted, silent, sent, states];
        """,
    )
    assert found == [
        True,
        1,
        True,
        [["connecting", 0], ["open", 0], ["open", 0], ["closed", 0]],
    ]


# Sockets that open when the test lets them
SLOW = """
class Slow {
  static CONNECTING = 0;
  static OPEN = 1;
  static made = [];
  readyState = 0;
  closed = [];
  constructor() { Slow.made.push(this); }
  opens() { this.readyState = 1; this.onopen(); }
  send() {}
  close() { this.closed.push(this.readyState); }
}
window.WebSocket = Slow;
"""


async def test_a_socket_that_is_still_opening_is_closed_when_it_has_opened(page: Page) -> None:
    """The browser would log an error; only where another one has to get through it is closed at once."""
    found = await run(
        page,
        SOCKET
        + SLOW
        + """
        socket.open();
        await later(5);
        socket.close();
        const before = [...Slow.made[0].closed];
        Slow.made[0].opens();
        socket.open();
        await later(5);
        socket.close();
        socket.open();
        await later(5);
        return [before, ...Slow.made.map((one) => one.closed)];
        """,
    )
    assert found == [[], [1], [0], []]


async def test_a_spare_that_opens_late_is_used_all_the_same(page: Page) -> None:
    """The silent socket has answered meanwhile; the server takes the late one, and nobody loses the session."""
    found = await run(
        page,
        SOCKET
        + SLOW
        + """
        const real = window.setTimeout;
        window.setTimeout = (work, wait) => real(work, wait === 5000 ? 50 : wait);
        socket.open();
        await later(5);
        Slow.made[0].opens();
        socket.probe(5);
        while (Slow.made.length < 2) await later(5);
        Slow.made[0].onmessage({data: '{"type":"pong","at":1}'});
        while (socket.doubted) await later(5);
        const kept = [...Slow.made[1].closed];
        Slow.made[1].opens();
        const first = [...Slow.made[0].closed];
        Slow.made[0].onclose({code: 4409});
        return [kept, first, states, Slow.made[1].closed, socket.send({type: "ping"})];
        """,
    )
    assert found == [[], [1], [["connecting", 0], ["open", 0], ["open", 0]], [], True]


async def test_a_question_whose_socket_is_lost_goes_out_once_more_as_it_was(page: Page) -> None:
    """The very same message, once; none that has its end, was cancelled or gave way to a newer one."""
    found = await run(
        page,
        """
        const {Asking} = await import("/client/core/live/asking.js");
        const sent = [], unheard = [];
        const asking = new Asking({ready: () => true, onSent: () => {}, onUnheard: () => unheard.push(1),
          send: (message) => { sent.push(JSON.stringify(message)); return true; }});
        const again = () => { const id = asking.again(); asking.flush(99); return id; };
        asking.ask("One?", "auto", 1);
        const found = [again(), again(), sent.length, sent[0] === sent[1]];
        asking.ask("Two?", "auto", 2);
        asking.heard("q2", "response");
        found.push(again());
        asking.ask("Three?", "auto", 3);
        asking.drop("q3");
        found.push(again());
        asking.ask("Four?", "auto", 4);
        asking.heard("q4", "started");
        await new Promise((done) => setTimeout(done, 1700));
        const quiet = unheard.length;
        asking.ask("Five?", "auto", 5);
        await new Promise((done) => setTimeout(done, 1700));
        return [...found, quiet, unheard.length];
        """,
    )
    assert found == ["q1", "", 2, True, "", "", 0, 1]


async def test_sleep_networks_and_devices_are_noticed(page: Page) -> None:
    """A clock that jumps, another kind of network, the network's return, cameras that come; no
    estimate of a speed, and nothing while the page is hidden.
    """
    found = await run(
        page,
        """
        let now = 1000, look, hidden = false;
        const told = [];
        Date.now = () => now;
        window.setInterval = (call) => { look = call; return 0; };
        Object.defineProperty(document, "hidden", {get: () => hidden});
        const connection = Object.assign(new EventTarget(), {type: "wifi"});
        Object.defineProperty(navigator, "connection", {get: () => connection});
        const {watchSurroundings} = await import("/client/core/page/surroundings.js");
        watchSurroundings({
          onOnline: () => told.push("online"), onOffline: () => told.push("offline"), onNetwork: () => told.push("network"),
          onWoke: (ms) => told.push(ms), onDevices: () => told.push("devices"),
          onHidden: () => {}, onShown: () => {}, onLeave: () => {},
        });
        const pass = (ms) => { now += ms; look(); };
        pass(2000); pass(4000); pass(32000); pass(2000);
        hidden = true; pass(60000);
        hidden = false; now += 20000; document.dispatchEvent(new Event("visibilitychange"));
        for (const type of ["wifi", "cellular", "cellular", "none", "wifi"]) {
          connection.type = type;
          connection.dispatchEvent(new Event("change"));
        }
        window.dispatchEvent(new Event("offline"));
        window.dispatchEvent(new Event("online"));
        navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
        return told;
        """,
    )
    assert found == [30000, 18000, "network", "network", "offline", "online", "devices"]


async def test_an_access_code_is_asked_until_it_fits(page: Page) -> None:
    """A refused token asks for the code; a wrong one asks again and says so; giving up is
    apart.
    """
    codes: list[Any] = []

    async def token(route: Route) -> None:
        given = (route.request.post_data_json or {}).get("access_code")
        codes.append(given)
        if given == "right":
            grant = {"token": "t", "session_id": "s", "expires_in": 60, "ice_servers": []}
            await route.fulfill(json=grant)
        else:
            error = {"code": "unauthorized", "message": "No.", "retryable": False}
            await route.fulfill(status=401, json={"error": error, "detail": "No."})

    await page.route("**/api/token*", token)
    found = await run(
        page,
        """
        const {Session} = await import("/client/core/live/session.js");
        const asked = [];
        const answers = [null, "wrong", "right"];
        const session = new Session({
          askCode: async wrong => { asked.push(wrong); return answers.shift(); },
          onNew: first => asked.push(`new ${first}`),
        });
        const gaveUp = await session.ensure().catch(error => error.code);
        await Promise.all([session.ensure(), session.ensure()]);
        return [gaveUp, asked, session.id, session.valid];
        """,
    )
    assert found == ["cancelled", [False, False, True, "new true"], "s", True]
    assert codes == [None, None, "wrong", "right"]


async def test_waits_grow_and_stay_bounded(page: Page) -> None:
    """Each wait is between half of and the whole of a doubling time, at most two seconds in a short
    break.
    """
    found = await run(
        page,
        """
        const {Backoff} = await import("/client/core/live/api.js");
        const backoff = new Backoff();
        const waits = Array.from({length: 8}, () => backoff.next());
        backoff.reset();
        return [waits, backoff.next(), backoff.next(30000)];
        """,
    )
    for wait, full in zip(found[0], [400, 800, 1600, 2000, 2000, 2000, 2000, 2000], strict=True):
        assert full / 2 <= wait <= full
    assert found[1] <= 400
    assert found[2] >= 30000


async def test_only_the_newest_question_waits(page: Page) -> None:
    """It goes out once there is a way, as asked then; the one before never does, and one that is
    dropped neither.
    """
    found = await run(
        page,
        """
        const {Asking, answerable, PATIENCE} = await import("/client/core/live/asking.js");
        const sent = [];
        let ready = false, broken = true;
        const asking = new Asking({ready: () => ready, onSent: (id) => sent.push(id), send: (message) => {
          if (!broken) sent.push(message);
          return !broken;
        }});
        const asked = [asking.ask("One?", "auto", 1), asking.ask("Two?", "high", 2)];
        ready = true;
        asking.flush(3);
        const dropped = asking.drop("q1");
        broken = false;
        asking.flush(4);
        asked.push(asking.ask("Three?", "auto", 5));
        ready = false;
        asking.ask("Four?", "auto", 6);
        const last = [asking.drop("q4"), asking.dropAny()];
        ready = true;
        asking.flush();
        const facts = {camera: "on", held: false, link: "connected", socket: "open", status: {camera: "starting"}};
        const can = (change, connectedFor = 0) => answerable({...facts, ...change}, connectedFor);
        return [asked, dropped, sent, last, [can({}), can({}, PATIENCE + 1), can({status: {camera: "stalled"}})],
          [can({held: true, link: "closed"}), can({held: true, socket: "waiting"}), can({camera: "elsewhere"})]];
        """,
    )
    asked, dropped, sent, last, live, other = found
    assert asked == [{"id": f"q{n}", "sent": n == 3} for n in (1, 2, 3)]
    assert dropped is False
    assert [one if isinstance(one, str) else (one["content"], one["sent_at"]) for one in sent] == [
        *(("Two?", 4), "q2", ("Three?", 5), "q3"),
    ]
    assert last == [True, None]
    assert live == [False, True, True]
    assert other == [True, False, True]


async def test_the_language_of_a_text_is_told(page: Page) -> None:
    """By its script or its small words; by nothing where neither tells."""
    texts = {
        "I see a red cup on the table.": "en",
        "Ich sehe eine rote Tasse auf dem Tisch.": "de",
        "Je vois une tasse rouge sur la table.": "fr",
        "Hay una taza roja en la mesa.": "es",
        "C'è una tazza rossa sul tavolo, non è piena.": "it",
        "Há uma caneca vermelha em cima da mesa.": "pt",
        "Er staat een rode kop op de tafel.": "nl",
        "Na stole jest czerwony kubek.": "pl",
        "На столе стоит красная чашка.": "ru",
        "На столі стоїть червона чашка, її бачу.": "uk",
        "桌子上有一个红色的杯子。": "zh",
        "テーブルの上に赤いカップがあります。": "ja",
        "테이블 위에 빨간 컵이 있습니다.": "ko",
        "هناك كوب أحمر على الطاولة.": "ar",
        "12.50": "",
        "Rot.": "",
        "": "",
    }
    found = await run(
        page,
        f"""const {{languageOf}} = await import("/client/core/chat/language.js"); return {list(texts)!r}.map(languageOf);""",
    )
    assert dict(zip(texts, found, strict=True)) == texts


async def test_words_for_every_state(page: Page) -> None:
    """Each trouble has a title and a next step of its own, and never an empty or undefined word."""
    found = await run(
        page,
        """
        const words = await import("/client/core/page/words.js");
        await (await import("/client/core/words/text.js")).laterWords();
        const facts = await import("/client/core/facts/words.js");
        const base = {active: true, camera: "on", muted: false, link: "connected", linkError: null, socket: "open",
          closeCode: 0, socketError: null, ready: {engine: "builtin", model: "m", engine_state: "ready"},
          status: {camera: "live"}, held: false, describing: false, sent: null};
        const off = {...base, active: false};
        const cards = ["off", "asking", "resting", "refused", "dismissed", "missing", "busy", "failed", "lost", "insecure"]
          .map(camera => words.card({...off, camera}));
        for (const closeCode of [4401, 4403, 4408, 4409]) cards.push(words.card({...off, camera: "off", closeCode}));
        const notices = [{muted: true}, {socket: "waiting"}, {socket: "waiting", closeCode: 1013},
          {socket: "waiting", closeCode: 4429}, {socket: "waiting", gone: true}, {link: "interrupted", status: {camera: "stalled"}}, {link: "ended", linkError: {message: "No codec."}},
          {status: {camera: "stalled"}}, {status: {camera: "frozen"}}, {status: {camera: "live", dark: true}},
          {status: {camera: "live", blurred: true}},
          ...["loading", "unreachable", "misconfigured"].map(engine_state => ({status: {camera: "live", engine_state}}))]
          .map(change => words.notice({...base, ...change}));
        const details = [false, true].map(clock_doubted => facts.details({...base, status: {camera: "live", clock_doubted}}).camera);
        const screen = words.notice({...base, screen: true, status: {camera: "live", dark: true, black: true}});
        return [cards, notices, words.summary(base), words.notice(base), words.card(base), details, screen];
        """,
    )
    cards, notices, summary, quiet, card, details, screen = found
    # Nobody lights a screen.
    assert screen is None
    assert [say("facts.clock_wrong") in text for text in details] == [False, True]
    for shown in [*cards, *notices]:
        assert shown["title"]
        assert shown["text"]
        assert "undefined" not in shown["title"] + shown["text"]
    assert len({shown["title"] for shown in cards}) == len(cards)
    assert len({shown["title"] for shown in notices}) == len(notices)
    assert summary == {"tone": "ok", "label": say("page.live")}
    assert quiet is None
    assert card is None


async def test_relay_credentials_are_renewed_before_they_end(page: Page, held: list[Route]) -> None:
    """They may end before the token: both are asked for anew by the old token in time, also after a
    sleep that one of the clocks did not see, and a running connection gets the new ones for its
    next restart. The session is named to a balancer, so that its own process renews.
    """
    grants: list[tuple[str | None, str]] = []

    async def token(route: Route) -> None:
        request = route.request
        grants.append((request.headers.get("authorization"), request.url.partition("?")[2]))
        number = len(grants)
        server = {"urls": ["turn:t.example.org"], "username": f"u{number}", "credential": "c"}
        grant = {"token": f"t{number}", "session_id": "s", "expires_in": 3600}
        await route.fulfill(json=grant | {"ice_expires_in": 600, "ice_servers": [server]})

    async def offer(route: Route) -> None:
        if route.request.method == "POST":
            # The connection stays as it was offered.
            held.append(route)
            return
        await route.fulfill(json={})

    await page.route("**/api/token*", token)
    await page.route("**/api/webrtc/offer*", offer)
    found = await run(
        page,
        """
        const {Session} = await import("/client/core/live/session.js");
        const {Peer} = await import("/client/core/live/peer.js");
        const timers = [];
        const set = window.setTimeout;
        window.setTimeout = (work, ms) => { timers.push([work, ms]); return set(work, ms); };
        const made = [];
        const Stock = RTCPeerConnection;
        window.RTCPeerConnection = class extends Stock { constructor(c) { super(c); made.push(this); } };
        let peer = null;
        const session = new Session({askCode: async () => null, onNew: () => {}, onIceServers: () => peer?.renewRelays()});
        peer = new Peer({session, onState: () => {}, onSender: () => {}});
        const canvas = document.createElement("canvas");
        void peer.start(canvas.captureStream().getVideoTracks()[0]);
        while (made.length === 0) await later(5);
        const user = () => made[0].getConfiguration().iceServers[0].username;
        const before = user();
        const [renew, ms] = timers.find(([, ms]) => ms > 100000);
        renew();
        for (let tries = 0; user() === before && tries < 400; tries++) await later(5);
        const renewed = user();
        const now = Date.now;
        const valid = [session.valid];
        Date.now = () => now() + 597000;
        valid.push(session.valid);
        Date.now = () => now() + 599000;
        valid.push(session.valid);
        await session.ensure();
        valid.push(session.valid);
        Date.now = now;
        peer.stop();
        peer.renewRelays();
        return [before, renewed, ms, valid, made.length];
        """,
    )
    assert found == ["u1", "u2", 480_000, [True, True, False, True], 1]
    assert grants == [(None, ""), ("Bearer t1", "session=s"), ("Bearer t2", "session=s")]


async def test_a_relay_that_refuses_is_named(page: Page, held: list[Route]) -> None:
    """Without a connection the page says what the relay answered, a refusal rather than that it is
    not reached, and refused credentials are asked for anew.
    """

    async def token(route: Route) -> None:
        server = {"urls": ["turn:t.example.org?transport=udp"], "username": "u", "credential": "c"}
        grant = {"token": "t", "session_id": "s", "expires_in": 3600, "ice_servers": [server]}
        await route.fulfill(json=grant)

    async def offer(route: Route) -> None:
        if route.request.method == "POST":
            held.append(route)
        else:
            await route.abort()

    await page.route("**/api/token*", token)
    await page.route("**/api/webrtc/offer*", offer)
    found = await run(
        page,
        """
        const {Session} = await import("/client/core/live/session.js");
        const {Peer} = await import("/client/core/live/peer.js");
        const made = [];
        const Stock = RTCPeerConnection;
        window.RTCPeerConnection = class extends Stock {
          constructor(c) { super(c); made.push(this); }
          get connectionState() { return this.pretend ?? super.connectionState; }
        };
        const said = [];
        const session = new Session({askCode: async () => null, onNew: () => {}});
        const peer = new Peer({
          session, onSender: () => {},
          onState: (state, error) => { if (error) said.push([error.message, session.valid]); },
        });
        const track = document.createElement("canvas").captureStream().getVideoTracks()[0];
        const trouble = async (...codes) => {
          const count = made.length;
          void peer.start(track);
          while (made.length === count) await later(5);
          const pc = made.at(-1);
          for (const [url, errorCode] of codes) pc.onicecandidateerror({url, errorCode});
          pc.pretend = "failed";
          pc.onconnectionstatechange();
          peer.stop();
        };
        const url = "turn:t.example.org?transport=udp";
        await trouble([url, 701], [url, 401]);
        await trouble([url, 701]);
        await trouble([url, 486]);
        await trouble(["stun:s.example.org", 701]);
        return said;
        """,
    )
    failed = say("live.failed")
    relay = {"relay": "turn:t.example.org", "code": "486"}
    assert found == [
        [f"{failed} {say('live.relay_credentials', **relay)}", False],
        [f"{failed} {say('live.relay_unreachable', **relay)}", True],
        [f"{failed} {say('live.relay_refuses', **relay)}", True],
        [failed, True],
    ]


async def test_a_busy_server_costs_no_connection_that_comes_back(page: Page) -> None:
    """An offer that is refused for now leaves the connection before alone, on both sides: it is
    taken again when it is back.
    """

    async def token(route: Route) -> None:
        grant = {"token": "t", "session_id": "s", "expires_in": 3600, "ice_servers": []}
        await route.fulfill(json=grant)

    posts = 0

    async def offer(route: Route) -> None:
        nonlocal posts
        if route.request.method != "POST":
            await route.fulfill(status=204)
            return
        posts += 1
        if posts == 1:
            await route.fulfill(json={"type": "answer", "sdp": "", "session_id": "s", "sender": {}})
            return
        error = {"code": "busy", "message": "All places are taken.", "retryable": True}
        await route.fulfill(status=503, json={"error": error}, headers={"Retry-After": "30"})

    await page.route("**/api/token*", token)
    await page.route("**/api/webrtc/offer*", offer)
    found = await run(
        page,
        """
        const {Session} = await import("/client/core/live/session.js");
        const {Peer} = await import("/client/core/live/peer.js");
        const made = [];
        const Stock = RTCPeerConnection;
        window.RTCPeerConnection = class extends Stock {
          constructor(c) { super(c); made.push(this); this.gone = false; }
          get connectionState() { return this.gone ? "closed" : this.pretend ?? super.connectionState; }
          async setRemoteDescription() {}
          close() { this.gone = true; super.close(); }
        };
        const session = new Session({askCode: async () => null, onNew: () => {}});
        const states = [];
        const peer = new Peer({session, onSender: () => {}, onState: (state) => states.push(state)});
        const track = document.createElement("canvas").captureStream().getVideoTracks()[0];
        const becomes = (state) => { made[0].pretend = state; made[0].onconnectionstatechange(); };
        void peer.start(track);
        while (made.length < 1 || made[0].signalingState !== "have-local-offer") await later(5);
        await later(200);
        becomes("connected");
        becomes("disconnected");
        while (peer.state !== "waiting") await later(20);
        const kept = !made[0].gone;
        becomes("connected");
        const end = peer.state;
        peer.stop();
        return [kept, end, made.length];
        """,
    )
    assert found == [True, "connected", 2]


async def test_a_report_holds_no_address_and_no_secret(page: Page) -> None:
    """Of addresses the beginning stays, of secrets nothing; versions, ports and names are no
    addresses.
    """
    found = await run(
        page,
        """
        const {report} = await import("/client/core/doctor/report.js");
        const text = "turn:203.0.113.7:3478, [2001:db8::17] 0b1c-9.local, fe80:0:0:0:1:2:3:4, turn:relay.example.org:3478,"
          + " 0.1.0, the token s3cret-token";
        const results = [{id: "a", title: "A", state: "failed", text, cause: "C", todo: "D"}];
        const [head, body] = report(results, {began: new Date(0), took: 1234}, ["s3cret-token", ""]).split("\\n\\n");
        return [head.split("\\n").slice(1, 3), head.includes(navigator.userAgent), body];
        """,
    )
    assert found == [
        ["1970-01-01T00:00:00.000Z, took 1.2 s", "Page: http, localhost"],
        True,
        "FAILED A: turn:203.0.x.x:3478, [2001:x] x.local, fe80:x, turn:relay.example.org:3478, 0.1.0,"
        " the token [removed]\n       Cause: C\n       To do: D\n",
    ]


async def test_the_clock_is_compared_with_the_middle_of_the_request(page: Page) -> None:
    """The Date header counts whole seconds and the request takes a while: only more than both is an
    offset.
    """
    found = await run(
        page,
        """
        await (await import("/client/core/words/text.js")).laterWords();
        const {checkClock} = await import("/client/core/doctor/webchecks.js");
        const at = (seconds, took = 0) => {
          const finding = checkClock({date: new Date(1e12 + seconds * 1000).toUTCString(), sent: 1e12, came: 1e12 + took});
          return finding.state === "ok" ? "ok" : finding.text;
        };
        return [at(0), at(9), at(-9), at(16, 8000), at(12), at(-600), at(86400), checkClock({date: "", sent: 0, came: 0}).state];
        """,
    )
    assert found == [
        *("ok", "ok", "ok", "ok"),
        say("doctor.clock_behind", time=say("doctor.seconds", count=13)),
        say("doctor.clock_ahead", time=say("doctor.minutes", count=10)),
        say("doctor.clock_behind", time=say("page.hours", count=24)),
        "skipped",
    ]


async def test_a_check_that_hangs_has_an_end_and_closing_stops_all(page: Page) -> None:
    """Nothing answers: each check ends by itself with words; aborted, nothing more is reported and
    it ends at once.
    """
    found = await run(
        page,
        """
        await (await import("/client/core/words/text.js")).laterWords();
        const {examine, verdict} = await import("/client/core/doctor/doctor.js");
        window.fetch = (path, {signal}) => new Promise((_, refuse) => signal.addEventListener("abort", refuse));
        const real = setTimeout;
        window.setTimeout = (call, ms, ...more) => real(call, ms / 50, ...more);
        const never = () => new Promise(() => {});
        const visit = {facts: {camera: "off", socket: "closed"}, session: {ensure: never, iceServers: []}, peer: {}};
        const ends = async (signal) => {
          const results = new Map();
          let told = 0;
          await examine(visit, (result) => { told++; results.set(result.id, result); }, signal);
          return [told, [...results.values()]];
        };
        visit.session.ensure = () => new Promise((_, refuse) => real(refuse, 300, new TypeError("its text")));
        const [, results] = await ends(new AbortController().signal);
        const state = Object.fromEntries(results.map(({id, state}) => [id, state]));
        visit.session.ensure = never;
        const stop = new AbortController();
        real(() => stop.abort(), 20);
        const start = performance.now();
        const [told] = await ends(stop.signal);
        return [state, results.find(({id}) => id === "access").text, verdict(results).tone, told < 30, performance.now() - start < 1000];
        """,
    )
    state, access, tone, few, quick = found
    assert "running" not in state.values()
    assert (state["server"], state["access"], state["socket"]) == ("failed", "failed", "skipped")
    assert access == say("doctor.check_failed", error="TypeError")
    assert (tone, few, quick) == ("bad", True, True)
