"""The features' parts of a session: messages, greetings and alerts find them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal

import pytest

from server.core.errors import Conflict
from server.core.messages import Chat, ClientMessage, Hold, Pong
from server.media.picture.grounding import Box
from server.session.part import (
    Alert,
    AlertSource,
    FeatureParts,
    Operators,
    SessionContext,
    SessionFeatures,
    SessionPart,
)
from server.session.request.outbox import Outbox
from server.shared.attention.attention import Change, Why, make_scene_change
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import bare_context, live_room


class Wish(ClientMessage):
    type: Literal["wish"]


class Noting(SessionPart):
    """Notes what it gets."""

    def __init__(self, context: SessionContext) -> None:
        self.handlers = {Wish: lambda message: self.got.append(message.type)}
        self.got: list[object] = []

    def greet(self) -> None:
        self.got.append("greet")

    def on_alert(self, alert: Alert) -> None:
        self.got.append(alert)


def parts() -> tuple[FeatureParts, Noting]:
    made: list[Noting] = []

    def make(context: SessionContext) -> SessionPart:
        made.append(Noting(context))
        return made[0]

    makers = {"plain": lambda _: SessionPart(), "noting": make}
    camera: Any = SimpleNamespace(on_stream=[])
    features = SessionFeatures(list(makers), makers)
    found = FeatureParts("session", features, camera, 1.0)
    found.make(bare_context(Outbox()))
    return found, made[0]


def test_each_gets_what_is_for_it() -> None:
    one, noting = parts()
    for part in one:
        part.greet()
    one.handle(Wish(type="wish"))
    one.publish_alert(Alert(0.0, one.source))
    alert = noting.got.pop()
    assert noting.got == ["greet", "wish"]
    assert isinstance(alert, Alert)
    assert alert.source == AlertSource("session")


def test_a_fixed_cameras_session_is_the_operators() -> None:
    """Whoever has its token chooses nothing, and its alerts go where the operator said."""
    one, noting = parts()
    told: list[Alert] = []
    one.become_fixed(told.append, "hall")
    for part in one:
        part.greet()
    with pytest.raises(Conflict):
        one.handle(Wish(type="wish"))
    one.publish_alert(Alert(0.0, one.source))
    assert [alert.source for alert in told] == [AlertSource("session", "hall")]
    assert noting.got == []


# Operators' sockets get what features send to operators, and no other socket does.


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


# The parts of a session: their end, which frees everything, and which no failure cuts short.


@pytest.mark.asyncio(loop_scope="module")
async def test_close_forgets_everything() -> None:
    """History, held frame, camera and work are gone, and closing twice does no harm."""
    engine = FakeEngine()
    async with live_room(engine) as one:
        one.session.handle(Hold(type="hold"))
        one.frame()
        await until(lambda: one.session.questions.held_frame is not None)
        one.session.handle(Chat(type="chat", content="a?"))
        await one.next("response")
        engine.hold()
        one.session.handle(Chat(type="chat", content="b?"))
        await until(lambda: engine.open == 1)
        await one.session.close("session_ended")
        await one.session.close("session_ended")
        await until(lambda: engine.open == 0)
        assert engine.aborted == 1
        assert len(one.session.history) == 0
        assert one.session.questions.held_frame is None
        assert one.session.camera.newest is None
        assert len(one.session.tasks) == 0
        # Nothing more is kept for a socket.
        left = one.session.outbox.size
        one.session.outbox.put(Pong(at=0.0))
        assert one.session.outbox.size == left


@pytest.mark.asyncio(loop_scope="module")
async def test_a_failure_skips_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts that close after the one that failed are closed, too."""
    async with live_room() as one:
        parts = one.session
        parts.history.add("a?", "b.")
        with monkeypatch.context() as broken:
            broken.setattr(parts.features, "stop", lambda: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await one.session.close("session_ended")
        assert len(parts.history) == 0
        left = parts.outbox.size
        parts.outbox.put(Pong(at=0.0))
        assert parts.outbox.size == left


# The message about one comparison of the scene.


def test_a_change_as_the_client_gets_it() -> None:
    """Rounded, with the sides of what changed; without a place where nothing changed."""
    region = Box(0.12345, 0.25, 0.5, 1.0)
    found = make_scene_change(Change(Why.OBJECT, 1.2345, region, 0.01234), "watches", asks=True)
    assert found.model_dump(exclude_none=True) == {
        "type": "change",
        "about": "watches",
        "value": 1.23,
        "why": "object",
        "region": [0.123, 0.25, 0.5, 1.0],
        "busy": 0.012,
        "asks": True,
    }
    calm = make_scene_change(Change(Why.SAME, 0.2, None, 0.0), "description", asks=False)
    assert (calm.about, calm.region, calm.asks) == ("description", None, False)
