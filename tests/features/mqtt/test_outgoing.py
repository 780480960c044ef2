"""Messages that wait for the broker: the newest of a topic, bounded, and no old news."""

from __future__ import annotations

from server.features.mqtt.outgoing import (
    MOST_BYTES,
    MOST_MESSAGES,
    STALE_SECONDS,
    Message,
    Outgoing,
)


def test_the_newest_of_a_topic_goes() -> None:
    queue = Outgoing()
    assert queue.put(Message("a", b"1"), 0) == []
    assert queue.put(Message("b", b"2"), 0) == []
    assert queue.put(Message("a", b"333"), 0) == ["replaced"]
    assert (len(queue), queue.bytes) == (2, 4)
    first, second = queue.next(), queue.next()
    assert first is not None
    assert second is not None
    assert [first.payload, second.payload] == [b"2", b"333"]
    assert queue.next() is None
    assert queue.bytes == 0


def test_it_is_bounded() -> None:
    """In messages and in bytes; the oldest goes."""
    queue = Outgoing()
    dropped = [
        reason for n in range(MOST_MESSAGES + 5) for reason in queue.put(Message(str(n), b""), 0)
    ]
    assert dropped == ["overflow"] * 5
    first = queue.next()
    assert first is not None
    assert first.topic == "5"
    queue = Outgoing()
    size = MOST_BYTES // 4
    assert [len(queue.put(Message(str(n), bytes(size)), 0)) for n in range(6)] == [0, 0, 0, 0, 1, 1]
    assert queue.bytes <= MOST_BYTES


def test_old_news_is_dropped() -> None:
    queue = Outgoing()
    queue.put(Message("state", b"ON"), 0)
    queue.put(Message("picture", b"jpeg", news=True), 0)
    assert queue.stale(STALE_SECONDS) == []
    assert queue.stale(STALE_SECONDS + 1) == ["stale"]
    assert len(queue) == 1


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


def test_states_go_with_a_new_connection() -> None:
    queue = Outgoing()
    queue.put(Message("state", b"ON"), 0)
    queue.put(Message("picture", b"jpeg", news=True), 0)
    assert queue.keep_news() == ["replaced"]
    assert queue.clear() == ["closed"]
    assert (len(queue), queue.bytes) == (0, 0)
