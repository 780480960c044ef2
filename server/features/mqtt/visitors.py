"""The cameras of visitors who agreed: a device each, gone from the broker with their word.

Pure but for the sessions that it looks at; `clock` is monotonic seconds.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from server.core.addresses import Bucket
from server.core.errors import Conflict, RateLimited
from server.core.frames import CameraState
from server.features.mqtt.discovery import VISITOR, Device, Seen, Topics, configs, one_line
from server.features.mqtt.incoming import Incoming
from server.features.mqtt.messages import HomeAssistant, SetHomeAssistant
from server.features.mqtt.outgoing import Message, MqttMetrics
from server.features.mqtt.states import States
from server.session.part import PROGRAMS, TOOLS, Alert, SessionContext, SessionPart
from server.session.session import Session

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

    def __init__(
        self,
        topics: Topics,
        metrics: MqttMetrics,
        states: States,
        incoming: Incoming,
        *,
        find: Callable[[str], Session | None],
        on_end: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """`find` returns a session by its id; `on_end(key)` drops what waits for the broker, and looks."""
        self._topics = topics
        self._metrics = metrics
        self._states = states
        self._incoming = incoming
        self._find = find
        self._on_end = on_end
        self._clock = clock
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
            self._metrics.dropped.labels("devices").inc()
            raise Conflict(
                f"{MOST_VISITORS} people's cameras are in Home Assistant already, which is the most. Try again later."
            )
        key, now = self._key(session_id), self._clock()
        changes = self._changes.setdefault(
            session_id, Bucket(CHANGES_A_MINUTE / 60, CHANGES_AT_ONCE, now)
        )
        if not changes.take(now):
            self._metrics.dropped.labels("devices").inc()
            raise RateLimited(
                "This was switched off and on too often. Try again in a minute.", retry_after=60
            )
        self._ones[session_id] = _One(key, changes)
        self._incoming.join(key, now)
        self._incoming.kept.add(self._topics.camera(key))
        self.look()

    def end(self, session_id: str) -> None:
        """Take a session's device away from the broker, with all that waits. Does nothing without one."""
        for topic in self._ended(session_id):
            self._states.entity(topic, b"")

    def left(self, session_id: str) -> None:
        """Forget a session, which has ended."""
        self.end(session_id)
        self._changes.pop(session_id, None)
        self._incoming.forget(self._key(session_id))

    def end_all(self) -> list[Message]:
        """Forget all devices; return the messages that take them away."""
        topics = [topic for id in list(self._ones) for topic in self._ended(id)]
        return [Message(topic, b"", retain=True) for topic in topics]

    def _ended(self, session_id: str) -> list[str]:
        """Forget a device; return its retained topics."""
        one = self._ones.pop(session_id, None)
        if one is None:
            return []
        camera = self._topics.camera(one.key)
        self._incoming.leave(one.key)
        self._states.forget(one.key)
        self._incoming.kept.difference_update((camera, *one.configs))
        self._on_end(one.key)
        return [*one.configs, camera]

    def _key(self, session_id: str) -> str:
        digest = hashlib.blake2s(session_id.encode(), key=self._secret, digest_size=4)
        # No camera of the house has a name with _.
        return f"visitor_{digest.hexdigest()}"

    def alerted(self, alert: Alert) -> None:
        """Tell of an alert, if its session agreed, and its watch is its person's own."""
        one = self._ones.get(alert.source.id) if alert.source is not None else None
        if one is not None and not alert.watch.startswith((PROGRAMS, TOOLS)):
            self._states.alerted(one.key, alert)

    def session_of(self, key: str) -> Session | None:
        """Return the session of a device; None for none."""
        found = next((id for id, one in self._ones.items() if one.key == key), None)
        return self._find(found) if found is not None else None

    def anew(self) -> None:
        """Tell the broker again of all entities."""
        for one in self._ones.values():
            for topic, config in one.configs.items():
                self._states.entity(topic, config)

    def look(self) -> None:
        """Send the changes."""
        for id, one in list(self._ones.items()):
            session = self._find(id)
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
            self._change(one, configs(self._topics, device))
            self._states.see(
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
            self._incoming.kept.discard(topic)
            self._states.entity(topic, b"")
        for topic, config in wanted.items():
            if one.configs.get(topic) == config:
                continue
            if not one.changes.take(self._clock()):
                return
            one.configs[topic] = config
            self._incoming.kept.add(topic)
            self._states.entity(topic, config)


def _own_name(session: Session) -> str:
    """Return the person's name for the session's own camera; "" for none."""
    cameras = session.part("cameras")
    return cameras.own_name if cameras is not None else ""


# One session as a device of Home Assistant, by its person's word: none, until the person says so.


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

    def alerted(self, alert: Alert) -> None:
        self._visitors.alerted(alert)
