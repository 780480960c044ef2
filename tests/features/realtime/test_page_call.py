"""OpenAI's agents for browsers, unmodified, in Chromium: a call with the camera by the guide's three lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route

from benchmarks.browser import chromium
from tests.browser.visitor import SHELL
from tests.features.grants.test_routes import serving_programs
from tests.features.realtime.test_agents import PEERS, lamp_once
from tests.support.clients import http, soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.guides import blocks, text_of

BUNDLE = PEERS / "node_modules/@openai/agents-realtime/dist/bundle"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not BUNDLE.is_dir(),
        reason="@openai/agents-realtime is not installed (scripts/test.sh installs it)",
    ),
    pytest.mark.asyncio(loop_scope="session"),
]

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
        serving_programs(fake, **settings) as run,
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
