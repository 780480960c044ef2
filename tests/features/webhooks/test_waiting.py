"""Alerts that wait, and those that were given up: bounded, dropped in a fair order; and the rule of further attempts."""

from __future__ import annotations

import itertools

import pytest

from server.features.webhooks.waiting import (
    LEAST_SHARE,
    MOST_ASKED,
    MOST_DEAD,
    MOST_DEAD_OF_A_SOURCE,
    MOST_OF_A_SOURCE,
    MOST_OF_VISITORS,
    MOST_WAITING,
    PAUSES,
    DeadLetters,
    Delivery,
    DeliveryQueue,
    pause,
)
from server.features.webhooks.webhooks import LINK_SECONDS, MOST_LINKS, PictureLinks
from server.session.part import Alert, AlertSource

numbers = itertools.count()


def delivery(source: str, camera: str = "", due: float = 0.0, webhook: str = "hall") -> Delivery:
    return Delivery(f"msg_{next(numbers)}", webhook, Alert(0, AlertSource(source, camera)), due)


def test_one_camera_takes_no_other_ones_place() -> None:
    """Beyond its share its own oldest one goes."""
    waiting = DeliveryQueue()
    other = delivery("other", "yard")
    waiting.put(other)
    flood = [delivery("flood", "door") for _ in range(200)]
    dropped = [waiting.put(one) for one in flood]
    assert dropped == [None] * MOST_OF_A_SOURCE + flood[:-MOST_OF_A_SOURCE]
    assert len(waiting) == MOST_OF_A_SOURCE + 1
    assert waiting.get_next() is other


def test_visitors_take_no_place_of_the_houses() -> None:
    waiting = DeliveryQueue()
    house = [delivery(f"h{n}", "door") for n in range(MOST_WAITING - MOST_OF_VISITORS)]
    for one in house:
        assert waiting.put(one) is None
    crowd = [delivery(f"v{n}") for n in range(500)]
    dropped = [waiting.put(one) for one in crowd]
    assert [one for one in dropped if one is not None] == crowd[:-MOST_OF_VISITORS]
    assert len(waiting) == MOST_WAITING
    for one in house:
        waiting.remove(one)


def test_the_whole_is_bounded() -> None:
    waiting = DeliveryQueue()
    for number in range(500):
        waiting.put(delivery(f"h{number % 16}", "door"))
    assert len(waiting) == MOST_WAITING
    assert len(waiting.clear()) == MOST_WAITING
    assert len(waiting) == 0


def test_dead_letters_are_bounded() -> None:
    dead = DeadLetters()
    first = delivery("first", "yard")
    assert dead.put(first) == 0
    dropped = sum(dead.put(delivery("flood")) for _ in range(100))
    assert dropped == 100 - MOST_DEAD_OF_A_SOURCE
    assert dead.list_all()[0] is first
    for number in range(100):
        dead.put(delivery(f"h{number}", "door"))
    assert len(dead) == MOST_DEAD
    assert dead.take(first.id) is None


def test_dead_letters_end_with_their_source() -> None:
    """But those for receivers that are kept."""
    dead = DeadLetters()
    goes, stays, kept = delivery("a"), delivery("b"), delivery("a", webhook="kept")
    for one in (goes, stays, kept):
        dead.put(one)
    assert dead.end("a", ["kept"]) == 1
    assert dead.list_all() == [stays, kept]
    assert dead.take(stays.id) is stays


def test_pauses_grow_and_end() -> None:
    """Within half an hour; each is a little random."""
    longest = [pause(failed, 1.0) for failed in range(1, len(PAUSES) + 1)]
    assert longest == list(PAUSES) == sorted(PAUSES)
    assert sum(PAUSES) <= 1800
    assert pause(1, 0.0) == PAUSES[0] * LEAST_SHARE
    assert pause(len(PAUSES) + 1, 1.0) is None


def test_a_receiver_may_ask_for_a_pause() -> None:
    """A longer one, within bounds."""
    assert pause(1, 1.0, 120) == 120
    assert pause(1, 1.0, 999_999) == MOST_ASKED
    assert pause(3, 1.0, 1) == PAUSES[2]


@pytest.mark.parametrize(
    ("status", "attempts"),
    [*((400, 3), (413, 3), (301, 3)), *((401, 7), (404, 7), (429, 7), (500, 7), (0, 7))],
)
def test_attempts_end_earlier_where_a_person_has_to_mend_it(status: int, attempts: int) -> None:
    """A proxy answers 401, 403 and 404, too, while its receiver starts again."""
    failed = 1
    while pause(failed, 1.0, status=status) is not None:
        failed += 1
    assert failed == attempts


# Links to pictures: a minute, nobody guesses them, and they end with their camera's consent


def test_a_link_lives_a_minute() -> None:
    links = PictureLinks()
    word, _ = links.make(b"jpeg", "session", "hall", 100.0)
    assert LINK_SECONDS == 60
    assert links.get(word, 100.0) == links.get(word, 159.9) == b"jpeg"
    assert links.get(word, 160.0) is None
    assert len(links) == 0


def test_each_is_another_word_of_256_bits() -> None:
    links = PictureLinks()
    words = {links.make(b"", "session", "hall", 0.0)[0] for _ in range(50)}
    assert len(words) == 50
    assert min(len(word) for word in words) == 43
    assert links.get("", 0.0) is None


def test_pictures_are_freed() -> None:
    """Those whose time is over without anybody asking; the oldest beyond the most, which is reported."""
    links = PictureLinks()
    first, _ = links.make(b"", "session", "hall", 0.0)
    dropped = [links.make(b"", "session", "hall", 1.0)[1] for _ in range(MOST_LINKS)]
    assert dropped == [0] * (MOST_LINKS - 1) + [1]
    assert len(links) == MOST_LINKS
    assert links.get(first, 1.0) is None
    links.expire(61.0)
    assert len(links) == 0


def test_they_end_with_their_camera() -> None:
    links = PictureLinks()
    mine, kept = links.make(b"1", "mine", "hall", 0)[0], links.make(b"2", "mine", "kept", 0)[0]
    other, _ = links.make(b"3", "other", "hall", 0)
    links.end("mine", ["kept"])
    assert [links.get(word, 1) for word in (mine, kept, other)] == [None, b"2", b"3"]
    links.clear()
    assert links.get(other, 1) is None
