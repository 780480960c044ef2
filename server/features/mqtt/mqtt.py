"""Cameras published over MQTT, with consent of their operator or person: states, and answers on request."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from server.core.aio import Bucket, TaskSet, supervise
from server.core.errors import Conflict, QwenCameraError, RateLimited
from server.core.frames import CameraState
from server.core.logs import format_time
from server.core.metrics import Metrics
from server.features.mqtt.discovery import (
    OFF,
    OFFLINE,
    ON,
    ONLINE,
    UNKNOWN,
    VISITOR,
    CameraDevice,
    CameraStates,
    Topics,
    build_configs,
    shorten,
    to_one_line,
    watch_key,
)
from server.features.mqtt.link import BrokerConnection, MqttMetrics
from server.features.mqtt.messages import HomeAssistant, SetHomeAssistant
from server.features.mqtt.settings import MqttSettings
from server.features.mqtt.traffic import Incoming, MessageKind, MqttMessage
from server.session.part import PROGRAMS, TOOLS, Alert, SessionContext, SessionPart
from server.session.session import Session
from server.shared.listed_cameras import ListedCamera
from server.shared.services import CameraReport, ListedCameras

# Interval for polling the cameras' states, seconds
STEP_SECONDS = 1.0


class Mqtt:
    """Publisher of opted-in cameras, and handler of requests for an answer about the next frame.

    States are sent when they change; pictures and texts are never retained. Call all methods on the
    event loop.

    Bounds of requests over MQTT: one at a time per camera, 6 a minute; 24 in all; more are
    dropped and counted.
    """

    def __init__(
        self,
        settings: MqttSettings,
        listed: Sequence[ListedCamera],
        cameras: ListedCameras | None,
        metrics: Metrics,
        *,
        find: Callable[[str], Session | None] = lambda session_id: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`cameras`: None if fixed cameras are off; `find`: returns a visitor's session by its id."""
        self.topics = topics = Topics(settings.mqtt_prefix, settings.mqtt_discovery_prefix)
        self._cameras = cameras
        self.metrics = counters = MqttMetrics(metrics)
        self.find, self.clock = find, clock
        agreed = [one for one in listed if one.mqtt]
        self._agreed = tuple(one.name for one in agreed)
        self._configs: dict[str, bytes] = {}
        for one in agreed:
            device = CameraDevice(one.name, one.name, watches=one.watches, describes=one.describe)
            self._configs |= build_configs(topics, device)
        kept = {*self._configs, *(topics.camera(name) for name in self._agreed)}
        self.incoming = Incoming(topics, self._agreed, kept, clock())
        self.states = States(self)
        self.visitors = VisitorDevices(self)
        # Running requests by camera
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._tasks = TaskSet("mqtt cameras")
        # A wildcard, because visitors' cameras come and go
        looks = ("+",) if settings.mqtt_visitors else self._agreed
        self.link = BrokerConnection(
            settings.mqtt_broker,
            str(settings.mqtt_ca or ""),
            topics,
            counters,
            (*map(topics.look, looks), *topics.births, *topics.leftovers),
            on_up=self._on_connected,
            on_received=self._on_received,
        )
        metrics.gauge(
            "mqtt_connected",
            "1 while the MQTT broker is connected",
            lambda: self.link.up,
        )
        metrics.gauge(
            "mqtt_visitors",
            "Visitors' cameras that are devices of Home Assistant",
            lambda: len(self.visitors),
        )

    def start(self) -> None:
        """Connect to the broker, if one is set."""
        if self.link.address is not None:
            self.link.start()
            self._tasks.spawn(supervise(self._run_step, name="mqtt cameras"), name="look")

    def seen(self) -> dict[str, object]:
        """Return the state of connection and cameras for operators; only the number of visitors."""
        return {
            **self.link.seen(),
            "prefix": self.topics.prefix,
            "cameras": list(self._agreed),
            "visitors": len(self.visitors),
        }

    # Out

    def on_alert(self, alert: Alert) -> None:
        """Publish an alert of a fixed camera."""
        source = alert.source
        if source is not None and source.camera in self._agreed:
            self.states.on_alert(source.camera, alert)

    def _on_connected(self) -> None:
        """Send all retained messages and all states again."""
        for topic, config in self._configs.items():
            self.publish_retained(topic, config)
        self.visitors.publish_again()
        self._publish_again()

    def _publish_again(self) -> None:
        self.states.publish_again()
        self._changed.set()

    async def _run_step(self) -> float:
        """Send changed states, then wait for `STEP_SECONDS` or a request. Return 0."""
        self._changed.clear()
        if self.link.up:
            if self._cameras is not None:
                for report in self._cameras.reports(self._agreed):
                    self._see(report)
            self.visitors.look()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), STEP_SECONDS)
        return 0.0

    def _see(self, report: CameraReport) -> None:
        described = report.described if report.camera.describe else ""
        self.states.see(CameraStates(report.camera.name, report.live, report.watches, described))

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """Publish a retained message; an empty payload clears it."""
        self.link.put(MqttMessage(topic, payload, retain=True))

    # In

    def _on_received(self, topic: str, payload: bytes, retained: bool) -> None:
        heard = self.incoming.judge(topic, payload, retained, self.clock())
        match heard.kind:
            case MessageKind.PRESS:
                self._look(heard.detail)
            case MessageKind.BIRTH:
                self._publish_again()
            case MessageKind.LEFTOVER:
                self.publish_retained(heard.detail, b"")
            case MessageKind.DROPPED:
                self.metrics.dropped.labels(heard.detail).inc()

    def _look(self, camera: str) -> None:
        if camera in self._looking:
            self.metrics.dropped.labels("busy").inc()
            return
        self._looking[camera] = self._tasks.spawn(self._answer(camera), name="answer")

    async def _answer(self, camera: str) -> None:
        """Handle a request, and publish its answer."""
        try:
            session, program = self.visitors.find_session(camera), HOME
            if self._cameras is not None and camera in self._agreed:
                session, program = self._cameras.find(camera), PROGRAM
            if session is not None:
                self.states.publish_result(camera, *await look(session, program))
        except QwenCameraError:
            return
        finally:
            if self._looking.get(camera) is asyncio.current_task():
                del self._looking[camera]

    def end_device(self, camera: str) -> None:
        """Drop queued messages of a visitor's camera, and cancel its request."""
        self.link.forget(self.topics.root(camera))
        task = self._looking.pop(camera, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Cancel requests, remove visitors' devices, and disconnect. Safe to call twice."""
        await self._tasks.close()
        await self.link.close(self.visitors.end_all())


# Maximum time that a watch's state waits for the alert with its picture, seconds
PICTURE_SECONDS = 10.0
# Seconds for which the last state is kept while it is unknown: short failures are not published
DOUBT_SECONDS = 60.0


class States:
    """States, texts and pictures of all cameras; pictures and texts are never retained."""

    def __init__(self, mqtt: Mqtt) -> None:
        self._mqtt, self._topics, self._clock = mqtt, mqtt.topics, mqtt.clock
        # Last payload of each state, by topic
        self._sent: dict[str, bytes] = {}
        # Start of the wait for an alert's picture, by the watch's topic
        self._held: dict[str, float] = {}
        # Start of an unknown state, by the watch's topic
        self._doubted: dict[str, float] = {}

    def publish_again(self) -> None:
        """Send all states again."""
        self._sent.clear()
        self._held.clear()

    def forget(self, camera: str) -> None:
        """Remove all states of a camera."""
        self._drop(self._topics.root(camera), set())

    def _drop(self, root: str, but: set[str]) -> None:
        known: dict[str, bytes] | dict[str, float]
        for known in (self._sent, self._held, self._doubted):
            for topic in [one for one in known if one.startswith(root) and one not in but]:
                del known[topic]

    def on_alert(self, camera: str, alert: Alert) -> None:
        """Publish an alert: first its picture, then the watch's state."""
        key, topics = watch_key(alert.condition), self._topics
        # Empty if a filter withheld it, which replaces the previous alert's picture.
        self._publish_news(topics.evidence(camera, key), alert.jpeg or b"")
        facts = {
            "reason": to_one_line(alert.reason),
            "confidence": round(alert.confidence, 2),
            "at": format_time(alert.at / 1000),
        }
        self._publish_news(topics.watch_facts(camera, key), _to_json(facts))
        self._held.pop(topics.watch(camera, key), None)
        self._send(topics.watch(camera, key), ON)

    def see(self, seen: CameraStates) -> None:
        """Send the changed states of a camera."""
        topics, camera = self._topics, seen.key
        self._send(topics.camera(camera), ONLINE if seen.live else OFFLINE, retain=True)
        own = {topics.watch(camera, watch_key(condition)) for condition in seen.watches}
        self._drop(topics.watch(camera, ""), own)
        for condition, holds in seen.watches.items():
            topic = topics.watch(camera, watch_key(condition))
            if holds is None:
                self._publish_unknown(topic)
                continue
            self._doubted.pop(topic, None)
            state = ON if holds else OFF
            if state == ON and self._sent.get(topic) == OFF:
                # Wait for its alert with the picture.
                now = self._clock()
                if now - self._held.setdefault(topic, now) < PICTURE_SECONDS:
                    continue
            self._held.pop(topic, None)
            self._send(topic, state)
        if seen.described:
            self._publish_words(topics.description(camera), seen.described, {})

    def publish_result(self, camera: str, text: str, ok: bool) -> None:
        """Publish the result of a request."""
        topic = self._topics.answer(camera)
        # Send it even if the answer is the same as before.
        self._sent.pop(topic, None)
        self._publish_words(topic, text, {"ok": ok})

    def _publish_unknown(self, topic: str) -> None:
        """Publish a state as unknown after `DOUBT_SECONDS`."""
        since = self._doubted.setdefault(topic, self._clock())
        if topic not in self._sent or self._clock() - since >= DOUBT_SECONDS:
            self._send(topic, UNKNOWN)

    def _publish_words(self, topic: str, words: str, facts: dict[str, Any]) -> None:
        state = shorten(words).encode()
        if state and self._sent.get(topic) != state:
            whole = {"text": to_one_line(words), "at": format_time(time.time()), **facts}
            self._publish_news(self._topics.facts(topic), _to_json(whole))
            self._send(topic, state)

    def _send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if self._sent.get(topic) != payload:
            self._sent[topic] = payload
            self._mqtt.link.put(MqttMessage(topic, payload, retain=retain))

    def _publish_news(self, topic: str, payload: bytes) -> None:
        self._mqtt.link.put(MqttMessage(topic, payload, news=True))


def _to_json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False).encode()


# Maximum devices of visitors; more are refused and counted.
MOST_VISITORS = 8
# Changed entities of a device, rate per minute and burst. Eight watches have 16.
CHANGES_A_MINUTE, CHANGES_AT_ONCE = 60, 48
# Maximum characters of a device's name
MOST_NAME = 40


@dataclass(slots=True, eq=False)
class _VisitorDevice:
    """Device of one visitor's session."""

    key: str
    changes: Bucket
    # Published configurations, by topic
    configs: dict[str, bytes] = field(default_factory=dict)


class VisitorDevices:
    """Owner of the visitors' devices, by session.

    Bounds of visitors' cameras that are devices of Home Assistant: 8; a ninth is refused and
    counted. 48 entities of one change at once, then 60 a minute; the rest wait.
    """

    def __init__(self, mqtt: Mqtt) -> None:
        self._mqtt = mqtt
        # Key for the names in topics, which reveal nothing about a session, but stay the same for it.
        self._secret = secrets.token_bytes(16)
        self._ones: dict[str, _VisitorDevice] = {}
        # Remaining changes of each session, kept until its end, so that switching off and on does not reset them
        self._changes: dict[str, Bucket] = {}

    def __len__(self) -> int:
        return len(self._ones)

    def has(self, session_id: str) -> bool:
        return session_id in self._ones

    def begin(self, session_id: str) -> None:
        """Make a session's camera a device. Raises Conflict beyond `MOST_VISITORS`, RateLimited."""
        if session_id in self._ones:
            return
        if len(self._ones) >= MOST_VISITORS:
            self._mqtt.metrics.dropped.labels("devices").inc()
            raise Conflict(
                f"{MOST_VISITORS} visitors' cameras are already in Home Assistant (limit). Try again later."
            )
        key, now = self._get_key(session_id), self._mqtt.clock()
        changes = self._changes.setdefault(
            session_id, Bucket(CHANGES_A_MINUTE / 60, CHANGES_AT_ONCE, now)
        )
        if not changes.take(now):
            self._mqtt.metrics.dropped.labels("devices").inc()
            raise RateLimited(
                "Home Assistant was switched off and on too often. Try again in a minute.",
                retry_after=60,
            )
        self._ones[session_id] = _VisitorDevice(key, changes)
        self._mqtt.incoming.join(key, now)
        self._mqtt.incoming.kept.add(self._mqtt.topics.camera(key))
        self.look()

    def end(self, session_id: str) -> None:
        """Remove a session's device, if any, with its queued messages."""
        for topic in self._remove_device(session_id):
            self._mqtt.publish_retained(topic, b"")

    def on_left(self, session_id: str) -> None:
        """Remove the device and the limits of an ended session."""
        self.end(session_id)
        self._changes.pop(session_id, None)
        self._mqtt.incoming.forget(self._get_key(session_id))

    def end_all(self) -> list[MqttMessage]:
        """Forget all devices. Return the messages that clear their retained topics."""
        topics = [topic for id in list(self._ones) for topic in self._remove_device(id)]
        return [MqttMessage(topic, b"", retain=True) for topic in topics]

    def _remove_device(self, session_id: str) -> list[str]:
        """Forget a device. Return its retained topics."""
        one = self._ones.pop(session_id, None)
        if one is None:
            return []
        camera = self._mqtt.topics.camera(one.key)
        self._mqtt.incoming.leave(one.key)
        self._mqtt.states.forget(one.key)
        self._mqtt.incoming.kept.difference_update((camera, *one.configs))
        self._mqtt.end_device(one.key)
        return [*one.configs, camera]

    def _get_key(self, session_id: str) -> str:
        digest = hashlib.blake2s(session_id.encode(), key=self._secret, digest_size=4)
        # Names of fixed cameras contain no underscore.
        return f"visitor_{digest.hexdigest()}"

    def on_alert(self, alert: Alert) -> None:
        """Publish an alert of a device, if its watch is the person's own."""
        one = self._ones.get(alert.source.id) if alert.source is not None else None
        if one is not None and not alert.watch.startswith((PROGRAMS, TOOLS)):
            self._mqtt.states.on_alert(one.key, alert)

    def find_session(self, key: str) -> Session | None:
        """Return the session of a device, or None if there is none."""
        found = next((id for id, one in self._ones.items() if one.key == key), None)
        return self._mqtt.find(found) if found is not None else None

    def publish_again(self) -> None:
        """Publish all entities again."""
        for one in self._ones.values():
            for topic, config in one.configs.items():
                self._mqtt.publish_retained(topic, config)

    def look(self) -> None:
        """Send changed entities and states of all devices."""
        for id, one in list(self._ones.items()):
            session = self._mqtt.find(id)
            if session is None:
                self.on_left(id)
                continue
            watches, describe = session.part("watches"), session.part("describe")
            own = [
                watch
                for watch in (watches.watches() if watches is not None else ())
                if not watch.id.startswith((PROGRAMS, TOOLS))
            ]
            describing = describe is not None and describe.on
            device = CameraDevice(
                one.key,
                to_one_line(_get_own_name(session), MOST_NAME) or f"Camera {one.key[-8:]}",
                VISITOR,
                tuple(dict.fromkeys(watch.condition for watch in own)),
                describing,
            )
            self._change(one, build_configs(self._mqtt.topics, device))
            self._mqtt.states.see(
                CameraStates(
                    one.key,
                    session.camera.state() is CameraState.LIVE,
                    {watch.condition: watch.holds for watch in own},
                    describe.text if describing else "",
                )
            )

    def _change(self, one: _VisitorDevice, wanted: dict[str, bytes]) -> None:
        """Publish new, changed and removed entities; changes beyond the rate wait."""
        for topic in [topic for topic in one.configs if topic not in wanted]:
            del one.configs[topic]
            self._mqtt.incoming.kept.discard(topic)
            self._mqtt.publish_retained(topic, b"")
        for topic, config in wanted.items():
            if one.configs.get(topic) == config:
                continue
            if not one.changes.take(self._mqtt.clock()):
                return
            one.configs[topic] = config
            self._mqtt.incoming.kept.add(topic)
            self._mqtt.publish_retained(topic, config)


def _get_own_name(session: Session) -> str:
    """Return the name given to the session's own camera; "" if there is none."""
    cameras = session.part("cameras")
    return cameras.own_name if cameras is not None else ""


class HomeAssistantDevice(SessionPart):
    """Consent of one session. It is off at first, lasts for the session, and its revocation takes effect at once."""

    def __init__(self, context: SessionContext, visitors: VisitorDevices, host: str) -> None:
        """`host`: the broker's host and port, for people."""
        self._host = host
        self._context = context
        self._visitors = visitors
        self.handlers = {SetHomeAssistant: self.choose}

    def choose(self, message: SetHomeAssistant) -> None:
        """Make the camera a device, or remove it. Raises Conflict beyond the limit, RateLimited."""
        try:
            if message.on:
                self._visitors.begin(self._context.id)
            else:
                self._visitors.end(self._context.id)
        finally:
            self.greet()

    def greet(self) -> None:
        """Send the client the broker's host, and whether this camera is a device."""
        on = self._visitors.has(self._context.id)
        self._context.outbox.put(HomeAssistant(host=self._host, on=on))

    def on_alert(self, alert: Alert) -> None:
        self._visitors.on_alert(alert)


# Requests over MQTT, handled like any program's question, with its consent.

# Names shown on the camera's own page: for a fixed camera, and for a visitor's
PROGRAM, HOME = "MQTT", "Home Assistant"
QUESTION = "What does the camera show now? Answer in one or two short sentences."
# Maximum duration of the access, which ends with the answer
ACCESS_SECONDS = 120.0


async def look(session: Session, program: str) -> tuple[str, bool]:
    """Ask about the camera's next frame, with access for this question only.

    Return the model's answer and True, or the reason for a failure and False.
    """
    programs = session.part("grants")
    if programs is None:
        return "Looks are not available: the feature grants is off on this server.", False
    try:
        answer = await programs.look_once(program, QUESTION, ACCESS_SECONDS)
    except QwenCameraError as error:
        return error.visitor_message, False
    return answer.text, True
