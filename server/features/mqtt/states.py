"""The states that the broker has, or will have: each goes out when it changes. Pure; `clock` is monotonic seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from server.features.mqtt.discovery import (
    OFF,
    OFFLINE,
    ON,
    ONLINE,
    UNKNOWN,
    Seen,
    Topics,
    one_line,
    shorten,
    watch_key,
)
from server.features.mqtt.incoming import Looked
from server.features.mqtt.outgoing import Message
from server.session.part import Alert, time_text

# The longest that the state of a watch waits for the alert that has its picture
PICTURE_SECONDS = 10.0
# Seconds for which the last state holds while nobody can tell: a short trouble is no change
DOUBT_SECONDS = 60.0


class States:
    """States, words and pictures of all cameras. Pictures and words are never retained."""

    def __init__(
        self,
        topics: Topics,
        put: Callable[[Message], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._topics = topics
        self._put = put
        self._clock = clock
        self._wall = wall
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

    def alerted(self, camera: str, alert: Alert) -> None:
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

    def answered(self, camera: str, looked: Looked) -> None:
        """Send the end of a look."""
        topic = self._topics.answer(camera)
        # The same answer again is news all the same.
        self._sent.pop(topic, None)
        self._words(topic, looked.text, {"ok": looked.ok})

    def entity(self, topic: str, config: bytes) -> None:
        """Send the configuration of an entity; an empty one takes it away."""
        self._put(Message(topic, config, retain=True))

    def _doubt(self, topic: str) -> None:
        """Send that a state is unknown, once that lasts."""
        since = self._doubted.setdefault(topic, self._clock())
        if topic not in self._sent or self._clock() - since >= DOUBT_SECONDS:
            self._send(topic, UNKNOWN)

    def _words(self, topic: str, words: str, facts: dict[str, Any]) -> None:
        state = shorten(words).encode()
        if state and self._sent.get(topic) != state:
            whole = {"text": one_line(words), "at": time_text(self._wall()), **facts}
            self._news(self._topics.facts(topic), _json(whole))
            self._send(topic, state)

    def _send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if self._sent.get(topic) != payload:
            self._sent[topic] = payload
            self._put(Message(topic, payload, retain=retain))

    def _news(self, topic: str, payload: bytes) -> None:
        self._put(Message(topic, payload, news=True))


def _json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False).encode()
