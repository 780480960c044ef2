"""A watch over the socket, with a camera over WebRTC and a model server: from the order to the
ring.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import cv2
import numpy as np
import pytest

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.attention.watch_answers import conditions_in
from tests.support.clients import Message, Page, visitor
from tests.support.fakes_openai import FakeOpenAI, Seen
from tests.support.running import running

pytestmark = pytest.mark.asyncio


def brightness(jpeg: bytes) -> float:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return float(np.asarray(picture).mean())


def asked(body: dict[str, Any]) -> str:
    """The question of a request."""
    return Seen(body, {}, [], 0.0, 0.0).texts[-1][1]


def sees_white(body: dict[str, Any], jpeg: bytes | None) -> list[str]:
    """The answer of a model that recognises nothing but a white picture."""
    assert jpeg is not None
    white = brightness(jpeg) > 160
    entries = [
        {"id": name, "seen": white, "sure": 0.9, "where": None, "why": "It is white."}
        for name in conditions_in(asked(body))
    ]
    text = json.dumps({"watches": entries})
    return [text[at : at + 12] for at in range(0, len(text), 12)]


async def listed(page: Page, state: str) -> Message:
    while True:
        found = await page.next("watches", timeout=15)
        if found["watches"] and found["watches"][0]["state"] == state:
            return found


async def test_from_the_order_to_the_ring() -> None:
    """One ring with the very frame; the next socket gets it again; the request has the schema."""
    scene = Scene(640, 360)
    scene.moving = scene.clock = False
    encoder = LiveEncoder(scene, rate=10)
    async with (
        FakeOpenAI(answer_for=sees_white) as model,
        running(engine="vllm", vllm_base_url=model.base_url, rate_limit_per_minute=0) as run,
    ):
        model.card = {"owned_by": "vllm"}
        try:
            async with visitor(run, encoder) as guest:
                page = guest.page
                await page.send(type="watch", id="white", condition="the paper is white")
                await listed(page, "looking")
                # The first look, and the one at the settled scene
                await model.wait_for(2, timeout=15)
                scene.text, scene.text_px = "WHITE", 20
                ring = await page.next("ring", timeout=20)
                assert (ring["watch"], ring["reason"]) == ("white", "It is white.")
                jpeg = base64.b64decode(ring["image"].partition(",")[2])
                assert brightness(jpeg) > 160
                await listed(page, "seen")
                first, second = list(model.requests)[-2:]
                assert "Which of these" in asked(first.body)
                assert len(second.jpegs) == 2
                assert brightness(second.jpegs[0]) < 160 < brightness(second.jpegs[1])
                page = await guest.reconnect()
                again = await page.next("ring")
                assert (again["id"], again["heard"]) == (ring["id"], False)
                await page.send(type="heard", id=ring["id"])
                await page.send(type="unwatch", id="white")
                while (await page.next("watches"))["watches"]:
                    pass
        finally:
            await encoder.close()
