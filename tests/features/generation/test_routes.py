"""Operators' routes for videos and sound, over a worker without a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from config import load
from server.app.app import Program, build
from server.core.errors import FrameWithheld, WrongModel
from server.features.generation.generator import GenerationRuntime
from server.features.generation.job import GenerationJob
from server.features.generation.routes import add_routes
from server.features.hosting.catalogue.entry import Ability, Model
from server.features.hosting.hosting import PREFIX
from server.features.hosting.manager import EngineManager
from server.media.camera import CameraConnection
from server.media.picture.encode import Bgr
from server.media.picture.prepare import PicturePreparer
from server.media.picture.privacy import PrivacyFilter
from server.session.session import Session
from server.web.middleware import guard_app, install_error_handlers
from tests.features.generation.test_job import decoded, generator
from tests.support.rooms import make_frame

TOKEN = "operator-token-of-a-test-0123456789"
VIDEO = {"prompt": "a red ball", "width": 64, "height": 32, "seconds": 0.5, "fps": 16, "steps": 3}


@dataclass
class Desk:
    program: Program
    app: FastAPI
    client: httpx.AsyncClient
    job: GenerationJob

    async def ask(self, method: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        reply = await self.client.request(method, path, json=body or None)
        return reply.status_code, reply.json()

    async def done(self) -> dict[str, Any]:
        """The newest piece of work, when it has ended."""
        async with asyncio.timeout(10):
            while True:
                _, told = await self.ask("GET", "/api/engine/video")
                job: dict[str, Any] = told["making"]
                if job["state"] not in ("working", "cancelling"):
                    return job
                await asyncio.sleep(0.01)

    async def first_shade(self) -> float:
        """The mean grey of the made video's first frame."""
        assert (await self.done())["state"] == "ready"
        data = (await self.client.get("/api/engine/video/result")).content
        return float(decoded(data, "gray")[0].mean())


def live(session: Session) -> CameraConnection:
    """A camera that has shown one frame of noise."""
    feed = session.camera.open_connection()
    feed.packet_received(time.monotonic())
    feed.frame(make_frame(captured=time.monotonic()))
    return feed


class Manager:
    """The engine manager's words, about a model that is there or not."""

    def __init__(self, loaded: GenerationRuntime | None) -> None:
        self.ready_runtime = loaded

    def require(self, *abilities: Ability) -> Model:
        raise WrongModel(
            f"Some is loaded. This needs a model that can {' or '.join(abilities)}. Start one."
        )


@asynccontextmanager
async def desk(manner: str | None, *filters: PrivacyFilter) -> AsyncIterator[Desk]:
    """The program with these routes; `manner` is the worker's, None loads nothing."""
    settings = load(env_file=None, engine="builtin", operator_token=TOKEN, rate_limit_per_minute=0)
    program = build(settings)
    preparer = PicturePreparer(filters, settings.visual_token_budget)
    app = FastAPI()
    install_error_handlers(app, program.metrics)
    model: GenerationRuntime | None = None if manner is None else generator(manner)
    job = GenerationJob(metrics=program.metrics, pool=program.pools.heavy)
    api = replace(program.api("generation"), preparer=preparer)
    router = api.make_operator_router(PREFIX)
    add_routes(router, api, job, cast("EngineManager", Manager(model)))
    app.include_router(router)
    guard_app(app, https=False)
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", headers=headers, trust_env=False
    ) as client:
        try:
            if model is not None:
                await model.start()
            yield Desk(program, app, client, job)
        finally:
            await job.close()
            if model is not None:
                await model.stop()
            await program.close()


async def test_a_video_goes_to_the_page_once() -> None:
    """Started, told, taken as MP4 that nothing may keep, and gone."""
    async with desk("video") as one:
        status, told = await one.ask("GET", "/api/engine/video")
        assert (status, told["making"]["state"]) == (200, "idle")
        assert (told["takes"]["kind"], told["takes"]["factor"]) == ("video", 16)
        status, told = await one.ask("POST", "/api/engine/video", **VIDEO, seed=5)
        assert (status, told["making"]["state"], told["making"]["frames"]) == (202, "working", 9)
        job = await one.done()
        assert (job["state"], job["seed"], job["seconds"]) == ("ready", 5, 0.562)
        head = await one.client.head("/api/engine/video/result")
        assert head.headers["content-length"] == str(job["bytes"])
        reply = await one.client.get("/api/engine/video/result")
        assert (reply.status_code, len(reply.content)) == (200, job["bytes"])
        assert reply.headers["content-type"] == "video/mp4"
        assert reply.headers["cache-control"] == "no-store"
        assert len(decoded(reply.content)) == 9
        status, told = await one.ask("GET", "/api/engine/video/result")
        assert (status, told["error"]["code"]) == (404, "not_found")
        assert (await one.done())["state"] == "taken"


async def test_a_result_is_not_lost_with_its_connection() -> None:
    """A page that is gone before it has all of it can ask again; then it is gone."""
    async with desk("video") as one:
        await one.ask("POST", "/api/engine/video", **VIDEO)
        ready = await one.done()
        sent: list[dict[str, Any]] = []
        left = asyncio.Event()
        asked = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            if asked:
                return asked.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            """As a server takes what it has nobody for any more."""
            sent.append(message)
            if message["type"] == "http.response.body":
                left.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/api/engine/video/result",
            "raw_path": b"/api/engine/video/result",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"authorization", f"Bearer {TOKEN}".encode()), (b"host", b"localhost")],
            "client": ("127.0.0.1", 5),
            "server": ("localhost", 80),
        }
        await one.app(scope, receive, send)
        assert sent[0]["status"] == 200
        assert (await one.done())["state"] == "ready"
        reply = await one.client.get("/api/engine/video/result")
        assert (len(reply.content), reply.headers["content-length"]) == (
            *(ready["bytes"], str(ready["bytes"])),
        )
        assert (await one.done())["state"] == "taken"


async def test_only_an_operator() -> None:
    """Every route, without the token and with a visitor's."""
    async with desk("video") as one:
        for authorization in (
            "",
            "Bearer x",
            f"Bearer {one.program.access.tokens.issue('s').token}",
        ):
            one.client.headers["Authorization"] = authorization
            for kind in ("video", "sound"):
                for method, path in (("GET", ""), ("POST", ""), ("DELETE", ""), ("GET", "/result")):
                    body = VIDEO if method == "POST" else {}
                    status, told = await one.ask(method, f"/api/engine/{kind}{path}", **body)
                    assert (status, told["error"]["code"]) == (401, "unauthorized")
        assert one.job.progress.state == "idle"


@pytest.mark.parametrize(
    ("manner", "kind", "needs"),
    [
        (None, "video", Ability.TEXT_TO_VIDEO),
        (None, "sound", f"{Ability.TEXT_TO_SPEECH} or {Ability.TEXT_TO_AUDIO}"),
        ("sound", "video", Ability.TEXT_TO_VIDEO),
        ("video", "sound", f"{Ability.TEXT_TO_SPEECH} or {Ability.TEXT_TO_AUDIO}"),
    ],
)
async def test_the_operation_has_to_match_the_loaded_model(
    manner: str | None, kind: str, needs: str
) -> None:
    """Both ways, and with none loaded: what is loaded, what is needed, how to switch."""
    async with desk(manner) as one:
        status, told = await one.ask("POST", f"/api/engine/{kind}", prompt="x")
        assert (status, told["error"]["code"]) == (409, "wrong_model")
        assert f"needs a model that can {needs}" in told["error"]["message"]
        _, told = await one.ask("GET", f"/api/engine/{kind}")
        assert (told["takes"] is None) == (manner is None)


async def test_bad_wishes_are_400_and_busy_is_503() -> None:
    """Each with its sentence; cancelling makes room."""
    async with desk("endless") as one:
        status, told = await one.ask("POST", "/api/engine/video", **VIDEO | {"width": 100})
        assert (status, told["error"]["code"]) == (400, "bad_request")
        assert "multiples of 16" in told["error"]["message"]
        status, _ = await one.ask("POST", "/api/engine/video", **VIDEO)
        assert status == 202
        status, told = await one.ask("POST", "/api/engine/video", **VIDEO)
        assert (status, told["error"]["code"], told["error"]["retryable"]) == (503, "busy", True)
        status, told = await one.ask("DELETE", "/api/engine/video")
        assert (status, told["making"]["state"]) == (200, "cancelled")
        status, _ = await one.ask("POST", "/api/engine/video", **VIDEO)
        assert status == 202
        await one.ask("DELETE", "/api/engine/video")


async def test_the_first_frame_is_what_the_operators_camera_shows() -> None:
    """From the session that the token is for; no camera, no session, no good token: one error each."""
    async with desk("first") as one:
        tokens = one.program.access.tokens

        async def ask(camera: Any) -> tuple[int, str]:
            status, told = await one.ask("POST", "/api/engine/video", **VIDEO, camera=camera)
            return status, told.get("error", {}).get("code", "")

        assert await ask(5) == (400, "bad_request")
        assert await ask("x.y.z") == (401, "unauthorized")
        assert await ask(tokens.issue("nobody").token) == (404, "not_found")
        session = await one.program.sessions.admit("somebody")
        token = tokens.issue("somebody").token
        assert await ask(token) == (503, "no_camera")
        live(session)
        assert await ask(token) == (202, "")
        # The middle of the camera's noise, not the worker's own plain white.
        assert 100 < await one.first_shade() < 140


class Paints:
    """Stands for a privacy filter: everything white, or nothing at all."""

    broken = False

    def apply(self, bgr: Bgr) -> Bgr:
        if self.broken:
            raise FrameWithheld("This frame was withheld by a filter.")
        return np.full_like(bgr, 10)


async def test_the_first_frame_is_filtered() -> None:
    """A video begins with the filtered picture of the camera; a broken filter refuses the video."""
    paints = Paints()
    async with desk("first", paints) as one:
        session = await one.program.sessions.admit("somebody")
        token = one.program.access.tokens.issue("somebody").token
        feed = live(session)
        status, _ = await one.ask("POST", "/api/engine/video", **VIDEO, camera=token)
        assert status == 202
        assert await one.first_shade() < 40
        paints.broken = True
        feed.frame(make_frame(2, captured=time.monotonic()))
        status, told = await one.ask("POST", "/api/engine/video", **VIDEO, camera=token)
        assert (status, told["error"]["code"]) == (503, "frame_withheld")
