"""A session without a network: real parts around it, an engine and frames that a test steers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import av
import numpy as np

from server.core import messages as wire
from server.core.aio import Pools, TaskSet
from server.core.errors import FrameWithheld
from server.core.frames import Frame, Role
from server.core.metrics import Metrics
from server.inference import Inference
from server.media.camera import CameraConnection
from server.media.picture.encode import Bgr
from server.media.picture.prepare import PicturePreparer
from server.media.picture.privacy import PrivacyFilter
from server.session.part import AlertSource, MakePart, SessionContext, SessionFeatures, SpeechOutput
from server.session.request.outbox import Outbox, Reader
from server.session.request.parts import History, SessionLimits, SessionServices
from server.session.session import Session
from server.webrtc_server import Line
from tests.support.fakes import FakeEngine, FakeEngines

LIMITS = SessionLimits(sample_rate=30, max_tokens=128, context_length=8192, timeout=60)


def make_frame(
    number: int = 1,
    *,
    width: int = 320,
    height: int = 240,
    captured: float | None = None,
    scene: int | None = None,
    mark: bool = False,
    dark: bool = False,
    dim: bool = False,
    faint: bool = False,
    beside: bool = False,
    bgr: Bgr | None = None,
) -> Frame:
    """A textured frame, captured now; or one that shows `bgr`.

    `scene`: one of any number of scenes that a change gate tells apart; None: fine noise by `number`. `mark`: with a
    bright thing in its middle, 6 % of the picture. `dark`: almost without light. `dim`: at a fortieth of its light, with a
    sensor's noise; the thing is faint then. `faint`: its middle is a little brighter. `beside`: the whole
    of its left edge is dark, which is a larger and clearer change than the thing.
    """
    rng = np.random.default_rng(number if scene is None else scene)
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    if scene is None:
        planes[:height] = rng.integers(40, 200, (height, width), np.uint8)
    else:
        coarse = rng.integers(40, 200, (6, 8), np.uint8)
        planes[:height] = np.repeat(
            np.repeat(coarse, height // 6 + 1, axis=0), width // 8 + 1, axis=1
        )[:height, :width]
    middle = slice(height * 3 // 8, height * 5 // 8), slice(width * 3 // 8, width * 5 // 8)
    if mark:
        planes[middle] = 250
    if beside:
        planes[:height, : width // 5] = 16
    if faint:
        planes[middle] += 10
    if dark:
        planes[:height] = 17
    if dim:
        noise = np.random.default_rng(number).normal(16, 1.5, (height, width))
        planes[:height] = np.clip((planes[:height] - 16.0) / 40 + noise, 0, 255)
        if mark:
            planes[middle] = 60
    now = time.monotonic() if captured is None else captured
    image = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    if bgr is not None:
        height, width = bgr.shape[:2]
        image = av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format="yuv420p")
    return Frame(
        id=f"f{number}",
        image=image,
        width=width,
        height=height,
        captured=now,
        captured_sender=None,
        arrived=now,
        rtp_time=number * 3000,
    )


class Filter:
    """A privacy filter that does to every picture what a test says."""

    def __init__(self, apply: Callable[[Bgr], Bgr]) -> None:
        self.apply = apply


def withhold(bgr: Bgr) -> Bgr:
    raise FrameWithheld("The picture was withheld.")


class Room:
    """One session, its socket's end of the outbox, and a camera's feed."""

    def __init__(
        self, engine: FakeEngine, session: Session, services: SessionServices, engines: FakeEngines
    ) -> None:
        self.engine = engine
        self.session = session
        self.services = services
        # Assign to `current`: another engine answers from then on.
        self.engines = engines
        self.reader: Reader = session.outbox.attach()
        self._feed: CameraConnection | None = None
        self._frames = 0
        self._captured = 0.0

    def camera(self) -> None:
        self._feed = self.session.camera.open_connection()

    def frame(self, *, captured: float | None = None, **more: Any) -> Frame:
        """A new frame arrives: fresh enough for any question before it, and a sampling period after the last one."""
        assert self._feed is not None, "call camera() first"
        self._frames += 1
        if captured is None:
            captured = max(time.monotonic() + 0.02, self._captured + 0.04)
        self._captured = captured
        frame = make_frame(self._frames, captured=captured, **more)
        self._feed.packet_received(time.monotonic())
        self._feed.frame(frame)
        return frame

    async def next(self, *types: str, timeout: float = 3.0) -> dict[str, Any]:
        """The next message to the client of one of `types`."""
        async with asyncio.timeout(timeout):
            while True:
                message: dict[str, Any] = json.loads(await self.reader.get())
                if not types or message["type"] in types:
                    return message

    async def answered(self, content: str, **more: Any) -> dict[str, Any]:
        """Ask, show a new frame, and return the response."""
        self.session.handle(wire.Chat(type="chat", content=content, **more))
        self.frame()
        return await self.next("response")

    async def until(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next message to the client that fits."""
        while not fits(message := await self.next()):
            pass
        return message

    async def rest(self) -> list[dict[str, Any]]:
        """Return the messages that wait for the client."""
        found = []
        while not self.session.outbox.empty:
            found.append(json.loads(await self.reader.get()))
        return found


def make_services(
    engine: FakeEngine | FakeEngines, pools: Pools, *filters: PrivacyFilter
) -> SessionServices:
    engines = engine if isinstance(engine, FakeEngines) else FakeEngines(engine)
    metrics = Metrics("test")
    return SessionServices(
        inference=Inference(engines, max_concurrent=4, max_queue=8, metrics=metrics),
        current_engine=lambda role=Role.ANSWERS: engines.of(role),
        preparer=PicturePreparer(filters, 512),
        prepare_pool=pools.prepare,
        metrics=metrics,
    )


def settings(**fields: Any) -> wire.Settings:
    """Build a settings message of the core."""
    return wire.Settings.model_validate({"type": "settings", **fields})


@asynccontextmanager
async def room(
    engine: FakeEngine | None = None,
    *filters: PrivacyFilter,
    limits: SessionLimits = LIMITS,
    **parts: MakePart,
) -> AsyncIterator[Room]:
    """A session of its own with these parts, by the names of features. Everything it started has ended afterwards."""
    engine = engine or FakeEngine()
    pools = Pools()
    engines = FakeEngines(engine)
    services = make_services(engines, pools, *filters)
    session = Session("s", limits, services, SessionFeatures([*parts], parts))
    try:
        yield Room(engine, session, services, engines)
    finally:
        await session.close("session_ended")
        await services.inference.close()
        pools.close()


@asynccontextmanager
async def live_room(*about: Any, **more: Any) -> AsyncIterator[Room]:
    """A `room` whose camera is connected."""
    async with room(*about, **more) as one:
        one.camera()
        yield one


class BareContext:
    """A session for a part that needs no more of it than its id and its outbox."""

    id, limits, held_frame = "session", LIMITS, None
    has_running_question = is_playing_back = False
    away_seconds = 0.0

    def __init__(self, outbox: Outbox, given: dict[str, Any]) -> None:
        none: Any = None
        self.services = self.camera = self.requests = none
        self.outbox, self.history, self.tasks = outbox, History(), TaskSet("test")
        self.lines: list[Line] = []
        self.source, self.speech = AlertSource(self.id), SpeechOutput()
        vars(self).update(given)

    def part(self, feature: str) -> Any:
        return None

    def _nothing(self, *_: Any) -> None:
        return

    touch = send_error = report = set_speech = on_interrupted = ask = expect = _nothing
    wants_changed = publish_alert = publish_sound_event = _nothing


def bare_context(outbox: Outbox, **given: Any) -> SessionContext:
    """Make a `BareContext`, with these in place of nothing."""
    return BareContext(outbox, given)
