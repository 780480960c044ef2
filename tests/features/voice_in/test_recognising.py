"""A session's sound on its way to the recogniser: consent, language, and what the client learns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np
import pytest

from server.core.errors import NotConfirmed
from server.core.messages import Confirm, Settings
from server.core.sound import Sound
from server.features.voice_in.listening import ListeningTools
from server.features.voice_in.server_recogniser import Words
from server.features.voice_in.spoken_questions import Recognising
from server.shared.speech.errors import SpeechUnavailable
from tests.support.fakes import FakeEngine
from tests.support.rooms import room

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


async def test_words_in_the_clients_language() -> None:
    """Empty: the recogniser decides."""
    recogniser = FakeRecogniser()
    async with room() as one:
        session = one.session
        recognising = Recognising(recogniser, session._parts.requests)
        assert recognising.available
        assert [words.text async for words in recognising.words(SOUND)] == ["what", "what is this"]
        session.handle(Settings(type="settings", language="de"))
        assert [words async for words in recognising.words(SOUND)][-1].final
        assert [language for _, language in recogniser.given] == [None, "de"]
        recogniser.ready = False
        assert not recognising.available


async def test_without_a_recogniser() -> None:
    """It says so, and the setting is for operators alone."""
    async with room() as one:
        recognising = Recognising(None, one.session._parts.requests)
        assert not recognising.available
        with pytest.raises(SpeechUnavailable) as raised:
            await anext(recognising.words(SOUND))
        assert "TRANSCRIPTION" not in raised.value.visitor_message
        one.session.greet()
        listens = (await one.next("ready"))["features"]["voice_in"]
        assert listens == {"microphone": False, "recogniser": False, "elsewhere": ""}


async def test_no_sound_to_a_machine_without_consent() -> None:
    """The machine of the session's beginning has it; another one after `confirm` alone."""
    recogniser = FakeRecogniser("speech.example.org")
    tools = ListeningTools(recogniser)
    async with room(FakeEngine(elsewhere="gpu.example.org"), hearing=tools) as one:
        session = one.session
        recognising = Recognising(recogniser, session._parts.requests)
        session.greet()
        listens = (await one.next("ready"))["features"]["voice_in"]
        assert (listens["recogniser"], listens["elsewhere"]) == (True, "speech.example.org")
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
