"""A server with a person's live camera and a model that names places, for the Python client's tests."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from qwen_camera import Camera

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.features.grants.programs import get_programs
from server.features.watches.alerts import KeptAlerts
from server.features.watches.rule import Firing
from server.media.picture.grounding import Box
from server.session.session import Session
from tests.features.grants.test_routes import give, serving_programs
from tests.support.clients import Visitor, bearer, http, soon, visitor
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running
from tests.whole.test_watches import sees_white

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
JPEG = b"\xff\xd8picture\xff\xd9"


def cup_at(body: dict[str, Any], jpeg: bytes | None) -> list[str]:
    """The answer of a model that sees one cup, and its place when it is asked for boxes."""
    said = ["I ", "see ", "a ", "cup."]
    if "bbox_2d" in json.dumps(body):
        said += ["\n", '[{"bbox_2d": [0, 0, 320, 180], "label": "cup", "sure": 0.9}]']
    return said


def white_paper(body: dict[str, Any], jpeg: bytes | None) -> list[str]:
    """The answer of a model that recognises nothing but a white picture, and says where."""
    return ["".join(sees_white(body, jpeg)).replace("null", "[8, 8, 632, 352]")]


@dataclass
class Desk:
    """The server, page and program of a test of the client."""

    run: Running
    fake: FakeOpenAI
    person: Visitor
    http: httpx.AsyncClient
    scene: Scene

    async def token(self, *scopes: str) -> str:
        """The token of a new access, which is the only one."""
        own = bearer(self.person.token)
        await self.http.delete("/api/grants", headers=own)
        chosen = list(scopes) or ["look", "watch", "events"]
        return str((await give(self.http, self.person.token, scopes=chosen))["token"])

    async def camera(self, *scopes: str) -> Camera:
        return Camera(self.run.base_url, await self.token(*scopes))

    async def take_back(self) -> None:
        await self.http.delete("/api/grants", headers=bearer(self.person.token))

    @property
    def _session(self) -> Session:
        return self.run.program.sessions.find(self.person.session_id)

    async def wait_for_listener(self) -> None:
        """Wait until a program waits for an alert."""
        await soon(lambda: any(one.waits for one in get_programs(self._session).grants.all()))

    def watches(self) -> list[str]:
        """The ids of all watches of the session."""
        return [one.id for one in self._session.part("watches").watches()]

    def later(self) -> float:
        """A time of an alert that is after every access of now."""
        return (time.time() + 1) * 1000

    async def bright(self) -> None:
        """Wait until the camera's newest frame is no black one."""
        camera = self._session.camera

        def lit() -> bool:
            frame = camera.newest
            return frame is not None and bool(frame.image.to_ndarray(format="gray").mean() > 40)

        await soon(lit)

    def alert(self, watch: str, reason: str, at: float, jpeg: bytes | None = JPEG) -> int:
        """Let a watch alert, as the session does it; return the number of the alert."""
        made = Firing(watch, "the kettle boils", 1.0, 0.9, reason, "f1", None)
        region = Box(0.1, 0.2, 0.3, 0.4)
        alerts: KeptAlerts = self._session.part("watches").alerts
        return alerts.add(watch, made, at=at, jpeg=jpeg, region=region).number


@asynccontextmanager
async def desk_of(**settings: Any) -> AsyncIterator[Desk]:
    scene = Scene(640, 360)
    scene.moving = scene.clock = False
    encoder = LiveEncoder(scene, rate=10)
    try:
        async with (
            FakeOpenAI(model=MODEL, max_model_len=32768, answer_for=cup_at) as fake,
            serving_programs(fake, **settings) as run,
            visitor(run, encoder) as person,
            http(run) as client,
        ):
            yield Desk(run, fake, person, client, scene)
    finally:
        await encoder.close()
