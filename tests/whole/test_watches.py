"""A watch over the socket, a camera over WebRTC, a model server: from the order to the alert."""

from __future__ import annotations

import base64
import gc
import json
from collections import Counter
from typing import Any

import cv2
import numpy as np
import pytest

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.core.frames import Frame
from server.features.recall.memory import PastPicture, Recall
from server.features.recall.recalling import RecallPart
from server.features.watches.alerts import KeptAlert, KeptAlerts
from server.features.watches.rule import WatchRules, WatchTracker
from server.features.watches.watch_triggers import WatchFrames
from server.features.watches.watching import Watching
from server.session.session import Session
from server.shared.watch_answers import parse_conditions
from tests.support.clients import Message, Page, soon, visitor
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
        for name in parse_conditions(asked(body))
    ]
    text = json.dumps({"watches": entries})
    return [text[at : at + 12] for at in range(0, len(text), 12)]


async def listed(page: Page, state: str) -> Message:
    while True:
        found = await page.next("watches", timeout=15)
        if found["watches"] and found["watches"][0]["state"] == state:
            return found


@pytest.mark.slow
async def test_from_the_order_to_the_alert() -> None:
    """One alert with the very frame; the next socket gets it again; the request has the schema."""
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
                alert = await page.next("alert", timeout=20)
                assert (alert["watch"], alert["reason"]) == ("white", "It is white.")
                jpeg = base64.b64decode(alert["image"].partition(",")[2])
                assert brightness(jpeg) > 160
                await listed(page, "seen")
                first, second = list(model.requests)[-2:]
                assert "Which of these" in asked(first.body)
                assert len(second.jpegs) == 2
                assert brightness(second.jpegs[0]) < 160 < brightness(second.jpegs[1])
                page = await guest.reconnect()
                again = await page.next("alert")
                assert (again["id"], again["acked"]) == (alert["id"], False)
                await page.send(type="ack", id=alert["id"])
                await page.send(type="unwatch", id="white")
                while (await page.next("watches"))["watches"]:
                    pass
        finally:
            await encoder.close()


# A session's messages about its watches and the past
_KINDS = (
    Session,
    Watching,
    WatchRules,
    WatchTracker,
    WatchFrames,
    KeptAlerts,
    KeptAlert,
    RecallPart,
    Recall,
    PastPicture,
    Frame,
)


def remaining() -> Counter[str]:
    """Count the objects of a session that are in memory, by their types."""
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if type(one) in _KINDS)


@pytest.mark.parametrize("planted", [False, True])
@pytest.mark.slow
async def test_nothing_of_watches_or_the_past_outlives_the_session(
    monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    """Orders, alerts with their pictures, frames, pictures of the past: none is in memory. Two that
    somebody kept are found.
    """
    kept: list[object] = []
    if planted:
        for owner, name, number in ((KeptAlerts, "acknowledge", 0), (Recall, "keep", 1)):
            faithful = getattr(owner, name)

            def keeping(
                *given: Any, faithful: Any = faithful, number: int = number, **more: Any
            ) -> Any:
                kept.append(next(iter(given[0]._events.values())) if number == 0 else given[1])
                return faithful(*given, **more)

            monkeypatch.setattr(owner, name, keeping)
    scene = Scene(640, 360)
    scene.moving = scene.clock = False
    encoder = LiveEncoder(scene, rate=10)
    async with (
        FakeOpenAI(answer_for=sees_white) as model,
        running(engine="vllm", vllm_base_url=model.base_url, rate_limit_per_minute=0) as run,
    ):
        before = remaining()
        try:
            async with visitor(run, encoder) as guest:
                page = guest.page
                await page.send(type="settings", recall=True)
                await page.send(type="watch", id="white", condition="the paper is white")
                await listed(page, "looking")
                await model.wait_for(2, timeout=15)
                scene.text, scene.text_px = "WHITE", 20
                alert = await page.next("alert", timeout=20)
                await soon(lambda: remaining()["PastPicture"] > before["PastPicture"], 20)
                await page.send(type="ack", id=alert["id"])
                await page.ponged()
                during = remaining()
                assert all(
                    during[name]
                    for name in ("Session", "WatchTracker", "KeptAlert", "Recall", "PastPicture")
                )
        finally:
            await encoder.close()
        if not planted:
            await soon(lambda: not remaining() - before, 15)
        else:
            await soon(lambda: not (remaining() - before)["Session"], 15)
            left = remaining() - before
            assert left["KeptAlert"] == 1
            assert left["PastPicture"] >= 1
            kept.clear()
