"""Nothing leaves for another machine after a restart with every engine, voice and recogniser elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import expect

from benchmarks.browser import chromium, page_with_camera
from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import request
from scripts.bench.voice_sounds import write_sound
from server.core.frames import QuestionMode
from tests.browser.fixtures import SMALL_CAMERA
from tests.browser.visitor import NOT_REACHED, REFUSED_TOKEN, SHELL, Visitor, slow_down
from tests.features.rtsp.scripted import is_red, jpeg_camera, red_jpeg, written
from tests.features.webhooks import receiver as hooks
from tests.support.clients import bearer, http, soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import camera_peer, live_encoder
from tests.support.mosquitto import broker, listening, no_mosquitto
from tests.support.names import named
from tests.support.running import running
from tests.support.sounds import (
    SENTENCES,
    make_hiss,
    make_silence,
    mix,
    needs_espeak,
    synthesise_espeak,
)
from tests.support.speech_server import SpeechServer, TranscriptionServer
from tests.support.whip_client import WhipCamera
from tests.support.words import say

pytestmark = [
    needs_espeak,
    pytest.mark.skipif(bool(no_mosquitto()), reason=no_mosquitto()),
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
]

GPU, VOICE, WORDS = "gpu.example.org", "voice.example.org", "words.example.org"
# What clients without a page may send, with all that carries a picture, sound or words
MESSAGES: tuple[dict[str, Any], ...] = (
    {"type": "settings", "describe": True, "recall": True, "speak": True, "sample_rate": 10},
    {"type": "settings", "microphone": "hands_free", "tools": True, "cameras": ["1", "2"]},
    {"type": "watch", "id": "w", "condition": "a person waves"},
    {"type": "typing"},
    {"type": "goal", "thing": "the cup"},
    {"type": "scan"},
    {"type": "hold"},
    *(
        {"type": "chat", "content": "What is this?", "id": f"q{route}", "route": route}
        for route in QuestionMode
    ),
    {"type": "release"},
    {"type": "typing"},
)


class Machine:
    """A machine with all three servers, under other names than this one's."""

    def __init__(self) -> None:
        self.model, self.voice, self.words = FakeOpenAI(), SpeechServer(), TranscriptionServer()

    def settings(self, *names: str) -> dict[str, str]:
        gpu, voice, words = names or ("127.0.0.1",) * 3
        return {
            "vllm_base_url": f"http://{gpu}:{self.model.port}/v1",
            "speech_base_url": f"http://{voice}:{self.voice.port}/v1",
            "transcription_base_url": f"http://{words}:{self.words.port}/v1",
        }

    def got(self) -> tuple[int, int, int]:
        """The requests for answers, for speech and for words."""
        return len(self.model.requests), len(self.voice.requests), len(self.words.requests)


@asynccontextmanager
async def machine() -> AsyncIterator[Machine]:
    one = Machine()
    async with one.model, one.voice, one.words:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def person(tmp_path: Path) -> AsyncIterator[Visitor]:
    """A page, which is not open yet, of somebody who says the same question again and again."""
    path = tmp_path / "question.wav"
    sound = np.concatenate([make_silence(1), synthesise_espeak(SENTENCES[0]), make_silence(3)])
    write_sound(path, mix(sound, make_hiss(len(sound) / 16_000)))
    args = [
        "--no-proxy-server",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={path}",
    ]
    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(chromium(args=args, executable=SHELL))
        permitted = {"permissions": ["microphone"]}
        page = await stack.enter_async_context(
            page_with_camera(browser, context_options=permitted, **SMALL_CAMERA)
        )
        await slow_down(page)
        yield Visitor(page, "")


async def test_nothing_leaves_after_a_restart_before_somebody_agrees(
    person: Visitor, tmp_path: Path
) -> None:
    """A page with all that it can repeat, a bare client, a program and a fixed camera; then each is agreed to."""
    async with (
        machine() as here,
        machine() as away,
        jpeg_camera(red_jpeg) as port,
        hooks.receiving() as hall,
        broker(tmp_path) as home,
        listening(home, "#"),
    ):
        door = (
            f'url = "http://127.0.0.1:{port}/"\nwatches = ["a dog"]\ndescribe = true\nmqtt = true'
        )
        hook = hooks.hall(hall.url, "people = true", 'cameras = ["door"]')
        always: dict[str, Any] = {
            "mqtt_url": home.url,
            "webhooks": str(hooks.written(tmp_path, hook)),
            "engine": "vllm",
            "standing_cameras": str(written(tmp_path, door=door)),
            "operator_token": "operator-token-of-this-test",
            "jwt_secret_key": "key-of-both-servers-0123456789abcdef",
            "rate_limit_per_minute": 0,
            "drain_seconds": 0.2,
        }
        async with running(**here.settings(), **always) as run:
            person.url = run.base_url
            person.expect(NOT_REACHED, REFUSED_TOKEN)
            await person.open()
            await person.start()
            await person.box.fill("Tell me when a person waves.")
            await person.button(say("chat.watch_this")).click()
            await person.got('m.type === "watches" && m.watches.length === 1')
            for button in ("chat.describe", "chat.read_aloud"):
                await person.press(say(button))
            await person.button(say("voice.talk")).click()
            await soon(lambda: min(here.got()) > 0, 60)
            listening_port = run.port
        with named(GPU, VOICE, WORDS):
            settings = {**away.settings(GPU, VOICE, WORDS), **always, "port": listening_port}
            async with running(**settings) as run, live_encoder() as encoder:
                await person.got(
                    'm.type === "status" && m.camera === "live" && m.engine === "vllm"'
                    " && window.__log.some((e) => e.message.elsewhere === 'gpu.example.org')",
                    timeout=60,
                )
                bare = CameraPeer(run.base_url, encoder)
                bare.agrees = False
                async with bare, http(run) as client, camera_peer(encoder) as peer:
                    await bare.wait_live()
                    # A further camera, which is asked about together with its own
                    invited = await client.post("/api/cameras", json={}, headers=bearer(bare.token))
                    issued = {"session_id": bare.session_id, **invited.json()}
                    await WhipCamera(run, client, peer, issued).publish()
                    await bare.wait_for(
                        lambda m: m["type"] == "cameras" and m["cameras"][-1].get("state") == "live"
                    )
                    for message in MESSAGES:
                        await bare.send(message)
                    assert await program_asks(run.base_url, bare.token) == 409
                    await asyncio.sleep(6)
                    assert away.got() == (0, 0, 0)
                    assert hall.heard == []
                    assert not any(payload[:2] == b"\xff\xd8" for _, payload, _ in home.heard)
                # Pictures' machine alone, then the others by their buttons
                await expect(person.find("#disclosure-host")).to_have_text(GPU)
                await agree(person)
                await person.ask("What is this?")
                # Read by the page's own voice, and no longer heard
                await asyncio.sleep(2)
                assert away.got()[0] > 0
                assert away.got()[1:] == (0, 0)
                await person.button(say("voice.talk")).click()
                await expect(person.find("#disclosure-title")).to_contain_text(WORDS)
                await agree(person)
                await soon(lambda: away.got()[2] > 0, 60)
                assert away.got()[1] == 0
                for _ in range(2):
                    await person.press(say("chat.read_aloud"))
                await expect(person.find("#disclosure-title")).to_contain_text(VOICE)
                await agree(person)
                await soon(lambda: away.got()[1] > 0, 60)
                # The fixed camera's list names no machine.
                pictures = [jpeg for seen in away.model.requests for jpeg in seen.jpegs]
                assert not any(map(is_red, pictures))
                await person.leave()


async def agree(person: Visitor) -> None:
    await person.button(say("dialogs.disclosure_agree")).click()


async def program_asks(url: str, token: str) -> int:
    """Ask as a program that the session's person let in; return the status."""
    grant = {"name": "Program", "scopes": ["look"]}
    made = await request("POST", f"{url}/api/grants", grant, token=token)
    body = {"model": "camera", "messages": [{"role": "user", "content": "What is this?"}]}
    program = str(made.parse_json()["token"])
    return (await request("POST", f"{url}/v1/chat/completions", body, token=program)).status
