"""A session's sound on its way to the recogniser: consent, language, and what the client learns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

import numpy as np
import pytest

from server.core.errors import NotConfirmed, SpeechUnavailable
from server.core.messages import Confirm, Settings
from server.core.sound import Sound
from server.engines.speech.base import Words
from server.session.listening.recognising import Recognising
from server.session.session import Session
from tests.support.fakes import FakeEngine
from tests.support.rooms import Room, room

SOUND = Sound(np.ones(320, np.int16), 0.0)


class FakeRecogniser:
    """Says the same words, and keeps what it was given."""

    name = "fake"

    def __init__(self, elsewhere: str = "") -> None:
        self.ready = True
        self.elsewhere = elsewhere
        self.given: list[tuple[AsyncIterator[Sound] | Sound, str | None]] = []

    async def recognise(
        self, sound: AsyncIterator[Sound] | Sound, *, language: str | None
    ) -> AsyncGenerator[Words, None]:
        self.given.append((sound, language))
        yield Words("what", False)
        yield Words("what is this", True)

    async def close(self) -> None: ...


def with_recogniser(one: Room, recogniser: FakeRecogniser) -> tuple[Session, Recognising]:
    """A session of the same server, with this recogniser."""
    session = Session("r", one.session._limits, replace(one.tools, recogniser=recogniser))
    one.reader = session.outbox.attach()
    return session, Recognising(session._tools, session._parts.requests)


async def test_words_in_the_clients_language() -> None:
    """Empty: the recogniser decides."""
    recogniser = FakeRecogniser()
    async with room() as one:
        session, recognising = with_recogniser(one, recogniser)
        assert recognising.available
        assert [words.text async for words in recognising.words(SOUND)] == ["what", "what is this"]
        session.handle(Settings(type="settings", language="de"))
        assert [words async for words in recognising.words(SOUND)][-1].final
        assert [language for _, language in recogniser.given] == [None, "de"]
        recogniser.ready = False
        assert not recognising.available
        await session.close("session_ended")


async def test_without_a_recogniser() -> None:
    """It says so, and the setting is for operators alone."""
    async with room() as one:
        recognising = Recognising(one.tools, one.session._parts.requests)
        assert not recognising.available
        with pytest.raises(SpeechUnavailable) as raised:
            await anext(recognising.words(SOUND))
        assert "TRANSCRIPTION" not in raised.value.visitor_message
        one.session.greet()
        ready = await one.next("ready")
        assert (ready["recogniser"], ready["sound_elsewhere"]) == (False, "")


async def test_no_sound_to_a_machine_without_consent() -> None:
    """The machine of the session's beginning has it; another one after `confirm` alone."""
    recogniser = FakeRecogniser("speech.example.org")
    async with room(FakeEngine(elsewhere="gpu.example.org")) as one:
        session, recognising = with_recogniser(one, recogniser)
        session.greet()
        ready = await one.next("ready")
        assert (ready["recogniser"], ready["sound_elsewhere"]) == (True, "speech.example.org")
        assert (await anext(recognising.words(SOUND))).text == "what"
        recogniser.elsewhere = "other.example.org"
        with pytest.raises(NotConfirmed, match=r"Sound would go to other\.example\.org"):
            await anext(recognising.words(SOUND))
        session.handle(Confirm(type="confirm", host="third.example.org"))
        assert (await one.next("error"))["code"] == "bad_request"
        assert len(recogniser.given) == 1
        session.handle(Confirm(type="confirm", host="other.example.org"))
        await one.next("ready")
        assert (await anext(recognising.words(SOUND))).text == "what"
        await session.close("session_ended")
