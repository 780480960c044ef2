"""Cameras of the house that their operator's list gives to MQTT: what they tell, and the looks ordered of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from server.core.aio import TaskSet, supervise
from server.core.errors import QwenCameraError
from server.core.metrics import Metrics
from server.core.mqtt_address import MqttAddress
from server.core.standing_list import StandingCamera
from server.mqtt.discovery import configs
from server.mqtt.incoming import Incoming, Kind
from server.mqtt.link import Link
from server.mqtt.looking import look
from server.mqtt.outgoing import Message
from server.mqtt.topics import OFF, OFFLINE, ON, ONLINE, UNKNOWN, Topics, watch_key
from server.mqtt.words import one_line, shorten
from server.standing.standing import StandingCameras, Told
from server.webhooks.alarm import Alarm, time_text

# Seconds between two looks at what the cameras would tell
STEP_SECONDS = 1.0
# The longest that the state of a watch waits for the ring that has its picture
PICTURE_SECONDS = 10.0
# Seconds for which the last state holds while nobody can tell: a short trouble is no change
DOUBT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class MqttPlan:
    """The settings of it."""

    # None: nothing goes anywhere
    address: MqttAddress | None
    # A PEM file with the authority of its certificate; "" for the system's
    ca: str
    topics: Topics


class Mqtt:
    """Tells the broker of the cameras of the house that agreed, and takes orders to look.

    States go out when they change; pictures and words are never retained. Everything belongs to the
    event loop.
    """

    def __init__(
        self,
        plan: MqttPlan,
        listed: Sequence[StandingCamera],
        cameras: StandingCameras,
        metrics: Metrics,
        version: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._topics = topics = plan.topics
        self._cameras = cameras
        self._metrics = metrics
        self._clock = clock
        self._wall = wall
        agreed = [one for one in listed if one.mqtt]
        self._agreed = tuple(one.name for one in agreed)
        self._configs: dict[str, bytes] = {}
        for one in agreed:
            self._configs |= configs(topics, one, version)
        kept = {*self._configs, *(topics.camera(name) for name in self._agreed)}
        self._incoming = Incoming(topics, self._agreed, kept, clock())
        # The payload of each state that the broker has, or will have
        self._told: dict[str, bytes] = {}
        # Since when watches see whose picture goes first, by their topic
        self._held: dict[str, float] = {}
        # Since when nobody can tell of a watch, by its topic
        self._doubted: dict[str, float] = {}
        self._looking: set[str] = set()
        self._changed = asyncio.Event()
        self._tasks = TaskSet("mqtt cameras")
        self._link: Link | None = None
        if plan.address is not None:
            hears = (
                *(topics.look(name) for name in self._agreed),
                topics.birth,
                *topics.leftovers,
            )
            self._link = Link(
                plan.address,
                plan.ca,
                topics,
                metrics,
                hears,
                on_up=self._up,
                hear=self._hear,
                clock=clock,
            )
        metrics.gauge(
            "mqtt_connected",
            "1 while the MQTT broker is connected",
            (),
            lambda: {(): float(self._link is not None and self._link.up)},
        )

    def start(self) -> None:
        if self._link is not None:
            self._link.start()
            self._tasks.spawn(supervise(self._step, name="mqtt cameras"), name="look")

    def seen(self) -> dict[str, object]:
        """Describe the connection and its cameras for operators."""
        link = self._link.seen() if self._link is not None else {"broker": "", "state": "off"}
        return {**link, "prefix": self._topics.prefix, "cameras": list(self._agreed)}

    # Out

    def rang(self, alarm: Alarm) -> None:
        """Tell of a ring: its picture first, then that the condition holds."""
        source = alarm.source
        if self._link is None or source is None or source.camera not in self._agreed:
            return
        key = watch_key(alarm.condition)
        topics, camera = self._topics, source.camera
        # Empty where a filter withheld it: the one before does not belong to this ring.
        self._news(topics.evidence(camera, key), alarm.jpeg or b"")
        facts = {
            "reason": one_line(alarm.reason),
            "sure": round(alarm.sure, 2),
            "at": time_text(alarm.at / 1000),
        }
        self._news(topics.watch_facts(camera, key), _json(facts))
        self._held.pop(topics.watch(camera, key), None)
        self._tell(topics.watch(camera, key), ON)

    def _up(self) -> None:
        """Send all that is retained, and all states anew."""
        for topic, config in self._configs.items():
            self._put(Message(topic, config, retain=True))
        self._anew()

    def _anew(self) -> None:
        self._told.clear()
        self._held.clear()
        self._changed.set()

    async def _step(self) -> float:
        """Tell what has changed. Returns the seconds until the next look, which is earlier after a change of ours."""
        self._changed.clear()
        if self._link is not None and self._link.up:
            for told in self._cameras.told(self._agreed):
                self._tell_camera(told)
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            pass
        return 0.0

    def _tell_camera(self, told: Told) -> None:
        topics, name = self._topics, told.camera.name
        self._tell(topics.camera(name), ONLINE if told.live else OFFLINE, retain=True)
        for condition, holds in told.watches.items():
            topic = topics.watch(name, watch_key(condition))
            if holds is None:
                self._doubt(topic)
                continue
            self._doubted.pop(topic, None)
            state = ON if holds else OFF
            if state == ON and self._told.get(topic) == OFF:
                # Its ring is on its way, and has the picture.
                now = self._clock()
                if now - self._held.setdefault(topic, now) < PICTURE_SECONDS:
                    continue
            self._held.pop(topic, None)
            self._tell(topic, state)
        if told.camera.describe and told.described:
            self._tell_words(topics.description(name), told.described, {})

    def _doubt(self, topic: str) -> None:
        """Tell that nobody can tell, when that lasts."""
        since = self._doubted.setdefault(topic, self._clock())
        if topic not in self._told or self._clock() - since >= DOUBT_SECONDS:
            self._tell(topic, UNKNOWN)

    def _tell_words(self, topic: str, words: str, facts: dict[str, Any]) -> None:
        state = shorten(words).encode()
        if state and self._told.get(topic) != state:
            whole = {"text": one_line(words), "at": time_text(self._wall()), **facts}
            self._news(self._topics.facts(topic), _json(whole))
            self._tell(topic, state)

    def _tell(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if self._told.get(topic) != payload:
            self._told[topic] = payload
            self._put(Message(topic, payload, retain=retain))

    def _news(self, topic: str, payload: bytes) -> None:
        self._put(Message(topic, payload, news=True))

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
        self._metrics.mqtt_dropped.labels(reason).inc()

    def _look(self, camera: str) -> None:
        if camera in self._looking:
            self._drop("busy")
            return
        self._looking.add(camera)
        self._tasks.spawn(self._answer(camera), name="answer")

    async def _answer(self, camera: str) -> None:
        """Look once, and tell what there is; nobody's question waits for it."""
        try:
            looked = await look(self._cameras.find(camera))
        except QwenCameraError:
            return
        finally:
            self._looking.discard(camera)
        topic = self._topics.answer(camera)
        # The same answer again is news all the same.
        self._told.pop(topic, None)
        self._tell_words(topic, looked.text, {"ok": looked.ok})

    async def close(self) -> None:
        """End looks, and say goodbye. Safe to call twice."""
        await self._tasks.close()
        if self._link is not None:
            await self._link.close()


def _json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False).encode()
