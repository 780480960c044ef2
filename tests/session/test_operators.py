"""Operators' sockets get what features send to operators, and no other socket does."""

from __future__ import annotations

from server.session.part import Operators
from server.session.request.outbox import Outbox


class Part:
    """Notes who is an operator."""

    def __init__(self) -> None:
        self.joined: list[Outbox] = []

    def join(self, outbox: Outbox) -> None:
        self.joined.append(outbox)

    def leave(self, outbox: Outbox) -> None:
        self.joined = [one for one in self.joined if one is not outbox]


def with_part() -> tuple[Operators, Part]:
    operators, part = Operators(), Part()
    operators.parts.append(part)
    return operators, part


def test_an_operator_until_its_socket_closes() -> None:
    """From then on the session's next socket gets visitors' texts again."""
    operators, part = with_part()
    outbox = Outbox()
    operators.join("socket", outbox)
    assert (outbox.operator, part.joined) == (True, [outbox])
    operators.leave("another")
    assert (outbox.operator, len(operators)) == (True, 1)
    operators.leave("socket")
    assert (outbox.operator, part.joined, len(operators)) == (False, [], 0)


def test_who_joins_again_gets_all_again() -> None:
    operators, part = with_part()
    outbox = Outbox()
    for _ in range(2):
        operators.join("socket", outbox)
    assert part.joined == [outbox, outbox]


def test_an_older_socket_that_ends_takes_nothing_from_the_newer_one() -> None:
    """Both are of one session, which has one outbox."""
    operators, part = with_part()
    outbox = Outbox()
    operators.join("old", outbox)
    operators.join("new", outbox)
    operators.leave("old")
    assert outbox.operator
    assert part.joined
    operators.leave("new")
    assert not outbox.operator
    assert not part.joined


def test_when_another_socket_reads_nobody_is_an_operator() -> None:
    """Whoever opens the next socket of an operator's session has not brought the token."""
    operators, part = with_part()
    outbox, other = Outbox(), Outbox()
    for socket in ("one", "two"):
        operators.join(socket, outbox)
    operators.join("other", other)
    operators.dismiss(outbox)
    assert not outbox.operator
    assert (part.joined, len(operators)) == ([other], 1)
    # It is dismissed already.
    operators.leave("one")
    assert len(operators) == 1
