"""The configurations of which Home Assistant makes a camera's entities (MQTT discovery). Pure.

Full names of keys are used, no abbreviations, and no templates: a model's words are never run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from server.features.mqtt.device import Device
from server.features.mqtt.topics import OFF, OFFLINE, ON, ONLINE, PRESS, Topics, watch_key
from server.features.mqtt.words import one_line

MAKER = "qwen-camera"
_MOTION = re.compile(r"\b(?:motion|movements?|moves?|moving)\b", re.IGNORECASE)


def configs(topics: Topics, device: Device, version: str) -> dict[str, bytes]:
    """Return the retained messages that make the entities of a camera, by topic."""
    name = device.key
    common: dict[str, Any] = {
        "availability": [_available(topics.status), _available(topics.camera(name))],
        "availability_mode": "all",
        "device": {
            "identifiers": [f"{topics.prefix}_{name}"],
            "name": device.name,
            "manufacturer": MAKER,
            "model": device.model,
            "sw_version": version,
        },
        "origin": {"name": MAKER, "sw_version": version},
        "qos": 1,
    }
    found: dict[str, bytes] = {}

    def add(component: str, entity: str, config: Mapping[str, Any]) -> None:
        unique = {"unique_id": f"{topics.prefix}_{name}_{entity}"}
        text = json.dumps({**config, **unique, **common}, ensure_ascii=False)
        found[topics.config(component, f"{name}_{entity}")] = text.encode()

    for condition in device.watches:
        key = watch_key(condition)
        words = one_line(condition)
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
        add("sensor", "description", _text(topics, "Description", topics.description(name)))
    add("sensor", "answer", _text(topics, "Answer", topics.answer(name)))
    button = {
        "name": "Look now",
        "command_topic": topics.look(name),
        "payload_press": PRESS.decode(),
        "retain": False,
    }
    add("button", "look", button)
    return found


def _available(topic: str) -> dict[str, str]:
    return {
        "topic": topic,
        "payload_available": ONLINE.decode(),
        "payload_not_available": OFFLINE.decode(),
    }


def _text(topics: Topics, name: str, topic: str) -> dict[str, str]:
    return {"name": name, "state_topic": topic, "json_attributes_topic": topics.facts(topic)}
