"""Cameras that their operator's list or their person gives to MQTT: their states, and looks that are ordered."""

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
from server.core.logs import time_text
from server.core.metrics import Metrics
from server.core.settings import ListedCamera
from server.features.mqtt.discovery import (
    OFF,
    OFFLINE,
    ON,
    ONLINE,
    UNKNOWN,
    VISITOR,
    Device,
    Seen,
    Topics,
    configs,
    one_line,
    shorten,
    watch_key,
)
from server.features.mqtt.link import Link, MqttMetrics
from server.features.mqtt.messages import HomeAssistant, SetHomeAssistant
from server.features.mqtt.settings import MqttSettings
from server.features.mqtt.traffic import Incoming, Kind, Message
from server.session.part import PROGRAMS, TOOLS, Alert, SessionContext, SessionPart
from server.session.session import Session
from server.shared.services import CameraReport, ListedCameras

# Seconds between two looks at what the cameras would tell
STEP_SECONDS = 1.0


class Mqtt:
    """Tells the broker of the cameras that agreed, and takes orders to look.

    States go out when they change; pictures and words are never retained. Everything belongs to the
    event loop.

    Bounds of looks that are ordered over MQTT: one at a time of each camera, 6 a minute; 24 of
    all; more are dropped and counted.
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
        """`cameras`: None where fixed cameras are off; `find` returns a visitor's session by its id."""
        self.topics = topics = Topics(settings.mqtt_prefix, settings.mqtt_discovery_prefix)
        self._cameras = cameras
        self.metrics = counters = MqttMetrics(metrics)
        self.find, self.clock = find, clock
        agreed = [one for one in listed if one.mqtt]
        self._agreed = tuple(one.name for one in agreed)
        self._configs: dict[str, bytes] = {}
        for one in agreed:
            device = Device(one.name, one.name, watches=one.watches, describes=one.describe)
            self._configs |= configs(topics, device)
        kept = {*self._configs, *(topics.camera(name) for name in self._agreed)}
        self.incoming = Incoming(topics, self._agreed, kept, clock())
        self.states = States(self)
        self.visitors = Visitors(self)
        # The looks that run, by camera
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._tasks = TaskSet("mqtt cameras")
        # Visitors' cameras come and go.
        looks = ("+",) if settings.mqtt_visitors else self._agreed
        self.link = Link(
            settings.mqtt_broker,
            str(settings.mqtt_ca or ""),
            topics,
            counters,
            (*map(topics.look, looks), *topics.births, *topics.leftovers),
            on_up=self._up,
            hear=self._hear,
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
        """Connect, where there is a broker."""
        if self.link.address is not None:
            self.link.start()
            self._tasks.spawn(supervise(self._step, name="mqtt cameras"), name="look")

    def seen(self) -> dict[str, object]:
        """Describe the connection and its cameras for operators; of visitors the number alone."""
        return {
            **self.link.seen(),
            "prefix": self.topics.prefix,
            "cameras": list(self._agreed),
            "visitors": len(self.visitors),
        }

    # Out

    def on_alert(self, alert: Alert) -> None:
        """Tell of an alert of a camera of the house."""
        source = alert.source
        if source is not None and source.camera in self._agreed:
            self.states.on_alert(source.camera, alert)

    def _up(self) -> None:
        """Send all that is retained, and all states anew."""
        for topic, config in self._configs.items():
            self.retain(topic, config)
        self.visitors.anew()
        self._anew()

    def _anew(self) -> None:
        self.states.anew()
        self._changed.set()

    async def _step(self) -> float:
        """Send the changes. Returns the seconds until the next look, which is earlier after a change of ours."""
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
        self.states.see(Seen(report.camera.name, report.live, report.watches, described))

    def retain(self, topic: str, payload: bytes) -> None:
        """Have the broker keep a message in place of the one before; an empty one takes that away."""
        self.link.put(Message(topic, payload, retain=True))

    # In

    def _hear(self, topic: str, payload: bytes, retained: bool) -> None:
        heard = self.incoming.judge(topic, payload, retained, self.clock())
        match heard.kind:
            case Kind.PRESS:
                self._look(heard.detail)
            case Kind.BIRTH:
                self._anew()
            case Kind.LEFTOVER:
                self.retain(heard.detail, b"")
            case Kind.DROPPED:
                self.metrics.dropped.labels(heard.detail).inc()

    def _look(self, camera: str) -> None:
        if camera in self._looking:
            self.metrics.dropped.labels("busy").inc()
            return
        self._looking[camera] = self._tasks.spawn(self._answer(camera), name="answer")

    async def _answer(self, camera: str) -> None:
        """Look once, and tell what there is; nobody's question waits for it."""
        try:
            session, program = self.visitors.session_of(camera), HOME
            if self._cameras is not None and camera in self._agreed:
                session, program = self._cameras.find(camera), PROGRAM
            if session is not None:
                self.states.answered(camera, *await look(session, program))
        except QwenCameraError:
            return
        finally:
            if self._looking.get(camera) is asyncio.current_task():
                del self._looking[camera]

    def device_ended(self, camera: str) -> None:
        """Drop what waits for the broker of a visitor's camera, and its look."""
        self.link.forget(self.topics.root(camera))
        task = self._looking.pop(camera, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End looks, take visitors' cameras away, and say goodbye. Safe to call twice."""
        await self._tasks.close()
        await self.link.close(self.visitors.end_all())


# The longest that the state of a watch waits for the alert that has its picture
PICTURE_SECONDS = 10.0
# Seconds for which the last state holds while nobody can tell: a short trouble is no change
DOUBT_SECONDS = 60.0


class States:
    """States, words and pictures of all cameras. Pictures and words are never retained."""

    def __init__(self, mqtt: Mqtt) -> None:
        self._mqtt, self._topics, self._clock = mqtt, mqtt.topics, mqtt.clock
        # The payload of each state that the broker has, or will have
        self._sent: dict[str, bytes] = {}
        # Since when watches see whose picture goes first, by their topic
        self._held: dict[str, float] = {}
        # Since when a watch is unknown, by its topic
        self._doubted: dict[str, float] = {}

    def anew(self) -> None:
        """Send all of them again."""
        self._sent.clear()
        self._held.clear()

    def forget(self, camera: str) -> None:
        """Know nothing of a camera any more."""
        self._drop(self._topics.root(camera), set())

    def _drop(self, root: str, but: set[str]) -> None:
        known: dict[str, bytes] | dict[str, float]
        for known in (self._sent, self._held, self._doubted):
            for topic in [one for one in known if one.startswith(root) and one not in but]:
                del known[topic]

    def on_alert(self, camera: str, alert: Alert) -> None:
        """Announce an alert: its picture first, then that the condition holds."""
        key, topics = watch_key(alert.condition), self._topics
        # Empty where a filter withheld it: the one before does not belong to this alert.
        self._news(topics.evidence(camera, key), alert.jpeg or b"")
        facts = {
            "reason": one_line(alert.reason),
            "confidence": round(alert.confidence, 2),
            "at": time_text(alert.at / 1000),
        }
        self._news(topics.watch_facts(camera, key), _json(facts))
        self._held.pop(topics.watch(camera, key), None)
        self._send(topics.watch(camera, key), ON)

    def see(self, seen: Seen) -> None:
        """Send the changes of a camera."""
        topics, camera = self._topics, seen.key
        self._send(topics.camera(camera), ONLINE if seen.live else OFFLINE, retain=True)
        own = {topics.watch(camera, watch_key(condition)) for condition in seen.watches}
        self._drop(topics.watch(camera, ""), own)
        for condition, holds in seen.watches.items():
            topic = topics.watch(camera, watch_key(condition))
            if holds is None:
                self._doubt(topic)
                continue
            self._doubted.pop(topic, None)
            state = ON if holds else OFF
            if state == ON and self._sent.get(topic) == OFF:
                # Its alert is on its way, and has the picture.
                now = self._clock()
                if now - self._held.setdefault(topic, now) < PICTURE_SECONDS:
                    continue
            self._held.pop(topic, None)
            self._send(topic, state)
        if seen.described:
            self._words(topics.description(camera), seen.described, {})

    def answered(self, camera: str, text: str, ok: bool) -> None:
        """Send the end of a look."""
        topic = self._topics.answer(camera)
        # The same answer again is news all the same.
        self._sent.pop(topic, None)
        self._words(topic, text, {"ok": ok})

    def _doubt(self, topic: str) -> None:
        """Send that a state is unknown, once that lasts."""
        since = self._doubted.setdefault(topic, self._clock())
        if topic not in self._sent or self._clock() - since >= DOUBT_SECONDS:
            self._send(topic, UNKNOWN)

    def _words(self, topic: str, words: str, facts: dict[str, Any]) -> None:
        state = shorten(words).encode()
        if state and self._sent.get(topic) != state:
            whole = {"text": one_line(words), "at": time_text(time.time()), **facts}
            self._news(self._topics.facts(topic), _json(whole))
            self._send(topic, state)

    def _send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if self._sent.get(topic) != payload:
            self._sent[topic] = payload
            self._mqtt.link.put(Message(topic, payload, retain=retain))

    def _news(self, topic: str, payload: bytes) -> None:
        self._mqtt.link.put(Message(topic, payload, news=True))


def _json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False).encode()


# Devices at a time; one more is refused and counted.
MOST_VISITORS = 8
# Entities of a device that are made, changed or renamed: a minute, and at once. Eight watches have 16.
CHANGES_A_MINUTE, CHANGES_AT_ONCE = 60, 48
# Characters of a device's name
MOST_NAME = 40


@dataclass(slots=True, eq=False)
class _One:
    key: str
    changes: Bucket
    # The entities that the broker has, or will have, by topic
    configs: dict[str, bytes] = field(default_factory=dict)


class Visitors:
    """Owner of the visitors' devices, by session. Their states go out by `states`.

    Bounds of visitors' cameras that are devices of Home Assistant: 8; a ninth is refused and
    counted. 48 entities of one change at once, then 60 a minute; the rest wait.
    """

    def __init__(self, mqtt: Mqtt) -> None:
        self._mqtt = mqtt
        # Names in topics tell nothing of a session, and are the same when its person agrees again.
        self._secret = secrets.token_bytes(16)
        self._ones: dict[str, _One] = {}
        # The changes that each session has left: switching off and on again gives no more. Gone with the session.
        self._changes: dict[str, Bucket] = {}

    def __len__(self) -> int:
        return len(self._ones)

    def has(self, session_id: str) -> bool:
        return session_id in self._ones

    def begin(self, session_id: str) -> None:
        """Make a session a device. Raises Conflict when there are too many, RateLimited after too many changes."""
        if session_id in self._ones:
            return
        if len(self._ones) >= MOST_VISITORS:
            self._mqtt.metrics.dropped.labels("devices").inc()
            raise Conflict(
                f"{MOST_VISITORS} people's cameras are in Home Assistant already, which is the most. Try again later."
            )
        key, now = self._key(session_id), self._mqtt.clock()
        changes = self._changes.setdefault(
            session_id, Bucket(CHANGES_A_MINUTE / 60, CHANGES_AT_ONCE, now)
        )
        if not changes.take(now):
            self._mqtt.metrics.dropped.labels("devices").inc()
            raise RateLimited(
                "This was switched off and on too often. Try again in a minute.", retry_after=60
            )
        self._ones[session_id] = _One(key, changes)
        self._mqtt.incoming.join(key, now)
        self._mqtt.incoming.kept.add(self._mqtt.topics.camera(key))
        self.look()

    def end(self, session_id: str) -> None:
        """Take a session's device away from the broker, with all that waits. Does nothing without one."""
        for topic in self._ended(session_id):
            self._mqtt.retain(topic, b"")

    def left(self, session_id: str) -> None:
        """Forget a session, which has ended."""
        self.end(session_id)
        self._changes.pop(session_id, None)
        self._mqtt.incoming.forget(self._key(session_id))

    def end_all(self) -> list[Message]:
        """Forget all devices; return the messages that take them away."""
        topics = [topic for id in list(self._ones) for topic in self._ended(id)]
        return [Message(topic, b"", retain=True) for topic in topics]

    def _ended(self, session_id: str) -> list[str]:
        """Forget a device; return its retained topics."""
        one = self._ones.pop(session_id, None)
        if one is None:
            return []
        camera = self._mqtt.topics.camera(one.key)
        self._mqtt.incoming.leave(one.key)
        self._mqtt.states.forget(one.key)
        self._mqtt.incoming.kept.difference_update((camera, *one.configs))
        self._mqtt.device_ended(one.key)
        return [*one.configs, camera]

    def _key(self, session_id: str) -> str:
        digest = hashlib.blake2s(session_id.encode(), key=self._secret, digest_size=4)
        # No camera of the house has a name with _.
        return f"visitor_{digest.hexdigest()}"

    def on_alert(self, alert: Alert) -> None:
        """Tell of an alert, if its session agreed, and its watch is its person's own."""
        one = self._ones.get(alert.source.id) if alert.source is not None else None
        if one is not None and not alert.watch.startswith((PROGRAMS, TOOLS)):
            self._mqtt.states.on_alert(one.key, alert)

    def session_of(self, key: str) -> Session | None:
        """Return the session of a device; None for none."""
        found = next((id for id, one in self._ones.items() if one.key == key), None)
        return self._mqtt.find(found) if found is not None else None

    def anew(self) -> None:
        """Tell the broker again of all entities."""
        for one in self._ones.values():
            for topic, config in one.configs.items():
                self._mqtt.retain(topic, config)

    def look(self) -> None:
        """Send the changes."""
        for id, one in list(self._ones.items()):
            session = self._mqtt.find(id)
            if session is None:
                self.left(id)
                continue
            watches, describe = session.part("watches"), session.part("describe")
            own = [
                watch
                for watch in (watches.watches() if watches is not None else ())
                if not watch.id.startswith((PROGRAMS, TOOLS))
            ]
            describing = describe is not None and describe.on
            device = Device(
                one.key,
                one_line(_own_name(session), MOST_NAME) or f"Camera {one.key[-8:]}",
                VISITOR,
                tuple(dict.fromkeys(watch.condition for watch in own)),
                describing,
            )
            self._change(one, configs(self._mqtt.topics, device))
            self._mqtt.states.see(
                Seen(
                    one.key,
                    session.camera.state() is CameraState.LIVE,
                    {watch.condition: watch.holds for watch in own},
                    describe.text if describing else "",
                )
            )

    def _change(self, one: _One, wanted: dict[str, bytes]) -> None:
        """Send entities that are new, different or gone; too many changes wait."""
        for topic in [topic for topic in one.configs if topic not in wanted]:
            del one.configs[topic]
            self._mqtt.incoming.kept.discard(topic)
            self._mqtt.retain(topic, b"")
        for topic, config in wanted.items():
            if one.configs.get(topic) == config:
                continue
            if not one.changes.take(self._mqtt.clock()):
                return
            one.configs[topic] = config
            self._mqtt.incoming.kept.add(topic)
            self._mqtt.retain(topic, config)


def _own_name(session: Session) -> str:
    """Return the person's name for the session's own camera; "" for none."""
    cameras = session.part("cameras")
    return cameras.own_name if cameras is not None else ""


class HomeAssistantDevice(SessionPart):
    """One session's consent. It begins empty, holds for the session, and ends at once."""

    def __init__(self, context: SessionContext, visitors: Visitors, host: str) -> None:
        """`host`: the broker, as people read it."""
        self._host = host
        self._context = context
        self._visitors = visitors
        self.handlers = {SetHomeAssistant: self.choose}

    def choose(self, message: SetHomeAssistant) -> None:
        """Become a device, or end it. Raises Conflict when there are too many, RateLimited."""
        try:
            if message.on:
                self._visitors.begin(self._context.id)
            else:
                self._visitors.end(self._context.id)
        finally:
            self.greet()

    def greet(self) -> None:
        """Tell the client where Home Assistant is, and whether this camera is a device of it."""
        on = self._visitors.has(self._context.id)
        self._context.outbox.put(HomeAssistant(host=self._host, on=on))

    def on_alert(self, alert: Alert) -> None:
        self._visitors.on_alert(alert)


# A look that somebody ordered over MQTT: the way of any program's question, with its consent.

# The names that the camera's own page shows: of a camera of the house, and of a visitor's
PROGRAM, HOME = "MQTT", "Home Assistant"
QUESTION = "What does the camera show now? Answer in one or two short sentences."
# Seconds of the access, which ends with the answer
ACCESS_SECONDS = 120.0


async def look(session: Session, program: str) -> tuple[str, bool]:
    """Ask about the camera's next frame, with an access that lives as long as the question.

    Return a model's words, or ours about why there are none, and whether it has looked.
    """
    programs = session.part("grants")
    if programs is None:
        return "The feature grants is off, so nobody may look.", False
    try:
        answer = await programs.look_once(program, QUESTION, ACCESS_SECONDS)
    except QwenCameraError as error:
        return error.visitor_message, False
    return answer.text, True
