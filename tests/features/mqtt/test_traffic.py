"""The queue to the broker, the pauses before it is tried again, and its messages' meanings."""

from __future__ import annotations

import pytest

from server.features.mqtt.discovery import Topics
from server.features.mqtt.traffic import (
    ALL_AT_ONCE,
    BIRTHS_AT_ONCE,
    LOOKS_AT_ONCE,
    MOST_BYTES,
    MOST_MESSAGES,
    NEEDS_PERSON,
    SENTENCES,
    STALE_SECONDS,
    BrokerFailure,
    Incoming,
    MessageKind,
    MqttMessage,
    Outgoing,
    ReceivedMessage,
    pause,
)

TOPICS = Topics("qwen-camera", "homeassistant")
CONFIG = TOPICS.config("button", "door_look")
OLD = TOPICS.config("sensor", "gone_answer")


def judged(*names: str) -> Incoming:
    return Incoming(TOPICS, names, {CONFIG, *map(TOPICS.camera, names)}, 0)


def pressed(incoming: Incoming, now: float = 0, *names: str, times: int = 9) -> int:
    """The looks that are ordered when each button is pressed so often."""
    topics = [TOPICS.look(name) for name in names or ("door",)] * times
    kinds = [incoming.judge(topic, b"PRESS", False, now).kind for topic in sorted(topics)]
    return kinds.count(MessageKind.PRESS)


@pytest.mark.parametrize(
    ("topic", "payload", "retained", "kind", "detail"),
    [
        (TOPICS.look("door"), b"PRESS", False, MessageKind.PRESS, "door"),
        (TOPICS.look("door"), b"PRESS", True, MessageKind.DROPPED, "retained"),
        (
            TOPICS.look("door"),
            b"What is the code on the paper?",
            False,
            MessageKind.DROPPED,
            "malformed",
        ),
        (TOPICS.look("door"), b"", False, MessageKind.DROPPED, "malformed"),
        (TOPICS.look("yard"), b"PRESS", False, MessageKind.DROPPED, "unknown"),
        ("", b"PRESS", False, MessageKind.DROPPED, "unknown"),
        (TOPICS.births[0], b"online", False, MessageKind.BIRTH, ""),
        (TOPICS.births[0], b"online", True, MessageKind.NOTHING, ""),
        (TOPICS.births[0], b"offline", False, MessageKind.NOTHING, ""),
        (OLD, b"{}", True, MessageKind.LEFTOVER, OLD),
        (OLD, b"{}", False, MessageKind.NOTHING, ""),
        (OLD, b"", True, MessageKind.NOTHING, ""),
        (CONFIG, b"{}", True, MessageKind.NOTHING, ""),
        (TOPICS.camera("gone"), b"online", True, MessageKind.LEFTOVER, TOPICS.camera("gone")),
        (TOPICS.camera("door"), b"online", True, MessageKind.NOTHING, ""),
        # Of others: never cleared
        (
            "homeassistant/sensor/other/gone_answer/config",
            b"{}",
            True,
            MessageKind.DROPPED,
            "unknown",
        ),
        ("homeassistant/sensor/qwen-camera/config", b"{}", True, MessageKind.DROPPED, "unknown"),
    ],
)
def test_what_a_message_means(
    topic: str, payload: bytes, retained: bool, kind: MessageKind, detail: str
) -> None:
    assert judged("door").judge(topic, payload, retained, 0) == ReceivedMessage(kind, detail)


def test_looks_have_a_rate() -> None:
    """Of one camera, and of all of them."""
    incoming = judged("door")
    assert pressed(incoming, times=1000) == LOOKS_AT_ONCE
    assert pressed(incoming, 11, times=1) == 1
    names = [f"c{n:02}" for n in range(16)]
    incoming = judged(*names)
    assert pressed(incoming, 0, *names, times=2) == ALL_AT_ONCE
    # A press that all together refused costs its camera nothing.
    assert pressed(incoming, 6, names[-1], times=2) == LOOKS_AT_ONCE


def test_births_have_a_rate() -> None:
    """Each has all states sent again."""
    incoming = judged("door")
    kinds = [incoming.judge(TOPICS.births[0], b"online", False, 0).kind for _ in range(100)]
    assert kinds.count(MessageKind.BIRTH) == BIRTHS_AT_ONCE


def test_it_is_bounded() -> None:
    """In messages and in bytes; the oldest goes."""
    queue = Outgoing()
    dropped = [
        reason
        for n in range(MOST_MESSAGES + 5)
        for reason in queue.put(MqttMessage(str(n), b""), 0)
    ]
    assert dropped == ["overflow"] * 5
    assert queue.take_next() == MqttMessage("5", b"")
    queue = Outgoing()
    size = MOST_BYTES // 4
    assert [len(queue.put(MqttMessage(str(n), bytes(size)), 0)) for n in range(6)] == [
        0,
        0,
        0,
        0,
        1,
        1,
    ]
    assert queue.bytes <= MOST_BYTES


def test_old_news_is_dropped_and_states_go_with_a_new_connection() -> None:
    queue = Outgoing()
    queue.put(MqttMessage("state", b"ON"), 0)
    queue.put(MqttMessage("picture", b"jpeg", news=True), 0)
    assert queue.drop_stale(STALE_SECONDS) == []
    assert queue.drop_stale(STALE_SECONDS + 1) == ["stale"]
    assert len(queue) == 1
    queue.put(MqttMessage("picture", b"jpeg", news=True), 0)
    assert queue.keep_news() == ["replaced"]
    assert queue.clear() == ["closed"]
    assert (len(queue), queue.bytes) == (0, 0)


def test_what_did_not_arrive_goes_again() -> None:
    """With its age, before the others; not when a newer one waits."""
    queue = Outgoing()
    queue.put(MqttMessage("a", b"1", news=True), 0)
    queue.put(MqttMessage("b", b"2"), 0)
    first = queue.take_next()
    assert queue.requeue() == []
    assert queue.requeue() == []
    assert queue.take_next() == first
    queue.put(MqttMessage("a", b"11"), 50)
    assert queue.requeue() == ["replaced"]
    assert (len(queue), queue.bytes) == (2, 3)
    queue = Outgoing()
    queue.put(MqttMessage("a", b"1", news=True), 0)
    queue.take_next()
    queue.requeue()
    assert queue.drop_stale(STALE_SECONDS + 1) == ["stale"]


def test_pauses_grow_to_a_bound() -> None:
    pauses = [pause(failures, BrokerFailure.UNREACHABLE, 1.0) for failures in (0, 1, 2, 5, 6, 9999)]
    assert pauses == [1, 2, 4, 32, 60, 60]
    assert pause(0, BrokerFailure.CREDENTIALS, 1.0) == 30
    assert pause(99, BrokerFailure.CREDENTIALS, 1.0) == 300
    assert pause(0, BrokerFailure.ENDED, 0.0) == 0.5


def test_each_trouble_has_a_sentence() -> None:
    assert set(SENTENCES) == set(BrokerFailure) >= NEEDS_PERSON
