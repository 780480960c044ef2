"""The features' parts of a session: messages, greetings and alerts find them."""

from __future__ import annotations

from typing import Literal

import pytest

from server.core.errors import Conflict
from server.core.messages.base import ClientMessage
from server.session.part import (
    Alert,
    AlertSource,
    FeatureParts,
    SessionContext,
    SessionFeatures,
    SessionPart,
)
from server.session.request.outbox import Outbox
from tests.support.rooms import bare_context


class Wish(ClientMessage):
    type: Literal["wish"]


class Noting(SessionPart):
    """Notes what it gets."""

    def __init__(self, context: SessionContext) -> None:
        self.handlers = {Wish: lambda message: self.got.append(message.type)}
        self.got: list[object] = []

    def greet(self) -> None:
        self.got.append("greet")

    def alerted(self, alert: Alert) -> None:
        self.got.append(alert)


def parts() -> tuple[FeatureParts, Noting]:
    made: list[Noting] = []

    def make(context: SessionContext) -> SessionPart:
        made.append(Noting(context))
        return made[0]

    makers = {"plain": lambda _: SessionPart(), "noting": make}
    found = FeatureParts("session", SessionFeatures(list(makers), makers))
    found.make(bare_context(Outbox()))
    return found, made[0]


def test_each_gets_what_is_for_it() -> None:
    one, noting = parts()
    for part in one:
        part.greet()
    one.handle(Wish(type="wish"))
    one.alerted(Alert(0.0, one.source))
    alert = noting.got.pop()
    assert noting.got == ["greet", "wish"]
    assert isinstance(alert, Alert)
    assert alert.source == AlertSource("session")


def test_a_fixed_cameras_session_is_the_operators() -> None:
    """Whoever has its token chooses nothing, and its alerts go where the operator said."""
    one, noting = parts()
    told: list[Alert] = []
    one.stand(told.append, "hall")
    for part in one:
        part.greet()
    with pytest.raises(Conflict):
        one.handle(Wish(type="wish"))
    one.alerted(Alert(0.0, one.source))
    assert [alert.source for alert in told] == [AlertSource("session", "hall")]
    assert noting.got == []
