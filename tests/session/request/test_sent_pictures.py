"""The pictures that engines got, for people who want to see them: bounds, and when they go."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from server.core.frames import Picture
from server.core.messages import ClearRecall, DeleteAnswer
from server.session.request import sent_pictures
from server.session.request.sent_pictures import SentPictures
from tests.support.fakes import FakeEngine, make_picture
from tests.support.rooms import Room, live_room


def picture(size: int, *, pixels: bool = False) -> Picture:
    if pixels:
        return replace(make_picture(), jpeg=None, bgr=np.zeros((1, size // 3, 3), np.uint8))
    return make_picture(jpeg=bytes(size))


def test_number_and_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer pictures take the room of older ones; pixels count as in memory; all of it counts."""
    counts: Counter[str] = Counter()
    monkeypatch.setattr(sent_pictures, "MOST_PICTURES", 3)
    monkeypatch.setattr(sent_pictures, "MOST_BYTES", 100)
    sent = SentPictures(lambda what, number: counts.update({what: number}))
    ids = [sent.keep("q", picture(30)) or "" for _ in range(4)]
    assert len({*ids}) == 4
    assert [sent.get(id) is None for id in ids] == [True, False, False, False]
    assert sent.keep("q", picture(101)) is None
    assert sent.keep("r", picture(90, pixels=True))
    assert (len(sent), sent.size) == (1, 90)
    sent.drop("q")
    assert len(sent) == 1
    sent.drop("r")
    assert (len(sent), sent.size) == (0, 0)
    assert counts == {"kept": 5, "full": 4, "large": 1, "dropped": 1}


async def asked(one: Room, id: str) -> str:
    """Ask, and return the id of the picture that the answer names."""
    name: str = (await one.answered("What is this?", id=id))["frame"]["picture"]
    return name


@pytest.mark.parametrize("how", ["drop one", "drop all", "forget", "session ends"])
async def test_what_an_engine_got_is_kept_until_somebody_drops_it(how: str) -> None:
    """The very bytes, by the id in the answer; they go with the answer, on request, and with
    the session. A dropped answer leaves the history, and no other does.
    """
    engine = FakeEngine()
    async with live_room(engine) as one:
        session = one.session
        first, second = await asked(one, "q1"), await asked(one, "q2")
        for name, request in zip((first, second), engine.requests, strict=True):
            sent = session.sent_pictures.get(name)
            assert sent is not None
            assert sent.jpeg is not None
            assert sent.jpeg == request.picture.jpeg
        if how == "drop one":
            session.handle(DeleteAnswer(type="delete_answer", id="q1"))
        elif how == "drop all":
            session.handle(DeleteAnswer(type="delete_answer"))
        elif how == "forget":
            session.handle(ClearRecall(type="clear_recall"))
        else:
            await session.close("session_ended")
        gone = [session.sent_pictures.get(name) is None for name in (first, second)]
        assert gone == [True, how != "drop one"]
        left = {"drop one": 1, "drop all": 0, "forget": 2, "session ends": 0}[how]
        assert len(session.history) == left
        assert (session.sent_pictures.size > 0) == (how == "drop one")
        if how == "drop one":
            await asked(one, "q3")
            assert len(engine.requests[-1].turns) == 1
