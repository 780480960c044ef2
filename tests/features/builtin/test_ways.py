"""Things through every way out of a fixed camera: its questions, MCP, OpenAI's interface, MQTT, webhooks, and watches."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent
from openai import AsyncOpenAI

from server.features.builtin.detector import ThingFinder
from server.features.mqtt.discovery import Topics, watch_key
from server.media.picture.encode import jpeg
from server.shared.watch_answers import conditions_in
from tests.features.builtin.test_detector import photo
from tests.features.builtin.test_things import room
from tests.features.rtsp.scripted import OPERATOR, begun, house, jpeg_camera, written
from tests.features.rtsp.test_standing import ask, rtsp, until
from tests.features.webhooks.receiver import receiving
from tests.features.webhooks.test_house import listed
from tests.peers.processes import no_rtsp
from tests.support.clients import metric, soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.mosquitto import broker, listening, no_mosquitto
from tests.support.running import Running, running

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

TOPICS = Topics("qwen-camera", "homeassistant")
COMES, GOES = "Tell me when a person comes", "the cup leaves"
PERSON = watch_key(COMES)
WATCHED = f"watches = {json.dumps([COMES])}\n"
Bgr = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def person() -> Bgr:
    """A person in the room."""
    bgr, shown = room(), photo("astronaut")
    bgr[100 : 100 + shown.shape[0], 300 : 300 + shown.shape[1]] = shown
    return bgr


@dataclass
class Door:
    """A fixed camera that shows what a test likes, and its operator."""

    run: Running
    client: Any
    views: list[bytes]

    def show(self, bgr: Bgr) -> None:
        self.views[0] = jpeg(bgr)

    async def program(self) -> dict[str, Any]:
        body = {"name": "Program", "scopes": ["look", "watch", "events"], "seconds": 600}
        made = (await self.client.post("/api/operator/cameras/door/grants", json=body)).json()
        return dict(made)


@asynccontextmanager
async def door(folder: Path, lines: str = "", **settings: Any) -> AsyncIterator[Door]:
    views = [jpeg(room(("coffee", 300)))]
    async with jpeg_camera(lambda: views[0]) as port:
        given = {"program_looks_per_minute": 600, **settings}
        url = f'url = "http://127.0.0.1:{port}/"\n{lines}'
        async with house(folder, given, door=url) as (run, client):
            await until(client, state="live")
            yield Door(run, client, views)


async def test_its_operator_asks(tmp_path: Path) -> None:
    async with door(tmp_path) as one:
        assert (await ask(one.client, "What is this?"))["text"].startswith("I see a cup.")
        assert (await ask(one.client, "Is there a cat?"))["text"].startswith("I may miss it")
        where = await ask(one.client, "Where is the cup?")
        assert where["text"] == "A cup: in the middle."
        assert [box["label"] for box in where["boxes"]] == ["a cup"]
        one.show(room(("chelsea", 300)))
        await soon(lambda: one.run.program.sessions.all()[0].camera.newest is not None)
        assert "cat" in (await ask(one.client, "Is there a cat?"))["text"]


async def test_an_assistant_looks_and_watches(tmp_path: Path) -> None:
    """Over MCP."""
    async with door(tmp_path) as one:
        made = await one.program()
        own = {"Authorization": f"Bearer {made['token']}"}
        address = f"{one.run.base_url}{made['mcp']}"
        async with (
            httpx2.AsyncClient(headers=own, timeout=60) as http_client,
            Client(streamable_http_client(address, http_client=http_client)) as client,
        ):

            async def call(tool: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
                result = await client.call_tool(tool, arguments)
                (text,) = (part.text for part in result.content if isinstance(part, TextContent))
                return text, dict(result.structured_content or {})

            assert (await call("look", question="What is this?"))[0].startswith("I see a cup.")
            said, facts = await call("find", what="the cup")
            assert said == "A cup: in the middle."
            assert [box["label"] for box in facts["boxes"]] == ["a cup"]
            for condition in (COMES, GOES):
                assert (await call("watch_add", condition=condition))[1].keys() == {"id"}
            watching = one.run.program.sessions.all()[0].part("watches")
            await soon(lambda: all(each.armed for each in watching.watches()), 30)
            one.show(person())
            await soon(lambda: len(watching.alerts.kept()) == 2, 30)
            _, facts = await call("events")
            reasons = {event["condition"]: event["reason"] for event in facts["events"]}
            assert reasons == {COMES: "A person: in the middle.", GOES: "I do not see that: a cup."}


async def test_a_program_chats(tmp_path: Path) -> None:
    """In OpenAI's form, which has no boxes: where something is stands in words."""
    async with door(tmp_path) as one:
        made = await one.program()
        client = AsyncOpenAI(base_url=f"{one.run.base_url}{made['openai']}", api_key=made["token"])
        async with client:
            for question, expected in (
                ("What is this?", "I see a cup."),
                ("Is there a cat?", "I may miss it, but I do not see that: a cat."),
                ("Where is the cup?", "A cup: in the middle."),
            ):
                answer = await client.chat.completions.create(
                    model="camera", messages=[{"role": "user", "content": question}]
                )
                assert (answer.choices[0].message.content or "").startswith(expected)


@pytest.mark.skipif(bool(no_mosquitto()), reason=no_mosquitto())
async def test_a_house_hears_of_it(tmp_path: Path) -> None:
    """Over MQTT: a look that somebody ordered, a description, and a watch that goes on."""
    async with (
        broker(tmp_path) as other,
        listening(other, "#") as client,
        door(tmp_path, f"{WATCHED}mqtt = true\ndescribe = true", mqtt_url=other.url) as one,
    ):
        await soon(lambda: other.last(TOPICS.watch("door", PERSON)) == b"OFF", 60)
        await client.publish(TOPICS.look("door"), b"PRESS", qos=1)
        await soon(lambda: other.last(TOPICS.answer("door")) is not None, 60)
        assert (other.last(TOPICS.answer("door")) or b"").startswith(b"I see a cup.")
        one.show(person())
        await soon(lambda: other.last(TOPICS.watch("door", PERSON)) == b"ON", 60)
        description = TOPICS.description("door")
        await soon(lambda: b"person" in (other.last(description) or b""), 60)


@pytest.mark.skipif(bool(no_rtsp()), reason=no_rtsp())
async def test_a_stream_rings_a_webhook(tmp_path: Path) -> None:
    """From a true RTSP camera that somebody walks in front of to a verified POST with its picture."""
    view = tmp_path / "view.jpg"
    view.write_bytes(jpeg(room(("coffee", 300))))
    async with rtsp("h264", view) as (_, port), receiving() as receiver:
        url = f'url = "rtsp://127.0.0.1:{port}/view"\n{WATCHED}'
        cameras = str(written(tmp_path, door=url))
        hooks = listed(tmp_path, receiver, "inline", "https://cam.example.org")
        async with running(
            standing_cameras=cameras, operator_token=OPERATOR, webhooks=hooks
        ) as run:
            await soon(lambda: begun(run), 60)
            came = tmp_path / "came.jpg"
            came.write_bytes(jpeg(person()))
            came.replace(view)
            await soon(lambda: bool(receiver.heard), 60)
            (message,) = receiver.messages
            data = message["data"]
            assert data["condition"] == COMES
            assert data["reason"].startswith("A person")
            shown = np.frombuffer(base64.b64decode(data["evidence"]["base64"]), np.uint8)
            picture = cv2.imdecode(shown, cv2.IMREAD_COLOR)
            assert picture is not None
            things = ThingFinder().find(np.asarray(picture, np.uint8))
            assert "person" in [thing.name for thing in things if thing.sure]


def judged(body: dict[str, Any], picture: bytes | None) -> list[str]:
    """Answer about watches as a model does that sees a person in whatever it is shown."""
    (text,) = (
        part["text"]
        for part in body["messages"][-1]["content"]
        if part["type"] == "text" and "watches" in part["text"]
    )
    names = conditions_in(text)
    entries = [
        {"id": name, "seen": True, "sure": 0.9, "where": None, "why": "So."} for name in names
    ]
    return [json.dumps({"watches": entries})]


@pytest.mark.parametrize("named", [True, False], ids=["detector", "no detector"])
async def test_a_model_server_only_confirms(tmp_path: Path, named: bool) -> None:
    """A cat is nothing to ask about, and a person one thing; as ever without NAME_THINGS."""
    async with FakeOpenAI() as model:
        model.answer_for = judged
        settings = {"engine": "vllm", "vllm_base_url": model.base_url, "name_things": named}
        async with door(tmp_path, WATCHED, **settings) as one:
            await soon(lambda: begun(one.run), 60)
            if not named:
                assert model.requests
                assert metric(one.run, "watch_detector_looks_total", result="done") == 0
                return
            one.show(room(("chelsea", 500)))
            looks = metric(one.run, "watch_detector_looks_total", result="done")
            await soon(
                lambda: metric(one.run, "watch_detector_looks_total", result="done") > looks + 3
            )
            assert not model.requests
            one.show(person())
            await soon(lambda: metric(one.run, "alerts_total") == 1, 30)
            assert len(model.requests) == 1
            assert metric(one.run, "watch_confirmations_total", result="yes") == 1
