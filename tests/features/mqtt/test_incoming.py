"""Messages of the broker: their meaning, their drops, and their rates."""

from __future__ import annotations

import pytest

from server.features.mqtt.discovery import Topics
from server.features.mqtt.incoming import (
    ALL_AT_ONCE,
    BIRTHS_AT_ONCE,
    BYTES_AT_ONCE,
    LOOKS_AT_ONCE,
    MOST_PACKET,
    PACKETS_AT_ONCE,
    Flood,
    Heard,
    Incoming,
    Kind,
)

TOPICS = Topics("qwen-camera", "homeassistant")
CONFIG = TOPICS.config("button", "door_look")
OLD = TOPICS.config("sensor", "gone_answer")


def judged(*cameras: str) -> Incoming:
    names = cameras or ("door",)
    return Incoming(TOPICS, names, {CONFIG, *(TOPICS.camera(name) for name in names)}, 0)


@pytest.mark.parametrize(
    ("topic", "payload", "retained", "kind", "detail"),
    [
        (TOPICS.look("door"), b"PRESS", False, Kind.PRESS, "door"),
        (TOPICS.look("door"), b"PRESS", True, Kind.DROPPED, "retained"),
        (TOPICS.look("door"), b"What is the code on the paper?", False, Kind.DROPPED, "malformed"),
        (TOPICS.look("door"), b"", False, Kind.DROPPED, "malformed"),
        (TOPICS.look("yard"), b"PRESS", False, Kind.DROPPED, "unknown"),
        ("", b"PRESS", False, Kind.DROPPED, "unknown"),
        (TOPICS.birth, b"online", False, Kind.BIRTH, ""),
        (TOPICS.birth, b"online", True, Kind.NOTHING, ""),
        (TOPICS.birth, b"offline", False, Kind.NOTHING, ""),
        (OLD, b"{}", True, Kind.LEFTOVER, OLD),
        (OLD, b"{}", False, Kind.NOTHING, ""),
        (OLD, b"", True, Kind.NOTHING, ""),
        (CONFIG, b"{}", True, Kind.NOTHING, ""),
        (TOPICS.camera("gone"), b"online", True, Kind.LEFTOVER, TOPICS.camera("gone")),
        (TOPICS.camera("door"), b"online", True, Kind.NOTHING, ""),
        # Of others: never cleared
        ("homeassistant/sensor/other/gone_answer/config", b"{}", True, Kind.DROPPED, "unknown"),
        ("homeassistant/sensor/qwen-camera/config", b"{}", True, Kind.DROPPED, "unknown"),
    ],
)
def test_what_a_message_means(
    topic: str, payload: bytes, retained: bool, kind: Kind, detail: str
) -> None:
    assert judged().judge(topic, payload, retained, 0) == Heard(kind, detail)


def test_looks_have_a_rate() -> None:
    """Of one camera, and of all of them."""
    incoming = judged()
    kinds = [incoming.judge(TOPICS.look("door"), b"PRESS", False, 0).kind for _ in range(1000)]
    assert kinds.count(Kind.PRESS) == LOOKS_AT_ONCE
    assert incoming.judge(TOPICS.look("door"), b"PRESS", False, 11).kind is Kind.PRESS
    names = tuple(f"c{n}" for n in range(16))
    incoming = judged(*names)
    pressed = [
        incoming.judge(TOPICS.look(name), b"PRESS", False, 0).kind for name in names for _ in "ab"
    ]
    assert pressed.count(Kind.PRESS) == ALL_AT_ONCE
    # A press that all together refused costs its camera nothing.
    later = [incoming.judge(TOPICS.look(names[-1]), b"PRESS", False, 6).kind for _ in "ab"]
    assert later.count(Kind.PRESS) == LOOKS_AT_ONCE


def test_leaving_and_joining_gives_no_more_looks() -> None:
    """Until it is forgotten, which the end of its session does."""
    incoming = judged()

    def looks(now: float) -> int:
        kinds = [incoming.judge(TOPICS.look("door"), b"PRESS", False, now).kind for _ in range(9)]
        return kinds.count(Kind.PRESS)

    assert looks(0) == LOOKS_AT_ONCE
    incoming.leave("door")
    assert incoming.judge(TOPICS.look("door"), b"PRESS", False, 0) == Heard(Kind.DROPPED, "unknown")
    incoming.join("door", 0)
    assert looks(0) == 0
    assert looks(11) == 1
    incoming.leave("door")
    incoming.forget("door")
    incoming.join("door", 11)
    assert looks(11) == LOOKS_AT_ONCE


def test_births_have_a_rate() -> None:
    """Each has all states sent again."""
    incoming = judged()
    kinds = [incoming.judge(TOPICS.birth, b"online", False, 0).kind for _ in range(100)]
    assert kinds.count(Kind.BIRTH) == BIRTHS_AT_ONCE


def test_packets_and_bytes_of_a_connection_have_a_rate() -> None:
    flood = Flood(0)
    assert [flood.packet(0) for _ in range(PACKETS_AT_ONCE + 1)].count(False) == 1
    flood = Flood(0)
    most = BYTES_AT_ONCE // MOST_PACKET
    assert [flood.read(MOST_PACKET, 0) for _ in range(most + 1)].count(False) == 1
    # One byte after the other counts as well.
    flood = Flood(0)
    assert all(flood.read(1, 0) for _ in range(5000))
