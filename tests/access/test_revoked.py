"""Access that was taken back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.access.revoked import Revoked

LIFE = 100


def test_a_name_is_refused_until_its_last_token_would_be_over() -> None:
    """Then it is forgotten, without touching anybody else's access."""
    revoked = Revoked(LIFE)
    revoked.add("a", 1000, 1050)
    assert revoked.refuses("a", 1000)
    assert not revoked.refuses("b", 1000)
    revoked.add("b", 1090, 1099)
    assert revoked.refuses("a", 1000)
    revoked.add("c", 1095, 1100)
    assert len(revoked) == 2
    assert not revoked.refuses("d", 1000)


def test_adding_twice_is_adding_once() -> None:
    """A name that is revoked again takes no second entry."""
    revoked = Revoked(LIFE, 2)
    for _ in range(5):
        revoked.add("a", 1000, 1000)
    assert len(revoked) == 1
    assert not revoked.refuses("b", 1000)


def test_all_at_once() -> None:
    """Access that began by then is over; what is granted after, even in that second, is good."""
    revoked = Revoked(LIFE)
    revoked.add_all(1000, 1000.9)
    assert revoked.refuses("a", 1000)
    assert revoked.refuses("a", 7)
    begins = revoked.begin(1000.9)
    assert begins == 1001
    assert not revoked.refuses("a", begins)
    assert revoked.begin(2000.5) == 2000
    revoked.add_all(500, 2000)
    assert revoked.refuses("a", 1000)


def test_nothing_ends_in_the_future() -> None:
    """Access that begins later is good, whatever time was named, and begins now."""
    revoked = Revoked(LIFE)
    revoked.add_all(10**10, 1000.5)
    assert revoked.refuses("a", 1000)
    assert revoked.begin(1000.9) == 1001
    assert revoked.begin(1002.0) == 1002
    assert not revoked.refuses("a", 1001)


@given(st.lists(st.integers(0, LIFE - 1), min_size=1, max_size=60), st.integers(1, 10))
def test_no_flood_brings_one_back(ages: list[int], most: int) -> None:
    """However access ends and however little is remembered, no token that could be good passes."""
    revoked, now = Revoked(LIFE, most), 10_000
    ended = [(f"n{number}", now - age) for number, age in enumerate(ages)]
    for name, since in ended:
        revoked.add(name, since, now)
        assert len(revoked) <= most
    assert all(revoked.refuses(name, since) for name, since in ended)
    assert not revoked.refuses("new", revoked.begin(now + 1))
