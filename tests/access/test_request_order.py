"""Attempts that come late."""

from __future__ import annotations

import pytest

from server.access.request_order import MAX_NUMBER, MAX_PAGES, Attempt, Attempts
from server.core.errors import BadRequest, Conflict


def test_an_older_attempt_is_late_and_a_repeated_one_is_not() -> None:
    """A newer number makes older ones late; one may come twice, as browsers repeat requests."""
    attempts = Attempts()
    attempts.take(Attempt("a", 2))
    attempts.take(Attempt("a", 2))
    attempts.take(Attempt("a", 4))
    with pytest.raises(Conflict):
        attempts.take(Attempt("a", 3))
    attempts.check(Attempt("a", 4))


def test_pages_do_not_count_for_each_other() -> None:
    """Another page begins at one, and who does not count passes."""
    attempts = Attempts()
    attempts.take(Attempt("a", 7))
    attempts.take(Attempt("b", 1))
    attempts.take(None)
    with pytest.raises(Conflict):
        attempts.take(Attempt("a", 6))


def test_what_was_ended_does_not_come_back() -> None:
    """An end makes its attempt late, and an end that comes after a newer attempt is late itself."""
    attempts = Attempts()
    attempts.take(Attempt("a", 1))
    attempts.end(Attempt("a", 1))
    with pytest.raises(Conflict):
        attempts.take(Attempt("a", 1))
    attempts.take(Attempt("a", 2))
    with pytest.raises(Conflict):
        attempts.end(Attempt("a", 1))
    attempts.check(Attempt("a", 2))


def test_pages_are_bounded() -> None:
    """The page unheard of longest is forgotten, and no other."""
    attempts = Attempts()
    for number in range(MAX_PAGES):
        attempts.take(Attempt(f"p{number}", 5))
    attempts.take(Attempt("p0", 6))
    attempts.take(Attempt("new", 1))
    assert len(attempts) == MAX_PAGES
    attempts.take(Attempt("p1", 1))
    with pytest.raises(Conflict):
        attempts.take(Attempt("p0", 5))


@pytest.mark.parametrize(
    ("page", "number"),
    [
        ("", "1"),
        ("a", None),
        (None, "1"),
        ("a" * 33, "1"),
        ("a b", "1"),
        ("ä", "1"),
        ("a", "0"),
        ("a", "-1"),
        ("a", "1.5"),
        ("a", "²"),
        ("a", str(MAX_NUMBER + 1)),
        ("a", "9" * 5000),
    ],
)
def test_a_bad_attempt_is_refused_with_what_is_allowed(
    page: str | None, number: str | None
) -> None:
    """Half of the pair, or a name or number out of bounds, is a clear error."""
    with pytest.raises(BadRequest, match="go together"):
        Attempt.read(page, number)


def test_good_attempts_are_read() -> None:
    """The bounds themselves are allowed, and nothing at all is nobody's attempt."""
    assert Attempt.read(None, None) is None
    assert Attempt.read("a" * 32, str(MAX_NUMBER)) == Attempt("a" * 32, MAX_NUMBER)
