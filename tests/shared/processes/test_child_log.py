"""The last lines of a child's log, and how much of it is passed on in a second."""

from __future__ import annotations

import pytest

from server.shared.processes.process import (
    BYTES_A_SECOND,
    LINES_A_SECOND,
    LONGEST_LINE,
    READ_A_SECOND,
    LogBudget,
    LogRing,
)


def test_a_second_has_room_for_so_many_lines_and_bytes() -> None:
    """Whichever is used up first; the next second has as much again, and unused room is lost."""
    budget = LogBudget()
    for second in (10.0, 11.0, 90.0):
        assert budget.turn(second)
        assert not budget.turn(second + 0.9)
        assert sum(budget.take(10) for _ in range(1000)) == LINES_A_SECOND
    assert budget.turn(91.0)
    assert sum(budget.take(8000) for _ in range(100)) == BYTES_A_SECOND // 8000 + 1


def test_reading_waits_for_the_next_second() -> None:
    """Once more was read than a second has room for."""
    budget = LogBudget()
    budget.turn(10.0)
    assert budget.read(READ_A_SECOND) is None
    assert budget.read(1) == 11.0
    budget.turn(11.0)
    assert budget.read(1) is None


def test_the_ring_of_lines() -> None:
    """Any cut of the stream gives the same lines; a line that is written over takes one place; long
    ones are cut.
    """
    raw = b"one\r\n\r 1%\r 2%\r 3%\ntwo\n" + b"x" * 3000 + b"\nlast"
    expected = ["one", "3%", "two", "x" * LONGEST_LINE, "last"]
    for size in (1, 2, 3, 7, 5000):
        ring = LogRing()
        for at in range(0, len(raw), size):
            ring.feed(raw[at : at + size])
        ring.end()
        assert list(ring.lines) == expected, size
    endless = LogRing(kept=3)
    for _ in range(50):
        endless.feed(b"y" * 1000)
    assert len(endless._rest) <= 4 * LONGEST_LINE
    # Wherever it is cut, no half of a secret is shown.
    ring = LogRing(["secret-of-ours"])
    for at in range(0, 20_000, 7):
        ring.feed((b"secret-of-ours " * 1400)[at : at + 7])
    ring.end()
    assert set(ring.lines[0].split()) <= {"********"[:n] for n in range(9)}
    # Also where much of what stands before it is not shown, or something is put between.
    ring = LogRing(["s" * 40])
    ring.feed(b"\x1b[0m" * 1990 + b"s" * 5000 + b"\n" + b"s" * 20 + b"\x1b[1m" + b"s" * 20 + b"\n")
    assert ring.lines == ("********",)
    # Nor where colours have taken the room before it, or stand within it.
    ring = LogRing(["secret-of-ours"])
    for part in (b"\x1b[1m" * 1999, b"secre", b"t-of-ours and more\n", b"sec\x1b[1mret-of-ours\n"):
        ring.feed(part)
    assert ring.lines == ("********",)
    # A credential that begins in one line and ends in the next is hidden, too.
    ring = LogRing()
    ring.feed(b"api_key=\nhunter2\n")
    assert ring.lines == ("api_key=", "(hidden)")
    for number in range(10):
        endless.feed(b"%d\n" % number)
    assert endless.lines == ("7", "8", "9")
    assert endless.dropped > 0
    working = True
    quiet = LogRing(quiet=lambda: working)
    assert quiet.feed(b"one\ntwo") == []
    working = False
    assert quiet.end() == ["two"]
    assert (quiet.lines, quiet.withheld) == (("two",), 1)
    # Nor kept where there is no room to pass it on.
    working = True
    assert quiet.feed(b"three\nfour\n", lambda size: False) == []
    assert (quiet.lines, quiet.withheld, quiet.unheard) == (("two",), 3, 0)
    drawn_over = LogRing(redrawn=False)
    assert drawn_over.feed(b" 1%\r 2%\r\n 3%\r 4%\nend\n") == ["2%", "4%", "end"]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"Loading weights:  1%\rLoading weights: 50%", "Loading weights: 50%"),
        (b"token=abcdef ok", "token=(hidden) ok"),
        (b"https://me:pw@host/x", "https://(hidden)@host/x"),
        (b"use hf_abcdefghijklmnop now", "use (hidden) now"),
        (b"\x1b[31mred\x1b[0m\x07", "red"),
        (b"\xff" * 3000, "\ufffd" * LONGEST_LINE),
        (b"   ", ""),
    ],
)
def test_log_lines_are_bounded_and_without_secrets(raw: bytes, shown: str) -> None:
    """A progress bar's last text is shown: printable, cut, without anything like a key."""
    assert "".join(LogRing(redrawn=False).feed(raw + b"\n")) == shown
