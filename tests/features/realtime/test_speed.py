"""First token and first sound of a program's request beside the page's, by turns: printed with `-s`; ROUNDS sets how many."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import pytest
from websockets.asyncio.client import connect

from scripts.bench.live_encoder import LiveEncoder
from scripts.bench.voice_peer import VoicePeer
from tests.features.grants.test_routes import give, serving_programs
from tests.features.realtime.test_calls import calling
from tests.support.clients import bearer, http
from tests.support.fakes_openai import FakeOpenAI
from tests.support.speech_server import SpeechServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

ROUNDS = int(os.environ.get("ROUNDS", "2"))
QUESTION = "What is it?"


def request(modality: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": QUESTION}]
    item = {"type": "message", "role": "user", "content": content}
    about = {"conversation": "none", "output_modalities": [modality], "input": [item]}
    return {"type": "response.create", "response": about}


async def first_audible(peer: VoicePeer, since: float) -> float:
    async with asyncio.timeout(15):
        while not (heard := peer.loudspeaker.find_audible(since)):
            await asyncio.sleep(0.001)
    return heard[0].at


def after_capture(at: float, done: dict[str, Any]) -> float:
    """Milliseconds from the frame's capture."""
    return at * 1000 - float(done["response"]["metadata"]["captured_at"])


async def test_programs_are_as_fast_as_the_page(encoder: LiveEncoder) -> None:
    """All ways give a token and a sound, each after its frame; how long after is printed."""
    async with (
        FakeOpenAI(max_model_len=32768) as fake,
        SpeechServer() as voice,
        serving_programs(fake, speech_base_url=voice.base_url) as run,
        VoicePeer(run.base_url, encoder) as page,
        http(run) as client,
    ):
        await page.wait_live()
        made = await give(client, page.token, scopes=["look", "speak"])
        address = f"{run.ws_url}/v1/realtime"
        async with (
            connect(address, additional_headers=bearer(made["token"]), proxy=None) as socket,
            calling(run, encoder) as caller,
        ):

            async def ask_page(sound: bool) -> float:
                since = page.seen
                await page.send({"type": "settings", "speak": sound})
                began = time.time()
                await page.send({"type": "chat", "content": QUESTION, "id": f"q{began}"})
                await page.wait_for(lambda m: m["type"] == "delta", since=since)
                at = time.time()
                end = await page.wait_for(lambda m: m["type"] == "response", since=since)
                if sound:
                    at = await first_audible(page, began)
                    await page.wait_for(
                        lambda m: m["type"] == "speaking" and m["state"] == "done", since=since
                    )
                return at * 1000 - float(end.message["frame"]["captured_at"])

            async def ask_socket(sound: bool) -> float:
                await socket.send(json.dumps(request("audio" if sound else "text")))
                first = f"response.output_{'audio' if sound else 'text'}.delta"
                at = 0.0
                while (event := json.loads(await socket.recv()))["type"] != "response.done":
                    at = at or (time.time() if event["type"] == first else 0.0)
                return after_capture(at, event)

            async def ask_call(sound: bool) -> float:
                began = time.time()
                caller.emit(**request("audio" if sound else "text"))
                if not sound:
                    await caller.until("response.output_text.delta")
                    at = time.time()
                    return after_capture(at, (await caller.until("response.done"))[-1])
                at = await first_audible(caller, began)
                got = await caller.until("output_audio_buffer.stopped")
                return after_capture(at, next(e for e in got if e["type"] == "response.done"))

            ways: dict[str, Callable[[bool], Awaitable[float]]] = {
                "page": ask_page,
                "socket": ask_socket,
                "call": ask_call,
            }
            times: dict[tuple[bool, str], list[float]] = {}
            for number in range(ROUNDS):
                for sound in (False, True):
                    for name in [*ways, *ways][number % 3 :][:3]:
                        # Frames come at a fixed rate: no way always waits equally long for one.
                        await asyncio.sleep(0.25 + 0.013 * (number * 5 % 11))
                        times.setdefault((sound, name), []).append(await ways[name](sound))
    for (sound, name), found in times.items():
        print(f"first {'sound' if sound else 'token'}, {name}: {median(found):.0f} ms of {ROUNDS}")
        assert min(found) > 0
