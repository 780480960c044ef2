"""A session's hand-overs: when a page gets one, and what a session takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from server.auth import TokenIssuer
from server.core.messages import ServerMessage
from server.features.cluster.handover import MAX_TRIES, HandingOver, HandoverRefused, Handovers
from server.features.cluster.messages import Handover, HandoverSettings, Moved, Resume, Resumed
from server.session.request.parts import History

tokens = TokenIssuer("t" * 40, 600)


class Kept:
    """An outbox that keeps what is put."""

    def __init__(self) -> None:
        self.messages: list[ServerMessage] = []

    def put(self, message: ServerMessage) -> None:
        self.messages.append(message)

    def last(self, kind: type[Any]) -> Any:
        return next(one for one in reversed(self.messages) if isinstance(one, kind))


class Room:
    """One session of a gateway that has the installation's secret."""

    def __init__(self, id: str, *, wanted: bool = True) -> None:
        self.id = id
        self.history = History()
        self.box = Kept()
        context: Any = SimpleNamespace(id=id, history=self.history, outbox=self.box)
        self.side = HandingOver(context, Handovers("s" * 40, tokens, 600))
        self.side.handlers[HandoverSettings](HandoverSettings(type="settings", handover=wanted))

    def brought(self) -> Resume:
        """Its last hand-over as its page brings it to another session."""
        signed = self.box.last(Handover).handover
        return Resume(type="resume", handover=signed, token=tokens.issue(self.id).token)


def test_a_chat_goes_on_in_another_session() -> None:
    """Both turns are remembered there, and its page has a new hand-over, which goes on again."""
    one, two, three = Room("one"), Room("two"), Room("three")
    one.history.add("What is this?", "A cup.")
    one.history.add("And this?", "A pot.")
    two.side.resume(one.brought())
    assert two.history.all() == one.history.all()
    assert two.box.last(Resumed).turns == 2
    # One hand-over for all turns
    assert len([m for m in two.box.messages if isinstance(m, Handover)]) == 1
    two.history.add("And now?", "A spoon.")
    three.side.resume(two.brought())
    assert [turn.answer for turn in three.history.all()] == ["A cup.", "A pot.", "A spoon."]


def test_the_answer_that_a_page_missed() -> None:
    """It brings the same again, and hears the same."""
    one, two = Room("one"), Room("two")
    one.history.add("q", "a")
    brought = one.brought()
    for _ in range(5):
        two.side.resume(brought)
    assert len(two.history) == 1
    assert [m.turns for m in two.box.messages if isinstance(m, Resumed)] == [1] * 5


def test_only_before_the_first_answer() -> None:
    """Nothing is put into a chat that has begun."""
    one, two = Room("one"), Room("two")
    one.history.add("q", "a")
    two.history.add("own", "own")
    with pytest.raises(HandoverRefused, match="after the first answer"):
        two.side.resume(one.brought())
    assert len(two.history) == 1


def test_a_few_tries() -> None:
    """A session checks so many signatures, then none; it begins empty."""
    one, two = Room("one"), Room("two")
    one.history.add("q", "a")
    bad = Resume(type="resume", handover="x.y.z", token="t")
    for _ in range(MAX_TRIES):
        with pytest.raises(HandoverRefused):
            two.side.resume(bad)
    with pytest.raises(HandoverRefused):
        two.side.resume(one.brought())
    assert len(two.history) == 0


def test_a_page_that_keeps_none() -> None:
    """It gets none, and is not told to go."""
    one = Room("one", wanted=False)
    one.history.add("q", "a")
    assert one.box.messages == []
    assert not one.side.wanted


def test_the_last_words_of_a_gateway() -> None:
    """A page that is asked to go has the newest chat."""
    one = Room("one")
    one.history.add("q", "a")
    one.side.leave()
    assert [type(m) for m in one.box.messages] == [Handover, Handover, Moved]
