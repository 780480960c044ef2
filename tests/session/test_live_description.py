"""A running description: each request is about its own frame."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from server.camera.camera import Camera
from server.inference import Inference
from server.session.live_description import LiveDescription
from server.session.outbox import Outbox
from server.session.request_builder import RequestBuilder, View
from tests.support.rooms import make_frame


async def test_a_request_has_the_scene_of_its_frame() -> None:
    """A frame keeps its own scene, even if its request starts after the camera shows another."""
    camera = SimpleNamespace(scene="a table")
    asked: list[View] = []
    requests = SimpleNamespace(
        preferences=SimpleNamespace(prompt=""),
        submit=lambda question, kind, view, sink: asked.append(view),
    )
    description = LiveDescription(
        "s",
        camera=cast(Camera, camera),
        inference=cast(Inference, None),
        outbox=cast(Outbox, None),
        requests=cast(RequestBuilder, requests),
        send_error=lambda error, id: None,
        touch=lambda: None,
    )
    description.frame(make_frame(1))
    camera.scene = "a garden"
    description.frame(make_frame(2))
    scenes: list[tuple[str, object]] = [(view.frame.id, view.scene) for view in asked]
    assert scenes == [("f1", "a table"), ("f2", "a garden")]
