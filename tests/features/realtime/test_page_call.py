"""In Chromium: a call of OpenAI's agents, unmodified, with the guide's three lines; and the page's sign that a program listens."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route, expect
from websockets.asyncio.client import connect

from benchmarks.browser import chromium
from tests.browser.visitor import SHELL, Visit, started
from tests.features.grants.test_page_programs import given
from tests.features.grants.test_routes import serving_programs
from tests.features.realtime.test_agents import PEERS, lamp_once
from tests.support.clients import bearer, http, soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.guides import blocks, text_of
from tests.support.speech_server import TranscriptionServer
from tests.support.words import say

BUNDLE = PEERS / "node_modules/@openai/agents-realtime/dist/bundle"
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ORIGIN, OPERATOR = "http://localhost:8999", "k3JHvT8s0QmXr5WbZp1L"
# Calls with the guide's lines; the answers and the arguments of the function
CALL = """async ({ baseUrl, apiKey }) => {
  const { OpenAIRealtimeWebRTC, RealtimeAgent, RealtimeSession, tool } = await import("/openai-realtime-agents.mjs");
  const calls = [];
  const lamp = tool({
    name: "lamp",
    description: "Switch the lamp.",
    strict: false,
    parameters: { type: "object", properties: { on: { type: "boolean" } }, required: [], additionalProperties: true },
    execute: async (given) => (calls.push(given), "The lamp is on."),
  });
  const agent = new RealtimeAgent({ name: "Helper", instructions: "Answer in one word.", tools: [lamp] });
  GUIDE
  const config = { outputModalities: ["text"] };
  const session = new RealtimeSession(agent, { transport, model: "camera", config });
  let fail, done, asked = 0;
  session.on("error", (error) => fail(new Error(JSON.stringify(error))));
  session.on("history_updated", (history) => {
    const last = history.at(-1);
    const users = history.filter(({ role }) => role === "user").length;
    if (users === asked && last?.role === "assistant" && last.status === "completed") done(last.content[0].text);
  });
  const ask = (text) => new Promise((resolve, reject) => {
    [done, fail, asked] = [resolve, reject, asked + 1];
    session.sendMessage(text);
  });
  await session.connect({ apiKey });
  const texts = [await ask("What is it?"), await ask("Switch the lamp on.")];
  const { callId } = transport;
  session.close();
  return { texts, calls, callId };
}"""


async def serve(route: Route) -> None:
    """A page of another origin, with the package's own bundle."""
    name = route.request.url.rpartition("/")[2]
    if not name:
        await route.fulfill(content_type="text/html", body="<!doctype html><title>App</title>")
    else:
        await route.fulfill(path=BUNDLE / Path(name).name, content_type="text/javascript")


def lamp_at_its_word(body: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Call the lamp when it is asked for."""
    return lamp_once(body) if "Switch the lamp" in str(body["messages"]) else None


@pytest.mark.skipif(
    not BUNDLE.is_dir(),
    reason="@openai/agents-realtime is not installed (scripts/test.sh installs it)",
)
async def test_agents_call_with_the_camera() -> None:
    """A text about the picture, and a function that the page runs."""
    (guide,) = [block for kind, block in blocks(text_of("docs/realtime.md")) if kind == "js"]
    assert len(guide.splitlines()) == 3
    args = [
        *("--no-proxy-server", "--use-fake-ui-for-media-stream"),
        "--use-fake-device-for-media-stream",
    ]
    settings = {"allowed_origins": ORIGIN, "operator_token": OPERATOR}
    async with (
        FakeOpenAI(max_model_len=32768) as fake,
        # The client always sends its microphone.
        TranscriptionServer() as words,
        serving_programs(fake, transcription_base_url=words.base_url, **settings) as run,
        chromium(args=args, executable=SHELL) as browser,
    ):
        fake.deltas_for = lamp_at_its_word
        async with http(run, OPERATOR) as client:
            key = (await client.post("/v1/realtime/client_secrets")).json()["value"]
        page = await browser.new_page(permissions=["local-network-access"])
        await page.route(f"{ORIGIN}/**", serve)
        await page.goto(f"{ORIGIN}/")
        given = {"baseUrl": f"{run.base_url}/v1/realtime/calls", "apiKey": key}
        got = await page.evaluate(CALL.replace("GUIDE", guide), given)
        assert got["texts"] == ["I see a cup.", "I see a cup."]
        assert got["calls"] == [{"on": True}]
        assert got["callId"].startswith("rtc_")
        assert len(fake.last.jpegs) == 1
        assert fake.last.body["messages"][-1]["content"] == "The lamp is on."
        await soon(lambda: len(run.program.sessions) == 0)
        await page.close()


async def test_the_page_shows_that_a_program_listens(visit: Visit) -> None:
    """While it sends sound, and only then; one press ends its access, and with it the connection."""
    async with (
        FakeOpenAI(max_model_len=32768) as fake,
        TranscriptionServer() as transcriber,
        serving_programs(fake, transcription_base_url=transcriber.base_url) as run,
    ):
        page = await started(visit, run.base_url)
        await page.find("#state").click()
        await page.press(say("programs.title"))
        _, token = await given(page, "Robot", say("programs.may_listen"))
        await page.find("#programs-close").click()
        await expect(page.find("#programs-light")).to_be_visible()
        sign = page.find("#programs-listening")
        await expect(sign).to_be_hidden()
        sound = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 6400})
        address = f"{run.ws_url}/v1/realtime"
        async with connect(address, additional_headers=bearer(token), proxy=None) as socket:
            await socket.send(sound)
            await expect(sign).to_be_visible()
            says = [say(f"programs.{key}", name="Robot") for key in ("is_listening", "end_access")]
            await expect(sign).to_have_accessible_name(". ".join(says))
            await expect(sign).to_be_hidden()
            await socket.send(sound)
            await sign.click()
            async with asyncio.timeout(10):
                await socket.wait_closed()
            assert socket.close_code == 4401
        await expect(sign).to_be_hidden()
        await expect(page.find("#programs-light")).to_be_hidden()
