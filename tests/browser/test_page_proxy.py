"""The page through a real nginx with deploy/nginx.conf, in front of two processes that are
restarted one after the other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect

from scripts.bench.http_json import request
from tests.browser.visitor import NOT_REACHED, Visit, Visitor, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.nginx import SECRET, Scene, balanced, server_behind
from tests.support.redis_server import redis_server
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

WORDS = ["A ", "long ", "answer ", "that ", "comes ", "word ", "by ", "word."]

# The camera is live in a session, once that has begun.
_LIVE_IN = """session => {
  const begun = window.__log.findIndex(({ message: m }) => m.type === "ready" && m.session_id === session);
  return begun >= 0 && window.__log.slice(begun).some(({ message: m }) => m.type === "status" && m.camera === "live");
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def settings(
    model_server: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, str]]:
    async with redis_server(tmp_path_factory.mktemp("redis")) as redis:
        yield {
            "ENGINE": "vllm",
            "VLLM_BASE_URL": model_server.base_url,
            "JWT_SECRET_KEY": SECRET,
            "REDIS_URL": redis.url,
        }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scene(
    settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with balanced(tmp_path_factory.mktemp("nginx"), settings) as scene:
        yield scene


def home(scene: Scene, session_id: str) -> int:
    """The index of the process that a session belongs to."""
    names = [str(server.port) for server in scene.processes]
    return names.index(session_id.partition("-")[0])


async def know_each_other(scene: Scene) -> None:
    """Wait until each process has read the other's report, which comes every five seconds."""
    async with asyncio.timeout(60):
        for server in scene.processes:
            while not [
                one
                for one in (await request("GET", f"{server.url}/health")).parse_json()["gateways"]
                if not one["draining"]
            ]:
                await asyncio.sleep(0.1)


async def session_of(page: Visitor, *, since: float = 0, other: str = "") -> str:
    """The page's session, once the server has greeted it; not the `other`."""
    wanted = f'm.type === "ready" && m.session_id !== "{other}"'
    ready = await page.got(wanted, since=since, timeout=20)
    return str(ready["session_id"])


async def test_the_page_through_nginx(visit: Visit, scene: Scene, model: FakeOpenAI) -> None:
    """Page by HTTP/2, offer, socket; an answer comes word by word and not all at once; an upload is
    refused.
    """
    model.answer_for = lambda _body, _jpeg: WORDS[:5]
    page = await started(visit, scene.nginx.url)
    protocol = await page.evaluate('performance.getEntriesByType("navigation")[0].nextHopProtocol')
    assert protocol == "h2"
    model.between_tokens = 0.3
    response = await page.ask("What is it?")
    assert response["text"] == "A long answer that comes "
    deltas = [
        entry["at"]
        for entry in await page.log()
        if entry["way"] == "got" and entry["message"]["type"] == "delta"
    ]
    # On a busy machine two may go together.
    assert len(deltas) >= 3
    # ms, of 1,200; held back they would come all at once.
    assert deltas[-1] - deltas[0] > 600
    page.expect("status of 403")
    told = await page.evaluate("""async () => {
      const form = new FormData();
      form.append("file", new Blob(["x"]), "a.jpg");
      const reply = await fetch("/upload", { method: "POST", body: form });
      return [reply.status, (await reply.json()).error.code];
    }""")
    assert told == [403, "upload_refused"]
    # HTTP/2 has bodies without a length, too: as much as is allowed goes into no file, which would
    # fail here.
    told = await page.evaluate("""async () => {
      const statuses = [];
      for (const size of [131072, 131073]) {
        const body = new Blob([new Uint8Array(size)]).stream();
        const headers = { "Content-Type": "application/json" };
        const reply = await fetch("/api/webrtc/offer", { method: "POST", body, headers, duplex: "half" });
        statuses.push(reply.status);
      }
      return statuses;
    }""")
    page.expect("status of 400", "status of 413")
    assert told == [400, 413]
    written = scene.nginx.written + "".join(server.text for server in scene.processes)
    assert "/api/webrtc/offer" in written
    for said in ("What is it", "long answer", "eyJ"):
        assert said not in written
    session = await session_of(page)
    assert (await scene.sessions())[home(scene, session)] >= 1


async def test_a_rolling_restart_loses_no_answer(
    visit: Visit, scene: Scene, settings: dict[str, str], model: FakeOpenAI
) -> None:
    """Each process in turn is stopped in the middle of an answer: it comes to its end, the page is
    sent to the other one, and goes on there with its chat, its watch and its settings.
    """
    page = await visit(scene.nginx.url)
    page.expect(NOT_REACHED, "status of 503", "status of 404")
    await page.start()
    session = await session_of(page)
    await page.box.fill("Tell me when you see red.")
    await page.button(say("chat.watch_this")).click()
    await page.got('m.type === "watches" && m.watches.length === 1')
    await page.settings()
    await page.find("#settings [name=sensitivity]").fill("1")
    await page.button(say("page.done")).click()
    for turn in range(2):
        await know_each_other(scene)
        at = home(scene, session)
        model.answer_for = lambda _body, _jpeg: WORDS
        model.between_tokens = 0.2
        since = await page.now()
        sent = await page.send(f"What is it, {turn}?")
        await page.got(f'm.type === "delta" && m.id === "{sent["id"]}"')
        stopping = asyncio.create_task(scene.processes[at].stop())
        response = await page.response(sent["id"])
        assert response["text"] == "".join(WORDS)
        assert response["finish_reason"] == "stop"
        assert await stopping == 0
        model.between_tokens = 0.0
        # It was asked to go, and did not wait for the end of its socket.
        await page.got('m.type === "moved"', since=since)
        # Somewhere else, and for good: the id of the new session leads there, whatever comes back.
        session = await session_of(page, since=since, other=session)
        assert home(scene, session) == 1 - at
        await page.page.wait_for_function(_LIVE_IN, arg=session, timeout=20_000)
        await expect(page.state).to_have_text(say("page.live"))
        assert (await page.ask("And now?"))["text"] == "".join(WORDS)
        # The chat came along, and the watch.
        assert (await page.got('m.type === "resumed"', since=since))["turns"] > 0
        watch = await page.sent("watch", since=since)
        assert (watch["condition"], watch["threshold"]) == ("you see red", 0.5)
        await page.sends('m.type === "settings" && m.sensitivity === 2', since=since)
        await expect(page.find("#log")).not_to_contain_text(
            say("problem.handover_refused").partition(".")[0]
        )
        back = server_behind(scene.processes[at].port, settings)
        scene.processes[at] = await scene.stack.enter_async_context(back)
        assert (await page.ask("And then?"))["text"] == "".join(WORDS)
    await expect(page.turns).to_have_count(6)
    assert "token" not in re.sub(r"/api/token|tokens\.css", "", scene.nginx.written)
