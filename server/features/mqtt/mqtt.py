"""Cameras that their operator's list or their person gives to MQTT: their states, and looks that are ordered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.core.aio import TaskSet, supervise
from server.core.errors import QwenCameraError
from server.core.metrics import Metrics
from server.core.settings import ListedCamera
from server.features.mqtt.discovery import Device, Seen, Topics, configs
from server.features.mqtt.incoming import HOME, PROGRAM, Incoming, Kind, Looked, look
from server.features.mqtt.link import Link
from server.features.mqtt.outgoing import Message, MqttMetrics
from server.features.mqtt.settings import MqttAddress
from server.features.mqtt.states import States
from server.features.mqtt.visitors import Visitors
from server.session.part import Alert
from server.session.session import Session

if TYPE_CHECKING:
    from server.features.rtsp.fixed_cameras import CameraReport, FixedCameras

# Seconds between two looks at what the cameras would tell
STEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class MqttPlan:
    """The settings of it."""

    # None: nothing goes anywhere
    address: MqttAddress | None
    # A PEM file with the authority of its certificate; "" for the system's
    ca: str
    topics: Topics
    # Visitors may give their cameras to it.
    visitors: bool = False


class Mqtt:
    """Tells the broker of the cameras that agreed, and takes orders to look.

    States go out when they change; pictures and words are never retained. Everything belongs to the
    event loop.

    Bounds of looks that are ordered over MQTT: one at a time of each camera, 6 a minute; 24 of
    all; more are dropped and counted.
    """

    def __init__(
        self,
        plan: MqttPlan,
        listed: Sequence[ListedCamera],
        cameras: FixedCameras | None,
        metrics: Metrics,
        *,
        find: Callable[[str], Session | None] = lambda session_id: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`cameras`: None where fixed cameras are off; `find` returns a visitor's session by its id."""
        self._topics = topics = plan.topics
        self._cameras = cameras
        self._metrics = counters = MqttMetrics(metrics)
        self._clock = clock
        agreed = [one for one in listed if one.mqtt]
        self._agreed = tuple(one.name for one in agreed)
        self._configs: dict[str, bytes] = {}
        for one in agreed:
            device = Device(one.name, one.name, watches=one.watches, describes=one.describe)
            self._configs |= configs(topics, device)
        kept = {*self._configs, *(topics.camera(name) for name in self._agreed)}
        self._incoming = Incoming(topics, self._agreed, kept, clock())
        self._states = States(topics, self._put, clock, time.time)
        # The looks that run, by camera
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._tasks = TaskSet("mqtt cameras")
        self._link: Link | None = None
        # None: nobody may give a camera to it
        self.visitors: Visitors | None = None
        if plan.address is not None:
            if plan.visitors:
                self.visitors = Visitors(
                    topics,
                    counters,
                    self._states,
                    self._incoming,
                    find=find,
                    on_end=self._device_ended,
                    clock=clock,
                )
            looks = tuple(topics.look(name) for name in self._agreed)
            # Visitors' cameras come and go.
            hears = (topics.look("+"),) if plan.visitors else looks
            self._link = Link(
                plan.address,
                plan.ca,
                topics,
                counters,
                (*hears, topics.birth, *topics.leftovers),
                on_up=self._up,
                hear=self._hear,
            )
        metrics.gauge(
            "mqtt_connected",
            "1 while the MQTT broker is connected",
            (),
            lambda: {(): float(self._link is not None and self._link.up)},
        )
        metrics.gauge(
            "mqtt_visitors",
            "Visitors' cameras that are devices of Home Assistant",
            (),
            lambda: {(): float(len(self.visitors or ()))},
        )

    def start(self) -> None:
        if self._link is not None:
            self._link.start()
            self._tasks.spawn(supervise(self._step, name="mqtt cameras"), name="look")

    def seen(self) -> dict[str, object]:
        """Describe the connection and its cameras for operators; of visitors the number alone."""
        link = self._link.seen() if self._link is not None else {"broker": "", "state": "off"}
        return {
            **link,
            "prefix": self._topics.prefix,
            "cameras": list(self._agreed),
            "visitors": len(self.visitors or ()),
        }

    # Out

    def alerted(self, alert: Alert) -> None:
        """Tell of an alert of a camera of the house."""
        source = alert.source
        if self._link is not None and source is not None and source.camera in self._agreed:
            self._states.alerted(source.camera, alert)

    def left(self, session_id: str) -> None:
        """A session has ended, and with it its person's word."""
        if self.visitors is not None:
            self.visitors.left(session_id)

    def _up(self) -> None:
        """Send all that is retained, and all states anew."""
        for topic, config in self._configs.items():
            self._put(Message(topic, config, retain=True))
        if self.visitors is not None:
            self.visitors.anew()
        self._anew()

    def _anew(self) -> None:
        self._states.anew()
        self._changed.set()

    async def _step(self) -> float:
        """Send the changes. Returns the seconds until the next look, which is earlier after a change of ours."""
        self._changed.clear()
        if self._link is not None and self._link.up:
            if self._cameras is not None:
                for report in self._cameras.reports(self._agreed):
                    self._see(report)
            if self.visitors is not None:
                self.visitors.look()
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            pass
        return 0.0

    def _see(self, report: CameraReport) -> None:
        described = report.described if report.camera.describe else ""
        self._states.see(Seen(report.camera.name, report.live, report.watches, described))

    def _put(self, message: Message) -> None:
        if self._link is not None:
            self._link.put(message)

    # In

    def _hear(self, topic: str, payload: bytes, retained: bool) -> None:
        heard = self._incoming.judge(topic, payload, retained, self._clock())
        match heard.kind:
            case Kind.PRESS:
                self._look(heard.detail)
            case Kind.BIRTH:
                self._anew()
            case Kind.LEFTOVER:
                self._put(Message(heard.detail, b"", retain=True))
            case Kind.DROPPED:
                self._drop(heard.detail)

    def _drop(self, reason: str) -> None:
        self._metrics.dropped.labels(reason).inc()

    def _look(self, camera: str) -> None:
        if camera in self._looking:
            self._drop("busy")
            return
        self._looking[camera] = self._tasks.spawn(self._answer(camera), name="answer")

    async def _answer(self, camera: str) -> None:
        """Look once, and tell what there is; nobody's question waits for it."""
        try:
            looked = await self._looked(camera)
        except QwenCameraError:
            return
        finally:
            if self._looking.get(camera) is asyncio.current_task():
                del self._looking[camera]
        if looked is not None:
            self._states.answered(camera, looked)

    async def _looked(self, camera: str) -> Looked | None:
        if self._cameras is not None and camera in self._agreed:
            return await look(self._cameras.find(camera), PROGRAM)
        session = self.visitors.session_of(camera) if self.visitors is not None else None
        return await look(session, HOME) if session is not None else None

    def _device_ended(self, camera: str) -> None:
        if self._link is not None:
            self._link.forget(self._topics.root(camera))
        task = self._looking.pop(camera, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End looks, take visitors' cameras away, and say goodbye. Safe to call twice."""
        await self._tasks.close()
        last = self.visitors.end_all() if self.visitors is not None else []
        if self._link is not None:
            await self._link.close(last)
