"""How much of a program's log is read and passed on in a second."""

from __future__ import annotations

from server.processes.log_budget import BYTES_A_SECOND, LINES_A_SECOND, READ_A_SECOND, LogBudget


def test_a_second_has_room_for_so_many_lines_and_bytes() -> None:
    """Whichever is used up first; the next second has as much again, and what one does not use is lost."""
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
