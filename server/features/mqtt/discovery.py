"""Configurations of a camera's entities for Home Assistant (MQTT discovery). Pure.

They use no abbreviated keys and no templates: a model's text is never evaluated.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server import __version__

MAKER = "qwen-camera"
_MOTION = re.compile(r"\b(?:motion|movements?|moves?|moving)\b", re.IGNORECASE)


def build_configs(topics: Topics, device: CameraDevice) -> dict[str, bytes]:
    """Return the retained configurations of a camera's entities, by topic."""
    name = device.key
    common: dict[str, Any] = {
        "availability": [
            _build_availability(topics.status),
            _build_availability(topics.camera(name)),
        ],
        "availability_mode": "all",
        "device": {
            "identifiers": [f"{topics.prefix}_{name}"],
            "name": device.name,
            "manufacturer": MAKER,
            "model": device.model,
            "sw_version": __version__,
        },
        "origin": {"name": MAKER, "sw_version": __version__},
        "qos": 1,
    }
    found: dict[str, bytes] = {}

    def add(component: str, entity: str, config: Mapping[str, Any]) -> None:
        unique = {"unique_id": f"{topics.prefix}_{name}_{entity}"}
        text = json.dumps({**config, **unique, **common}, ensure_ascii=False)
        found[topics.config(component, f"{name}_{entity}")] = text.encode()

    for condition in device.watches:
        key = watch_key(condition)
        words = to_one_line(condition)
        watch: dict[str, Any] = {
            "name": words,
            "state_topic": topics.watch(name, key),
            "payload_on": ON.decode(),
            "payload_off": OFF.decode(),
            "json_attributes_topic": topics.watch_facts(name, key),
        }
        if _MOTION.search(words):
            watch["device_class"] = "motion"
        add("binary_sensor", f"watch_{key}", watch)
        picture = {
            "name": f"{words}: picture",
            "image_topic": topics.evidence(name, key),
            "content_type": "image/jpeg",
        }
        add("image", f"picture_{key}", picture)
    if device.describes:
        add(
            "sensor",
            "description",
            _build_text_entity(topics, "Description", topics.description(name)),
        )
    add("sensor", "answer", _build_text_entity(topics, "Answer", topics.answer(name)))
    button = {
        "name": "Look now",
        "command_topic": topics.look(name),
        "payload_press": PRESS.decode(),
        "retain": False,
    }
    add("button", "look", button)
    return found


def _build_availability(topic: str) -> dict[str, str]:
    return {
        "topic": topic,
        "payload_available": ONLINE.decode(),
        "payload_not_available": OFFLINE.decode(),
    }


def _build_text_entity(topics: Topics, name: str, topic: str) -> dict[str, str]:
    return {"name": name, "state_topic": topic, "json_attributes_topic": topics.facts(topic)}


# State of a camera published to integrations. Pure.

FIXED, VISITOR = "Fixed camera", "Camera of a visitor"


@dataclass(frozen=True, slots=True)
class CameraDevice:
    """Static facts of a camera, from which its entities are derived."""

    # Name in topics
    key: str
    # Name for people
    name: str
    model: str = FIXED
    # Conditions of its watches
    watches: tuple[str, ...] = ()
    # True if it is described
    describes: bool = False


@dataclass(frozen=True, slots=True)
class CameraStates:
    """Current states of a camera."""

    key: str
    live: bool
    # Whether each watch's condition holds; None: unknown
    watches: dict[str, bool | None] = field(repr=False)
    # The last description; "" if there is none
    described: str = field(default="", repr=False)


# Names of all topics and payloads. Pure.

ONLINE, OFFLINE = b"online", b"offline"
ON, OFF, UNKNOWN = b"ON", b"OFF", b"None"
PRESS = b"PRESS"
# Home Assistant's default discovery prefix
USUAL_DISCOVERY = "homeassistant"


def watch_key(condition: str) -> str:
    """Return the key of a watch, a hash of its words, so that it does not depend on the list's order."""
    return hashlib.sha256(condition.encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics of this server. `prefix`: its own prefix; `discovery`: Home Assistant's prefix."""

    prefix: str
    discovery: str

    @property
    def status(self) -> str:
        """Availability of this server: retained, and the connection's will."""
        return f"{self.prefix}/status"

    def camera(self, camera: str) -> str:
        """Return the topic of a camera's availability; retained."""
        return f"{self.prefix}/{camera}/status"

    def root(self, camera: str) -> str:
        """Return the prefix of all topics of a camera, except its configurations."""
        return f"{self.prefix}/{camera}/"

    def watch(self, camera: str, key: str) -> str:
        return f"{self.prefix}/{camera}/watch/{key}"

    def watch_facts(self, camera: str, key: str) -> str:
        return f"{self.watch(camera, key)}/facts"

    def evidence(self, camera: str, key: str) -> str:
        return f"{self.watch(camera, key)}/picture"

    def description(self, camera: str) -> str:
        return f"{self.prefix}/{camera}/description"

    def answer(self, camera: str) -> str:
        return f"{self.prefix}/{camera}/answer"

    def facts(self, topic: str) -> str:
        """Return the topic with the complete text of a state, which may be shortened."""
        return f"{topic}/facts"

    def look(self, camera: str) -> str:
        """Return the topic for requesting an answer about the next frame, the only command topic."""
        return f"{self.prefix}/{camera}/look"

    def config(self, component: str, entity: str) -> str:
        return f"{self.discovery}/{component}/{self.prefix}/{entity}/config"

    @property
    def births(self) -> tuple[str, ...]:
        """Topics of Home Assistant's birth message; the default one does not follow its discovery prefix."""
        return tuple(dict.fromkeys(f"{one}/status" for one in (self.discovery, USUAL_DISCOVERY)))

    @property
    def leftovers(self) -> tuple[str, ...]:
        """Filters for retained messages of an earlier run, also under the default discovery prefix."""
        prefixes = dict.fromkeys((self.discovery, USUAL_DISCOVERY))
        configs = (f"{one}/+/{self.prefix}/+/config" for one in prefixes)
        return (f"{self.prefix}/+/status", *configs)


# A model's text as a state of Home Assistant: one line, at most 255 characters. Pure.

# Maximum length of a state in Home Assistant
MOST_STATE = 255
# Maximum characters of the complete text
MOST_WHOLE = 4000
_ENDS = ".!?。！？؟।"


def to_one_line(text: str, most: int = MOST_WHOLE) -> str:
    """Return the text with only printable characters and single spaces, at most `most` characters."""
    cut = text[: most * 2]
    shown = (c if unicodedata.category(c)[0] not in "CZ" else " " for c in cut)
    return " ".join("".join(shown).split())[:most]


def shorten(text: str) -> str:
    """Return the first complete sentences that fit, else the first words and an ellipsis.

    Sentences are used only if they fill at least a third of `MOST_STATE`.
    """
    line = to_one_line(text)
    if len(line) <= MOST_STATE:
        return line
    head = line[:MOST_STATE]
    for at in range(MOST_STATE - 1, MOST_STATE // 3, -1):
        after = line[at + 1 : at + 2]
        if head[at] in _ENDS and (after == " " or head[at] in "。！？"):
            return head[: at + 1]
    head = line[: MOST_STATE - 1]
    words, space, _ = head.rpartition(" ")
    if space and len(words) > MOST_STATE // 2:
        head = words
    return head.rstrip(" ,;:-") + "…"
