"""The parts of a session: their end, which frees everything, and which no failure cuts short."""

from __future__ import annotations

import pytest

from server.core.messages import Chat, Hold, Pong
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import room

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_close_forgets_everything() -> None:
    """History, held frame, camera and work are gone, and closing twice does no harm."""
    engine = FakeEngine()
    async with room(engine) as one:
        one.camera()
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


async def test_a_failure_skips_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts that close after the one that failed are closed, too."""
    async with room() as one:
        one.camera()
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
