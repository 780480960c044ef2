"""The entities of a camera, against the schemas that Home Assistant publishes, their names, and words as states."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from server.core.metrics import Metrics
from server.features.mqtt.discovery import (
    MOST_STATE,
    shorten,
    to_one_line,
    watch_key,
)
from server.features.mqtt.mqtt import Mqtt
from server.features.mqtt.settings import MqttSettings
from server.features.rtsp.settings import FixedCamera

SCHEMAS = json.loads((Path(__file__).parent / "home_assistant.json").read_text(encoding="utf-8"))
# Words of an operator's that could be taken for more than words
ODD = 'a "parcel" {{ states("lock.door") }} / + # lies'
WATCHES = ("anything moves", ODD, "甲" * 200)
CAMERA = FixedCamera(
    "front-door",
    "rtsp://192.168.1.20/secret-path",
    user="viewer",
    password="secret-word",
    describe=True,
    mqtt=True,
    watches=WATCHES,
)
# As the program makes them
FOUND = Mqtt(MqttSettings(), (CAMERA,), None, Metrics("0"))._configs
BY_TOPIC = pytest.mark.parametrize("topic", FOUND)


def check(kind: Any, value: Any) -> None:
    """Check a value as Home Assistant does."""
    match kind:
        case list():
            assert value in kind
        case "string":
            assert isinstance(value, str)
        case "strings":
            assert isinstance(value, list)
            assert value
            assert all(isinstance(one, str) for one in value)
        case "boolean":
            assert isinstance(value, bool)
        case "topic":
            assert isinstance(value, str)
            assert 0 < len(value.encode()) <= 65535
            assert not re.search(r"[+#\0]", value)
        case "availabilities":
            assert value
            for one in value:
                check_table(SCHEMAS["availability"], one)
        case "device" | "origin":
            check_table(SCHEMAS[kind], value)
        case _:
            pytest.fail(f"{kind} is not used: {value}")


def check_table(schema: dict[str, Any], table: dict[str, Any]) -> None:
    assert set(schema["required"]) <= set(table)
    for key, value in table.items():
        assert key in schema["allowed"], f"{key} is not allowed, or an abbreviation"
        check(schema["allowed"][key], value)


@BY_TOPIC
def test_an_entity_is_as_published(topic: str) -> None:
    """Required and allowed keys, kinds of values; `origin` and its like have no templates."""
    config = json.loads(FOUND[topic])
    component = topic.split("/")[1]
    schema = SCHEMAS["components"][component]
    whole = {
        "required": [*schema["required"], "unique_id", "device", "origin", "availability"],
        "allowed": {**SCHEMAS["common"], **schema["allowed"]},
    }
    check_table(whole, config)
    assert not any("template" in key for key in config)


@BY_TOPIC
def test_a_topic_is_as_published(topic: str) -> None:
    """`<prefix>/<component>/<node>/<object>/config`, of letters, digits, - and _."""
    assert re.fullmatch(r"homeassistant/[a-z_]+/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config", topic)
    # Home Assistant reads the whole at once; a retained one has to pass back to us, too.
    assert len(FOUND[topic]) < 4096


def test_entities() -> None:
    kinds = [topic.split("/")[1] for topic in FOUND]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "binary_sensor": 3,
        "image": 3,
        "sensor": 2,
        "button": 1,
    }
    texts = [json.loads(config) for config in FOUND.values()]
    assert len({text["unique_id"] for text in texts}) == len(texts)
    assert {text["device"]["identifiers"][0] for text in texts} == {"qwen-camera_front-door"}
    classes = [text.get("device_class") for text in texts if "payload_on" in text]
    assert classes == ["motion", None, None]
    assert ODD in [text["name"] for text in texts]


def test_no_secret_and_no_address_is_told() -> None:
    shown = b"".join(FOUND.values()).decode()
    assert not re.search(r"secret|viewer|192\.168", shown)


def test_a_watch_is_named_by_its_words() -> None:
    assert watch_key("a dog") == watch_key("a dog") != watch_key("a dog ")
    assert watch_key("+/#").isalnum()


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("A red car.", "A red car."),
        ("", ""),
        ("two\nlines\tand\u2028more\x00\u202e", "two lines and more"),
        # Whole sentences that fit
        ("A" * 150 + ". " + "B" * 200 + ".", "A" * 150 + "."),
        ("甲" * 200 + "。" + "乙" * 200, "甲" * 200 + "。"),
        # Too little of one; no end of a sentence: 3.5
        ("A dog. " + "x" * 300, "A dog. " + "x" * 247 + "…"),
        ("y" * 120 + " 3.5 " + "z" * 300, "y" * 120 + " 3.5 " + "z" * 129 + "…"),
        # Whole words else
        ("word " * 100, "word " * 49 + "word…"),
        ("x" * 999, "x" * 254 + "…"),
    ],
)
def test_shorten(text: str, short: str) -> None:
    found = shorten(text)
    assert found == short
    assert len(found) <= MOST_STATE


def test_one_line_is_bounded() -> None:
    """Of an endless text only a part is looked at."""
    assert len(to_one_line("a b " * 1_000_000)) <= 4000
