"""A running description: each request is about its own frame."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from server.camera.camera import Camera
from server.inference import Inference, Job
from server.session.live_description import Describing
from server.session.outbox import Outbox
from server.session.request_builder import RequestMaker
from tests.support.fakes import FakeEngine
from tests.support.rooms import make_frame


async def test_a_request_has_the_scene_of_its_frame() -> None:
    """What the camera shows when a place at the engine is free, seconds later, is another scene."""
    camera = SimpleNamespace(scene="a table")
    prepared: list[tuple[str, Any]] = []
    jobs: list[Job] = []

    async def prepare(frame: Any, *_: Any, scene: Any, **__: Any) -> str:
        prepared.append((frame.id, scene))
        return "picture"

    requests = SimpleNamespace(
        check_consent=lambda: None,
        preferences=SimpleNamespace(prompt=""),
        prepare=prepare,
        request=lambda *_: "request",
    )
    describing = Describing(
        "s",
        camera=cast(Camera, camera),
        inference=cast(Inference, SimpleNamespace(submit=jobs.append)),
        outbox=cast(Outbox, None),
        requests=cast(RequestMaker, requests),
        tell=lambda error, id: None,
        touch=lambda: None,
    )
    describing.frame(make_frame(1))
    camera.scene = "a garden"
    describing.frame(make_frame(2))
    for job in jobs:
        await job.make_request(FakeEngine())
    assert prepared == [("f1", "a table"), ("f2", "a garden")]
