"""Links to pictures: a minute, nobody guesses them, and they end with their camera's consent."""

from __future__ import annotations

from server.features.webhooks.webhooks import LINK_SECONDS, MOST_LINKS, Links


def test_a_link_lives_a_minute() -> None:
    links = Links()
    word, _ = links.make(b"jpeg", "session", "hall", 100.0)
    assert LINK_SECONDS == 60
    assert links.get(word, 100.0) == links.get(word, 159.9) == b"jpeg"
    assert links.get(word, 160.0) is None
    assert len(links) == 0


def test_each_is_another_word_of_256_bits() -> None:
    links = Links()
    words = {links.make(b"", "session", "hall", 0.0)[0] for _ in range(50)}
    assert len(words) == 50
    assert min(len(word) for word in words) == 43
    assert links.get("", 0.0) is None


def test_pictures_are_freed() -> None:
    """Those whose time is over without anybody asking; the oldest beyond the most, which is reported."""
    links = Links()
    first, _ = links.make(b"", "session", "hall", 0.0)
    dropped = [links.make(b"", "session", "hall", 1.0)[1] for _ in range(MOST_LINKS)]
    assert dropped == [0] * (MOST_LINKS - 1) + [1]
    assert len(links) == MOST_LINKS
    assert links.get(first, 1.0) is None
    links.expire(61.0)
    assert len(links) == 0


def test_they_end_with_their_camera() -> None:
    links = Links()
    mine, kept = links.make(b"1", "mine", "hall", 0)[0], links.make(b"2", "mine", "kept", 0)[0]
    other, _ = links.make(b"3", "other", "hall", 0)
    links.end("mine", ["kept"])
    assert [links.get(word, 1) for word in (mine, kept, other)] == [None, b"2", b"3"]
    links.clear()
    assert links.get(other, 1) is None
