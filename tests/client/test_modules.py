"""Modules of the page in headless Chromium that need its elements, its media or its workers: with a
server made of routes. The others run in Node, which is quicker: test_node.py.
"""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route

from benchmarks.browser import chromium
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

CLIENT = Path(__file__).resolve().parents[2] / "client"
# Nothing listens there: every request is answered by a route. localhost counts as secure.
ORIGIN = "http://localhost:9"
LATER = "const later = ms => new Promise(resolve => setTimeout(resolve, ms));"


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
    return await page.evaluate("async () => {" + LATER + body + "}")


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


async def test_corrected_words_cancel_nothing(page: Page) -> None:
    """Their question has the id of the answer that is spoken: a cancel would stop the new one."""
    found = await run(
        page,
        """
        const voice = { paused: false, speak: (one) => one.onstart(), cancel() {} };
        Object.defineProperty(window, "speechSynthesis", { value: voice });
        window.SpeechSynthesisUtterance = class {};
        const { Speech } = await import("/client/core/chat/speech.js");
        const { Speaking } = await import("/client/features/voice_out/speaking.js");
        const log = [], speech = new Speech(() => {});
        const speaking = new Speaking({ send: (message) => log.push(message), speech, language: () => "en",
          mark: (id, start, end) => log.push([id, start, end]), onChange: () => log.push(speaking.id || "(none)") });
        const heads = ["voice_in", "voice_out"].map((name) => import(`/client/features/${name}/index.js`));
        const [talk, speak] = await Promise.all(heads);
        for (const id of ["speak", "talk"]) {
          const button = document.createElement("button");
          button.id = id;
          document.body.append(button);
        }
        const sent = [];
        const conversation = { correct: (turn, text) => sent.push(text), byId: () => null };
        const page = {
          chat: { conversation, speech, view: {}, renderRunning() {} },
          part: () => ({ here: speaking, open: async () => {}, ahead: async () => {} }),
          send: (message) => sent.push(message), agree: async () => true, offer() {}, take() {}, when() {}, launches: new Map(),
        };
        speak.register(page);
        talk.register(page);
        await page.voice.want(true);
        speaking.receive({ type: "say", id: "a", text: "One.", start: 0, end: 4 });
        log.length = 0;
        page.chat.correct({ id: "a" }, "right words");
        return [sent, log, speaking.id];
        """,
    )
    assert found == [
        [{"type": "correct_transcript", "id": "a", "text": "right words"}, "right words"],
        [["a", 0, 0], "(none)"],
        "",
    ]


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


async def test_a_box_goes_along_with_a_moving_canvas(page: Page) -> None:
    """In a real worker: a box about a picture of 1.3 s ago is on its object now, stays there, and
    is gone with it.
    """
    found = await run(
        page,
        """
        const {Boxes} = await import("/client/features/pointing/boxes.js");
        const {pageTime} = await import("/client/core/live/api.js");
        const boxes = new Boxes();
        let list = [];
        boxes.on((all) => { list = all; });
        const canvas = new OffscreenCanvas(320, 180);
        const drawn = canvas.getContext("2d", {willReadFrequently: true});
        const luma = new Uint8Array(320 * 180);
        let seed = 1;
        const random = () => (seed = seed * 16807 % 2147483647) / 2147483647;
        const spots = Array.from({length: 500}, () => [random() * 480 - 80, random() * 180, 2 + random() * 12, random() * 255 | 0]);
        const marks = Array.from({length: 40}, () => [random() * 60, random() * 50, 2 + random() * 9, random() * 255 | 0]);
        // The camera pans, and the object goes the other way.
        const draw = (n, there) => {
          const object = [40 + 1.5 * n, 60];
          drawn.fillStyle = "#888";
          drawn.fillRect(0, 0, 320, 180);
          for (const [x, y, r, g] of spots) { drawn.fillStyle = `rgb(${g} ${g} ${g})`; drawn.fillRect(x - n, y, r, r); }
          if (there) for (const [x, y, r, g] of marks) {
            drawn.fillStyle = `rgb(${g} ${g} ${g})`; drawn.fillRect(object[0] + x, object[1] + y, r, r);
          }
          const {data} = drawn.getImageData(0, 0, 320, 180);
          for (let k = 0; k < luma.length; k++) luma[k] = (77 * data[4 * k] + 150 * data[4 * k + 1] + 29 * data[4 * k + 2]) >> 8;
          return [object[0] / 320, object[1] / 180, (object[0] + 69) / 320, (object[1] + 59) / 180];
        };
        const until = async (ready) => { while (!ready()) await later(5); };
        const began = pageTime();
        // A tenth of a second apart by their own times, however long this machine takes.
        const time = (n) => began + 100 * n;
        let n = 0;
        const show = async (there) => {
          const truth = draw(n, there);
          for (let dropped = -1; dropped < boxes.dropped; await later(5)) {
            // Dropped while the worker is behind: again.
            dropped = boxes.dropped;
            boxes.frame(luma, time(n));
          }
          n++;
          return truth;
        };
        const off = ([box], truth) => Math.max(...box.box.map((edge, k) => Math.abs(edge - truth[k]) * (k % 2 ? 180 : 320)));
        const first = await show(true);
        let truth;
        while (n < 14) truth = await show(true);
        boxes.addBox({box: first, capturedAt: time(0), label: "cup"});
        await until(() => list.length === 1 && list[0].at >= time(13));
        const carried = [list[0].state, off(list, truth)];
        while (n < 40) truth = await show(true);
        await until(() => list[0].at >= time(39));
        const stayed = [list[0].state, off(list, truth), list[0].label];
        const after = [];
        while (n < 75) {
          await show(false);
          await until(() => list.length === 0 || list[0].at >= time(n - 1) || list[0].state === "gone");
          after.push(list[0]?.state ?? "");
        }
        boxes.close();
        return {carried, stayed, after, failed: boxes.failed};
        """,
    )
    state, off = found["carried"]
    assert (state, off < 3) == ("shown", True), found
    state, off, label = found["stayed"]
    assert (state, off < 3, label) == ("shown", True, "cup"), found
    assert found["after"][2] != "shown"
    assert "shown" not in found["after"][2:]
    assert "gone" in found["after"]
    assert found["failed"] is False
