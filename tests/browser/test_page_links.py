"""The page on bad links: what is lost, cut or moved, and how the picture and the chat come back by
themselves.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Page, expect
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from benchmarks.browser import get_outbound_video, prefer_codec, put_link_between
from benchmarks.link import Link, LinkRelay, TcpRelay
from server.core.frames import Frame
from server.media.camera import Camera
from tests.browser.visitor import NOT_REACHED, SHARP, Picture, Visit, Visitor, hurry, started
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.parts import at_night
from tests.support.running import Running, running
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# The browser's message for a request that exceeded the page's time limit.
GIVEN_UP = r"net::ERR_|Failed to load resource"


@dataclass
class FrameLog:
    """Arrival times of frames at the server, monotonic seconds."""

    at: list[float] = field(default_factory=list)

    async def next(self, since: float, within: float) -> float:
        """Seconds from `since` to the first frame after it."""
        async with asyncio.timeout(within):
            while not (later := [at for at in self.at if at >= since]):
                await asyncio.sleep(0.01)
        return later[0] - since

    def longest_gap(self, start: float, end: float) -> float:
        inside = [at for at in self.at if start <= at <= end]
        return max(b - a for a, b in zip([start, *inside], [*inside, end], strict=True))


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> FrameLog:
    """Every frame that comes to a camera of this process."""
    log = FrameLog()
    put = Camera.take

    def note(self: Camera, frame: Frame) -> None:
        log.at.append(time.monotonic())
        put(self, frame)

    monkeypatch.setattr(Camera, "take", note)
    return log


def through(relay: LinkRelay, **constants: int) -> Callable[[Page], Awaitable[None]]:
    """Prepare a page whose camera goes through `relay`, with other times in `client/core/live/peer.js`."""

    async def prepare(page: Page) -> None:
        await put_link_between(page, relay)
        if constants:
            await hurry(page, "peer.js", **constants)

    return prepare


@asynccontextmanager
async def whole_way(
    server: Running,
) -> AsyncIterator[tuple[str, LinkRelay, Callable[[bool], None]]]:
    """All that goes between page and server: the page's address, the camera's relay, and what cuts
    both.
    """
    async with (
        TcpRelay("127.0.0.1", server.port) as tcp,
        LinkRelay(up=Link(delay=0.02), down=Link(delay=0.02)) as relay,
    ):

        def cut(now: bool) -> None:
            tcp.cut = relay.cut = now

        yield tcp.url, relay, cut
        cut(False)


async def began_at(page: Page) -> set[float]:
    """Return the beginnings of the sessions that the page has seen."""
    return {
        entry["message"]["began_at"]
        for entry in await page.evaluate("window.__log")
        if entry["message"]["type"] == "ready"
    }


async def ask(page: Visitor, question: str) -> dict[str, Any]:
    """Ask until there is an answer: on a machine with much else to do a camera may be stalled for a
    moment.
    """
    for _ in range(3):
        sent = await page.send(question)
        message = await page.end(sent["id"])
        if message["type"] == "response":
            return sent
        assert message["code"] in ("camera_stalled", "camera_frozen"), message
    raise AssertionError("the camera is stalled again and again")


async def test_a_short_cut_costs_no_word_of_an_answer(
    visit: Visit, server: Running, model: FakeOpenAI, frames: FrameLog
) -> None:
    """A second without any packet in mid-answer: the answer goes on to its end, the picture is back
    at once, and nobody hears of a new session.
    """
    model.between_tokens = 0.4
    async with whole_way(server) as (url, relay, cut):
        page = await visit(url, prepare=through(relay))
        # After a cut the page may try another socket, which ends with the page.
        page.expect(NOT_REACHED)
        await page.start()
        sent = await page.send("What is this?")
        await page.got(f'm.type === "delta" && m.id === "{sent["id"]}"')
        cut(True)
        await asyncio.sleep(1.2)
        cut(False)
        assert await frames.next(time.monotonic(), 5) < 1.5
        assert (await page.response(sent["id"]))["text"] == "I see a cup."
        assert len(await began_at(page.page)) == 1
        await expect(page.state).to_have_text(say("page.live"))
        await page.leave()


async def test_a_long_cut_ends_with_the_picture_and_the_same_chat(
    visit: Visit, server: Running, model: FakeOpenAI, frames: FrameLog
) -> None:
    """The page says that the connection is lost and offers anew again and again; the link comes
    back, and so do the picture and the chat, by themselves.
    """
    async with whole_way(server) as (url, relay, cut):
        page = await visit(url, prepare=through(relay, HEAL_WITHIN=300, ANSWER_WITHIN=1000))
        page.expect(NOT_REACHED, GIVEN_UP)
        await page.start()
        await ask(page, "What is the red thing?")
        cut(True)
        await expect(page.state).to_have_text(say("page.connection_lost"), timeout=20_000)
        await expect(page.notice).to_be_visible()
        await asyncio.sleep(1.5)
        cut(False)
        assert await frames.next(time.monotonic(), 10) < 4
        await expect(page.state).to_have_text(say("page.live"), timeout=10_000)
        await expect(page.notice).to_be_hidden()
        await ask(page, "How big is it?")
        assert "What is the red thing?" in str(model.last.texts)
        assert len(await began_at(page.page)) == 1
        await page.leave()


_LABELS = """() => {
  window.__labels = [];
  const label = document.querySelector("#state-label");
  const note = () => {
    if (window.__labels.at(-1)?.[1] === label.textContent) return;
    window.__labels.push([performance.timeOrigin + performance.now(), label.textContent]);
  };
  note();
  new MutationObserver(note).observe(label, { childList: true, characterData: true, subtree: true });
}"""


# Seconds within which the label says that the connection is lost, and those from the picture's
# return to the answer's beginning. A machine with much else to do gets three tries.
LABEL_SECONDS, ANSWER_SECONDS = 2.0, 1.0
TRIES = 3


@pytest.mark.parametrize("seconds", [5, *at_night(13)])
async def test_the_chat_is_back_with_the_picture(
    visit: Visit, server: Running, model: FakeOpenAI, frames: FrameLog, seconds: float
) -> None:
    """Asked in the cut or after it, the answer does not wait for TCP's next try: it begins soon after
    the first picture, and comes once. The label says in time that the connection is lost, and goes straight back.
    """
    async with whole_way(server) as (url, relay, cut):
        page = await visit(url, prepare=through(relay))
        page.expect(NOT_REACHED, GIVEN_UP)
        await page.start()
        await ask(page, "What is the red thing?")
        for asked in ("in the cut", "after it"):
            took = []
            for _ in range(TRIES):
                took.append(await cut_once(page, model, frames, cut, seconds, asked))
                if took[-1][0] < LABEL_SECONDS and took[-1][1] < ANSWER_SECONDS:
                    break
            assert took[-1][0] < LABEL_SECONDS, (asked, took)
            assert took[-1][1] < ANSWER_SECONDS, (asked, took)
        assert len(await began_at(page.page)) == 1
        await page.leave()


async def cut_once(
    page: Visitor,
    model: FakeOpenAI,
    frames: FrameLog,
    cut: Callable[[bool], None],
    seconds: float,
    asked: str,
) -> tuple[float, float]:
    """Cut the link for so long, with a question in it or after it.

    Returns the seconds from the cut to the label, and from the picture's return to the answer's
    beginning: infinite when the question found no picture behind the first.
    """
    await page.evaluate(_LABELS)
    before, turns = model.count, await page.turns.count() + 1
    began, at = await page.now(), time.monotonic()
    cut(True)
    await asyncio.sleep(seconds - 1.5)
    if asked == "in the cut":
        await page.box.fill("How big is it?")
        await page.box.press("Enter")
    await asyncio.sleep(max(0.0, at + seconds - time.monotonic()))
    # Before: what comes at once must not come before it.
    joined = await page.now()
    cut(False)
    picture = await frames.next(time.monotonic(), 5)
    if asked == "after it":
        await page.box.fill("How big is it?")
        await page.box.press("Enter")
    await page.got('m.type === "started" || m.type === "error"', since=joined)
    heard = [
        e
        for e in await page.log()
        if e["at"] >= joined and e["message"]["type"] in ("started", "error")
    ]
    answer = math.inf
    if heard[0]["message"]["type"] == "error":
        # On a machine with much else to do the pictures behind the first may take seconds.
        assert heard[0]["message"]["code"] in ("camera_stalled", "camera_frozen"), heard
        turns += 1
        await ask(page, "How big is it?")
    else:
        answer = (heard[0]["at"] - joined) / 1000 - picture
    await expect(page.turns.last).to_have_attribute("data-state", "done")
    await page.page.wait_for_timeout(2500)
    labels = await page.evaluate("window.__labels")
    assert [label for _, label in labels] == [
        say("page.live"),
        say("page.connection_lost"),
        say("page.live"),
    ]
    assert model.count == before + 1
    await expect(page.turns).to_have_count(turns)
    return (labels[1][0] - began) / 1000, answer


async def test_a_server_that_forgot_the_camera_gets_a_new_offer(
    visit: Visit, server: Running, frames: FrameLog
) -> None:
    """The path is gone for so long that the server has ended its side (aiortc says `closed`): a new
    connection, the same session.
    """
    async with whole_way(server) as (url, relay, cut):
        page = await visit(url, prepare=through(relay, HEAL_WITHIN=300, ANSWER_WITHIN=1000))
        page.expect(NOT_REACHED, GIVEN_UP)
        await page.start()
        id = (await page.got('m.type === "ready"'))["session_id"]
        cut(True)
        connection = server.program.webrtc._connections[id]
        await connection.close()
        await asyncio.sleep(0.3)
        cut(False)
        assert await frames.next(time.monotonic(), 15) < 10
        await expect(page.state).to_have_text(say("page.live"))
        assert await page.evaluate("window.__peers.length") == 2
        assert len(await began_at(page.page)) == 1
        await page.leave()


async def test_another_address_of_the_camera_is_followed(
    visit: Visit, server: Running, frames: FrameLog
) -> None:
    """A NAT's binding or the network changes under a running connection: the server hears the
    camera from elsewhere, checks that it is the same, and goes on.
    """
    async with LinkRelay(up=Link(delay=0.02), down=Link(delay=0.02)) as relay:
        page = await started(visit, server.base_url, prepare=through(relay))
        moved = time.monotonic()
        await relay.move()
        await page.page.wait_for_timeout(4000)
        assert frames.longest_gap(moved, time.monotonic()) < 3
        down = relay.down.passed
        await frames.next(time.monotonic(), 2)
        # The server has to answer to the new address.
        await soon(lambda: relay.down.passed > down)
        assert await page.evaluate("window.__peers.length") == 1
        await expect(page.state).to_have_text(say("page.live"))


@pytest.mark.parametrize("how", ["slept", "network"])
async def test_after_sleep_or_on_another_network_nothing_is_waited_for(
    visit: Visit, server: Running, frames: FrameLog, how: str
) -> None:
    """The clock jumps by a minute (a laptop's lid), or the browser tells of another network: a new
    offer at once, the old connection as long as it takes, the same chat and the same socket where
    that still stands.
    """
    network = """const connection = Object.assign(new EventTarget(), {type: "wifi"});
      Object.defineProperty(navigator, "connection", {get: () => connection});"""

    async def prepare(page: Page) -> None:
        # A server that is late is not gone.
        await hurry(page, "outage.js", ANSWERS_SOON=8000)

    page = await started(visit, server.base_url, scripts=[network], prepare=prepare)
    since, at = await page.now(), time.monotonic()
    if how == "slept":
        await page.evaluate("{ const now = Date.now; Date.now = () => now() + 60000; }")
    else:
        # An estimate of the speed is no other network.
        await page.evaluate("navigator.connection.dispatchEvent(new Event('change'))")
        assert await page.evaluate("window.__peers.length") == 1
        await page.evaluate(
            "navigator.connection.type = 'cellular'; navigator.connection.dispatchEvent(new Event('change'))"
        )
    await page.page.wait_for_function("() => window.__peers.length === 2", timeout=5000)
    await page.got('m.type === "pong"', since=since)
    await page.page.wait_for_function("""() => window.__peers[0].connectionState === "closed"
              && window.__peers[1].connectionState === "connected" """)
    await frames.next(time.monotonic(), 3)
    assert frames.longest_gap(at, frames.at[-1]) < 2
    await expect(page.state).to_have_text(say("page.live"))
    assert len(await began_at(page.page)) == 1
    assert await page.evaluate("window.__log.filter(e => e.message.type === 'ready').length") == 1


async def test_a_device_without_a_network_says_so_and_is_back_with_it(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Told by the browser, not waited for; what is asked meanwhile goes out when it can, in the
    same chat.
    """
    page = await visit(server.base_url)
    page.expect(NOT_REACHED, GIVEN_UP)
    await page.start()
    await ask(page, "What is the red thing?")
    await page.page.context.set_offline(True)
    server.program.sessions.close_sockets(1012, "test")
    await expect(page.notice).to_contain_text("offline")
    since = await page.now()
    await page.box.fill("How big is it?")
    await page.box.press("Enter")
    await page.page.context.set_offline(False)
    sent = await page.sent("chat", since=since)
    await page.response(sent["id"])
    assert "What is the red thing?" in str(model.last.texts)
    await expect(page.state).to_have_text(say("page.live"))


async def test_a_camera_that_is_plugged_in_again_goes_on_by_itself(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """Unplugged: the page says so. Back: the same chat goes on without a press."""
    page = await started(visit, server.base_url)
    await ask(page, "What is the red thing?")
    await page.evaluate("window.__camera.unplug()")
    await expect(page.card).to_contain_text(say("page.camera_unplugged"))
    await expect(page.state).to_have_text(say("page.camera_off"))
    await page.evaluate("window.__camera.plug()")
    await expect(page.state).to_have_text(say("page.live"))
    await ask(page, "How big is it?")
    assert "What is the red thing?" in str(model.last.texts)
    # One that the person stopped stays stopped.
    await page.press(say("chat.camera_off"))
    await page.evaluate("window.__camera.plug()")
    await page.page.wait_for_timeout(200)
    await expect(page.state).to_have_text(say("page.camera_off"))


async def test_a_second_window_of_the_session_wins_and_the_first_says_so(
    visit: Visit, server: Running
) -> None:
    """The newest socket has the session; the page that lost it lets its camera go, says so, and can
    take it back.
    """
    tokens: list[str] = []
    page = await visit(server.base_url)
    page.page.on("request", lambda request: tokens.append(request.headers.get("authorization", "")))
    await page.start()
    id = (await page.got('m.type === "ready"'))["session_id"]
    token = next(text for text in tokens if text).removeprefix("Bearer ")
    protocols = [Subprotocol("qwen-camera"), Subprotocol(f"bearer.{token}")]
    async with connect(f"{server.ws_url}/ws/{id}", subprotocols=protocols, proxy=None) as other:
        await other.recv()
        await expect(page.card).to_contain_text(say("page.other_window"))
        await expect(page.state).to_have_text(say("page.camera_off"))
        await page.lets_go()
        await page.start()
        await other.wait_closed()
        assert other.close_code == 4409


async def test_the_chat_goes_on_after_a_restart(visit: Visit, model: FakeOpenAI) -> None:
    """With a fixed JWT_SECRET_KEY the token outlives the server and the session does not: the page
    comes back under the same id, brings its chat, and goes on with it.
    """
    settings = {
        "engine": "vllm",
        "vllm_base_url": model.base_url,
        "drain_seconds": 0.2,
        "require_auth": True,
        "jwt_secret_key": secrets.token_urlsafe(48),
    }
    async with running(**settings) as run:
        port = run.port
        page = await visit(run.base_url)
        page.expect(NOT_REACHED)
        await page.start()
        await ask(page, "What is this?")
    # Before there is another server: the page may be in at once.
    since = await page.now()
    async with running(port=port, **settings):
        await page.got('m.type === "ready"', since=since)
        # By what the server says: the browser alone would notice ten seconds later.
        await expect(page.state).to_have_text(say("page.live"), timeout=8000)
        # The chat came along.
        assert (await page.got('m.type === "resumed"', since=since))["turns"] == 1
        await expect(page.find("#log")).not_to_contain_text(
            say("problem.handover_refused").partition(".")[0]
        )
        ids = {
            entry["message"]["session_id"]
            for entry in await page.log()
            if entry["message"]["type"] == "ready"
        }
        assert len(ids) == 1
        await ask(page, "And now?")
        assert "What is this?" in str(model.last.texts)
        await page.leave()


@pytest.mark.alone
@pytest.mark.night
async def test_a_narrow_uplink_is_never_filled(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """500 kbit/s: nothing is dropped, the whole picture is sent, and the answer is about a frame
    from after the question. (How old it is: scripts/benchmark.py --network.)
    """
    up = Link(rate=500_000, delay=0.02)
    async with LinkRelay(up=up, down=Link(delay=0.02)) as relay:
        page = await started(visit, server.base_url, prepare=through(relay), **SHARP)
        for question in ("What is this?", "And this?"):
            await page.box.press_sequentially(question, delay=40)
            await page.box.clear()
            sent = await ask(page, question)
            assert Picture.of(model.last).before(sent["sent_at"]) <= 1
        report = await get_outbound_video(page.page)
        assert report is not None
        assert (report["frameWidth"], report["frameHeight"]) == (1280, 720)
        assert up.dropped_full == 0


@pytest.mark.alone
@pytest.mark.parametrize(
    ("codec", "loss"), [("VP8", 0.1), pytest.param("H264", 0.05, marks=pytest.mark.night)]
)
async def test_loss_costs_moments_not_the_picture(
    visit: Visit, server: Running, frames: FrameLog, codec: str, loss: float
) -> None:
    """Packets are lost both ways, with a round trip of 80 ms: the picture comes, and stays away for
    no longer than it takes to make another key frame, idle and awake. (Three seeds and longer:
    scripts/benchmark.py --network.)
    """
    links = [Link(delay=0.04, loss=loss) for _ in range(2)]
    async with LinkRelay(up=links[0], down=links[1], seed=3) as relay:

        async def prepare(page: Page) -> None:
            await put_link_between(page, relay)
            await prefer_codec(page, codec)

        page = await visit(server.base_url, prepare=prepare, **SHARP)
        start = time.monotonic()
        await page.start_button.click()
        await frames.next(start, 10)
        begin = time.monotonic()
        await page.page.wait_for_timeout(2500)
        for _ in range(4):
            await page.box.press_sequentially("a")
            await page.page.wait_for_timeout(500)
        # The target is 2 s; a machine with much else to do is slower.
        assert frames.longest_gap(begin, time.monotonic()) < 4
        assert links[0].dropped_lost > 5
        report = await get_outbound_video(page.page)
        assert report is not None
        assert report["frameWidth"] == 1280
