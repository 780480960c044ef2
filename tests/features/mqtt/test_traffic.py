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
    Heard,
    Incoming,
    Kind,
    Message,
    Outgoing,
    Trouble,
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
    return kinds.count(Kind.PRESS)


@pytest.mark.parametrize(
    ("topic", "payload", "retained", "kind", "detail"),
    [
        (TOPICS.look("door"), b"PRESS", False, Kind.PRESS, "door"),
        (TOPICS.look("door"), b"PRESS", True, Kind.DROPPED, "retained"),
        (TOPICS.look("door"), b"What is the code on the paper?", False, Kind.DROPPED, "malformed"),
        (TOPICS.look("door"), b"", False, Kind.DROPPED, "malformed"),
        (TOPICS.look("yard"), b"PRESS", False, Kind.DROPPED, "unknown"),
        ("", b"PRESS", False, Kind.DROPPED, "unknown"),
        (TOPICS.births[0], b"online", False, Kind.BIRTH, ""),
        (TOPICS.births[0], b"online", True, Kind.NOTHING, ""),
        (TOPICS.births[0], b"offline", False, Kind.NOTHING, ""),
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
    assert judged("door").judge(topic, payload, retained, 0) == Heard(kind, detail)


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
    assert kinds.count(Kind.BIRTH) == BIRTHS_AT_ONCE


def test_it_is_bounded() -> None:
    """In messages and in bytes; the oldest goes."""
    queue = Outgoing()
    dropped = [
        reason for n in range(MOST_MESSAGES + 5) for reason in queue.put(Message(str(n), b""), 0)
    ]
    assert dropped == ["overflow"] * 5
    assert queue.next() == Message("5", b"")
    queue = Outgoing()
    size = MOST_BYTES // 4
    assert [len(queue.put(Message(str(n), bytes(size)), 0)) for n in range(6)] == [0, 0, 0, 0, 1, 1]
    assert queue.bytes <= MOST_BYTES


def test_old_news_is_dropped_and_states_go_with_a_new_connection() -> None:
    queue = Outgoing()
    queue.put(Message("state", b"ON"), 0)
    queue.put(Message("picture", b"jpeg", news=True), 0)
    assert queue.stale(STALE_SECONDS) == []
    assert queue.stale(STALE_SECONDS + 1) == ["stale"]
    assert len(queue) == 1
    queue.put(Message("picture", b"jpeg", news=True), 0)
    assert queue.keep_news() == ["replaced"]
    assert queue.clear() == ["closed"]
    assert (len(queue), queue.bytes) == (0, 0)


def test_what_did_not_arrive_goes_again() -> None:
    """With its age, before the others; not when a newer one waits."""
    queue = Outgoing()
    queue.put(Message("a", b"1", news=True), 0)
    queue.put(Message("b", b"2"), 0)
    first = queue.next()
    assert queue.again() == []
    assert queue.again() == []
    assert queue.next() == first
    queue.put(Message("a", b"11"), 50)
    assert queue.again() == ["replaced"]
    assert (len(queue), queue.bytes) == (2, 3)
    queue = Outgoing()
    queue.put(Message("a", b"1", news=True), 0)
    queue.next()
    queue.again()
    assert queue.stale(STALE_SECONDS + 1) == ["stale"]


def test_pauses_grow_to_a_bound() -> None:
    pauses = [pause(failures, Trouble.UNREACHABLE, 1.0) for failures in (0, 1, 2, 5, 6, 9999)]
    assert pauses == [1, 2, 4, 32, 60, 60]
    assert pause(0, Trouble.CREDENTIALS, 1.0) == 30
    assert pause(99, Trouble.CREDENTIALS, 1.0) == 300
    assert pause(0, Trouble.ENDED, 0.0) == 0.5


def test_each_trouble_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Trouble) >= NEEDS_PERSON
