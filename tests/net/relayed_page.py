"""Visits over one relay alone: Chromium through the page, aiortc, and what the server says of its
relays.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser

from benchmarks.browser import page_with_camera
from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import request_json
from tests.browser.visitor import Visitor
from tests.net.rooms import WATCHING, encoder, first_frame
from tests.support.namespaces import Namespace

# Only one of the relays that the page was given, and other credentials where asked for
_ONLY = """(() => {
  const Stock = window.RTCPeerConnection, only = ONLY, change = CHANGE;
  window.RTCPeerConnection = class extends Stock {
    constructor(configuration) {
      const iceServers = configuration.iceServers
        .map(server => ({...server, ...change, urls: server.urls.filter(url => url === only)}))
        .filter(server => server.urls.length);
      super({...configuration, iceServers});
    }
  };
})()"""


@asynccontextmanager
async def visitor(
    browser: Browser, page_url: str, url: str, **change: str
) -> AsyncIterator[Visitor]:
    """A page that uses one relay's URL alone."""
    async with page_with_camera(browser) as page:
        visitor = Visitor(page, page_url)
        script = _ONLY.replace("ONLY", json.dumps(url), 1).replace("CHANGE", json.dumps(change), 1)
        await page.add_init_script(script)
        await visitor.open()
        yield visitor
        await visitor.leave()
        assert visitor.problems == []


_WAY = """async () => {
  const stats = [...(await window.__peers.at(-1).getStats()).values()];
  const pair = stats.find(s => s.type === "candidate-pair" && s.nominated && s.bytesSent > 0);
  const local = stats.find(s => s.id === pair?.localCandidateId);
  return [local?.candidateType, local?.relayProtocol];
}"""


async def way(person: Visitor) -> list[str]:
    """Type and relay's protocol of the candidate that the page sends from."""
    found: list[str] = await person.page.evaluate(_WAY)
    return found


async def one_visit(page_url: str, url: str) -> tuple[float, str]:
    """Connect over one URL and ask: seconds to the first frame, and the answer's text."""
    async with encoder() as camera, CameraPeer(page_url, camera, ice_urls=[url]) as peer:
        seconds = await first_frame(peer)
        answer = await peer.ask("What do you see?")
        return seconds, answer.text


async def checked(namespace: Namespace, page_url: str) -> Any:
    """Return the relays' state from /health, once each has been checked."""

    async def ask() -> Any:
        while True:
            turn = (await request_json("GET", f"{page_url}/health", token=WATCHING))["turn"]
            if all(entry["ok"] is not None for entry in turn):
                return turn
            await asyncio.sleep(0.05)

    async with asyncio.timeout(10):
        return await namespace.inside(ask)
