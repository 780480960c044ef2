"""Answers that are spoken while they are written, and what interrupts them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.core import messages as wire
from server.core.aio import TaskSet
from server.core.messages import Confirm
from server.core.metrics import Metrics
from server.core.sound import VoiceChunk
from server.features.voice_out import speaking as spoken_answers
from server.features.voice_out.messages import Say, SpeakingState, SpeakSettings, SpeechProgress
from server.features.voice_out.speaking import (
    AHEAD_SECONDS,
    DUCKED_LOUDNESS,
    FADE,
    CrossFade,
    PieceTiming,
    SpeechMetrics,
    SpeechPart,
    Utterance,
)
from server.models.base import Capabilities
from server.session.request.builder import Consent
from server.session.request.outbox import Outbox
from server.session.request.parts import Preferences, Spoken
from server.shared.sound.line import FRAME, RATE, VoiceLine
from server.shared.speech import SpeechError, SpeechFailed, SpeechTimeout
from tests.features.rooms import room
from tests.support.clients import soon
from tests.support.fakes import FakeEngine
from tests.support.rooms import Room, bare_context


class StandInVoice:
    """Says each character in 50 ms, at once."""

    name = "stand-in"
    elsewhere = ""

    def __init__(self) -> None:
        self.ready = True
        self.texts: list[str] = []
        self.languages: list[str | None] = []
        self.stopped = 0
        # Its act on a text in place of speaking it
        self.fails_at = ""
        self.error: SpeechError = SpeechFailed("The speech server fails.")
        self.waits_at = ""

    async def speak(self, text: str, *, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        self.texts.append(text)
        self.languages.append(language)
        try:
            if text == self.fails_at:
                raise self.error
            samples = np.full(len(text) * RATE // 20, 5000, np.int16)
            for part in np.array_split(samples, 4):
                yield VoiceChunk(part, RATE)
                if text == self.waits_at:
                    await asyncio.Event().wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped += 1
            raise

    async def close(self) -> None: ...


def found_language(text: str) -> str | None:
    return "de" if "Tasse" in text else "en"


def speech(one: Room) -> SpeechPart:
    found: SpeechPart = one.session.part("voice_out")
    return found


class Rig:
    """A session's speaking, with a listener that takes frames on request."""

    def __init__(self) -> None:
        self.line = VoiceLine()
        self.line.connect(self)
        self.voice = StandInVoice()
        self.outbox = Outbox()
        self.metrics = Metrics("0")
        self.tasks = TaskSet("test")
        self.stops: list[tuple[str, str, str]] = []
        requests: Any = SimpleNamespace(
            consent=Consent(lambda: [FakeEngine()]), preferences=Preferences()
        )
        services: Any = SimpleNamespace(prepare_pool=None)
        context = bare_context(
            self.outbox,
            lines=[self.line],
            tasks=self.tasks,
            requests=requests,
            services=services,
            on_interrupted=lambda *stop: self.stops.append(stop),
        )
        self.speaking = SpeechPart(context, SpeechMetrics(self.metrics), self.voice, found_language)
        self.speaking.wanted = True
        self._reader = self.outbox.attach()

    def hear(self, seconds: float) -> NDArray[np.int16]:
        """Take that much sound, as the sender does; less when there is no more."""
        frames = []
        for _ in range(round(seconds * RATE / FRAME)):
            frame = self.line.player.take()
            if frame is None:
                break
            frames.append(frame)
        return np.concatenate(frames) if frames else np.zeros(0, np.int16)

    async def sent(self) -> list[dict[str, Any]]:
        """Return the messages since the last call."""
        found = []
        while not self.outbox.empty:
            found.append(json.loads(await self._reader.get()))
        return found

    def read(self, end: int, id: str = "a1") -> None:
        """The page has read an answer up to there."""
        self.speaking.on_page_progress(SpeechProgress(type="speech_progress", id=id, end=end))

    def answer(
        self, text: str, id: str = "a1", *, whole: bool = True, by_engine: bool = False
    ) -> None:
        self.speaking.begin(id, by_engine=by_engine)
        for char in text:
            self.speaking.write(id, char)
        if whole:
            self.speaking.finish(id)


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    one = Rig()
    yield one
    one.speaking.stop()
    await one.tasks.close()


async def test_each_piece_is_spoken_in_the_answers_language(rig: Rig) -> None:
    """Found from the answer so far: a short piece alone does not say it."""
    rig.answer("Die Tasse ist rot. Ja.")
    await soon(lambda: len(rig.voice.texts) == 2)
    assert rig.voice.languages == ["de", "de"]


async def test_nothing_is_spoken_unless_it_is_wanted(rig: Rig) -> None:
    rig.speaking.wanted = False
    rig.answer("The cup is red.")
    assert not rig.speaking.talking
    await asyncio.sleep(0.02)
    assert rig.voice.texts == []


async def test_speech_may_be_wanted_until_the_first_word(rig: Rig) -> None:
    """Pressed while the model thinks: the answer is spoken. Later it is not, nor is one that has ended."""
    wanted = rig.speaking.handlers[SpeakSettings]
    rig.speaking.wanted = False
    rig.speaking.begin("a1")
    wanted(SpeakSettings(type="settings", speak=True))
    rig.speaking.write("a1", "The cup is red.")
    rig.speaking.finish("a1")
    await soon(lambda: rig.voice.texts == ["The cup is red."])
    for text in ("It is full.", ""):
        rig.speaking.wanted = False
        rig.answer(text, "a2", whole=not text)
        wanted(SpeakSettings(type="settings", speak=True))
        assert not rig.speaking.talking
    rig.speaking.wanted = False
    rig.speaking.begin("a3")
    rig.speaking.drop()
    wanted(SpeakSettings(type="settings", speak=True))
    assert not rig.speaking.talking


async def test_stopping_is_at_once_and_says_what_was_heard(rig: Rig) -> None:
    """The voice is stopped in the middle of a piece, and nothing of it is left to hear."""
    rig.voice.waits_at = "It is full."
    rig.answer("The cup is red. It is full. It is hot.")
    await soon(lambda: len(rig.voice.texts) == 2 and rig.line.player.waiting > 0.75)
    rig.hear(0.76)
    assert rig.speaking.audible
    assert rig.speaking.interrupt() == "The cup is red."
    assert rig.stops == [("a1", "The cup is red.", "voice")]
    assert len(rig.hear(1)) == 0
    assert not rig.speaking.talking
    await soon(lambda: rig.voice.stopped == 1)
    assert (await rig.sent())[-1]["state"] == "stopped"
    assert rig.metrics.render().count(b'speech_stopped_total{reason="voice"} 1.0') == 1
    assert rig.speaking.interrupt("voice") == ""


async def test_a_lowered_answer_goes_on_where_it_was(rig: Rig) -> None:
    """Softer, silent, and as loud as before; no sample is lost."""
    rig.answer("The cup is red.")
    await soon(lambda: rig.line.player.waiting > 0.7)
    loud = rig.hear(0.1)
    rig.speaking.duck()
    soft = rig.hear(0.1)
    rig.speaking.pause()
    assert len(rig.hear(0.1)) == 0
    assert rig.speaking.talking
    rig.speaking.restore()
    again = rig.hear(0.1)
    assert abs(int(loud[-1])) == 5000
    assert abs(int(soft[-1])) == 5000 * DUCKED_LOUDNESS
    assert abs(int(again[-1])) == 5000
    assert rig.line.player.played == pytest.approx(0.3)
    assert [one["state"] for one in await rig.sent()][-1] == "speaking"


async def test_the_next_answer_replaces_the_one_before(rig: Rig) -> None:
    """The rest of the old one is not heard, and the history keeps it."""
    rig.answer("The cup is red.")
    await soon(lambda: rig.line.player.waiting > 0.7)
    rig.answer("No.", "a2")
    await soon(lambda: rig.voice.texts[-1] == "No." and rig.line.player.waiting > 0.1)
    assert rig.line.player.waiting < 0.3
    assert rig.stops == []
    # Words of the old answer are not spoken.
    rig.speaking.write("a1", " It is full. It is hot. ")
    await asyncio.sleep(0.02)
    assert rig.voice.texts[-1] == "No."


async def test_no_more_is_made_than_is_soon_heard(rig: Rig) -> None:
    """Sound made further ahead is lost when somebody interrupts."""
    rig.answer("This is one sentence of the answer, as long as others. " * 20)
    await asyncio.sleep(0.3)
    made = rig.line.player.waiting
    assert AHEAD_SECONDS < made < AHEAD_SECONDS + 5
    rig.hear(4)
    await soon(lambda: rig.line.player.waiting > AHEAD_SECONDS)


async def test_without_a_voice_the_page_reads(rig: Rig) -> None:
    """Piece by piece while the answer is written; it says how far it is."""
    rig.voice.ready = False
    rig.answer("The cup is red. It", whole=False)
    await soon(lambda: not rig.outbox.empty)
    assert await rig.sent() == [
        {"type": "say", "id": "a1", "text": "The cup is red.", "start": 0, "end": 15}
    ]
    rig.speaking.write("a1", " is full.")
    rig.speaking.finish("a1")
    await soon(lambda: not rig.outbox.empty)
    rig.read(15)
    assert rig.speaking.audible
    rig.read(27, "other")
    assert rig.speaking.talking
    rig.read(27)
    assert not rig.speaking.talking
    assert (await rig.sent())[-1]["state"] == "done"
    assert rig.voice.texts == []


async def test_a_voice_that_fails_leaves_the_rest_to_the_page(rig: Rig) -> None:
    """After what was spoken so far was heard; the error is counted, and no visitor sees it."""
    rig.voice.fails_at = "It is full."
    rig.answer("The cup is red. It is full. It is hot.")
    await soon(lambda: len(rig.voice.texts) == 2)
    await asyncio.sleep(0.1)
    assert not any(one["type"] == "say" for one in await rig.sent())
    rig.hear(60)
    await soon(lambda: not rig.outbox.empty)
    await asyncio.sleep(0.1)
    said = [one["text"] for one in await rig.sent() if one["type"] == "say"]
    assert said == ["It is full.", "It is hot."]
    assert b'speech_failures_total{code="speech_failed"} 1.0' in rig.metrics.render()
    rig.read(1000)
    assert not rig.speaking.talking


async def test_a_voice_that_is_slow_twice_leaves_the_conversation_to_the_page(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets a second chance; after that the two voices do not speak in turn, until it is long ago."""
    rig.voice.error = SpeechTimeout("The speech server took too long.")
    rig.voice.fails_at = "It is full."
    for number, text in enumerate(["It is full.", "It is hot.", "It is full.", "It is hot."]):
        rig.answer(text, f"a{number}")
        await soon(lambda: rig.line.player.waiting > 0 or not rig.outbox.empty)
        by_page = any(one["type"] == "say" for one in await rig.sent())
        assert by_page == (number != 1)
        rig.speaking.drop()
        await rig.sent()
    assert rig.voice.texts == ["It is full.", "It is hot.", "It is full."]
    monkeypatch.setattr(spoken_answers, "LATE_SECONDS", 0.0)
    rig.answer("It is hot.", "a4")
    await soon(lambda: rig.voice.texts[3:] == ["It is hot."])


async def test_an_answer_without_words_ends(rig: Rig) -> None:
    for ready in (True, False):
        rig.voice.ready = ready
        rig.answer("🙂")
        await soon(lambda: not rig.speaking.talking)


async def test_pieces_meet_without_a_click(rig: Rig) -> None:
    """Each begins and ends in silence."""
    rig.answer("The cup is red. It is full.")
    await soon(lambda: rig.line.player.waiting > 1.25)
    sound = rig.hear(1.3).astype(np.int32)
    assert np.abs(np.diff(sound)).max() < 200
    assert np.abs(sound).max() == 5000
    assert abs(int(sound[0])) < 200
    assert np.abs(sound[len(sound) // 4 : -len(sound) // 4]).min() < 200


def asking(content: str, id: str) -> wire.Chat:
    return wire.Chat(type="chat", content=content, id=id)


# An engine that speaks itself

VOICED = VoiceChunk(np.full(RATE // 2, 5000, np.int16), RATE)
SPEAKS = Capabilities(speech_out=True)


async def test_an_engine_that_speaks_is_played(rig: Rig) -> None:
    """Its own sound, and no voice is asked; the page learns which piece is heard, about."""
    rig.answer("The cup is red. It is full.", whole=False, by_engine=True)
    rig.speaking.play("a1", VOICED)
    rig.speaking.play("a0", VOICED)
    await asyncio.sleep(0.02)
    assert len(rig.hear(9)) == RATE // 2
    await soon(lambda: not rig.outbox.empty)
    (first,) = await rig.sent()
    assert (first["state"], first["text"]) == ("speaking", "The cup is red.")
    rig.speaking.play("a1", VOICED)
    rig.speaking.finish("a1")
    assert rig.speaking.talking
    rig.hear(9)
    await soon(lambda: not rig.speaking.talking)
    assert (await rig.sent())[-1]["state"] == "done"
    assert rig.voice.texts == []


async def test_an_engine_that_does_not_speak_leaves_it_to_the_voice(rig: Rig) -> None:
    """It was asked to; no sound came with its text."""
    rig.answer("The cup is red.", whole=False, by_engine=True)
    await asyncio.sleep(0.02)
    assert rig.voice.texts == []
    rig.speaking.finish("a1")
    await soon(lambda: rig.voice.texts == ["The cup is red."])
    rig.speaking.drop()
    await rig.sent()
    rig.voice.ready = False
    rig.answer("It is full.", "a2", by_engine=True)
    await soon(lambda: not rig.outbox.empty)
    says = [one["text"] for one in await rig.sent() if one["type"] == "say"]
    assert says == ["It is full."]


async def test_the_sound_of_an_engine_is_bounded(rig: Rig) -> None:
    """Sound that does not fit into the player is dropped and counted."""
    rig.answer("The cup is red.", whole=False, by_engine=True)
    for _ in range(20):
        rig.speaking.play("a1", VoiceChunk(np.zeros(RATE * 10, np.int16), RATE))
    assert rig.line.player.waiting == 60.0
    rig.speaking.drop()
    assert b"speech_dropped_seconds_total 140.0" in rig.metrics.render()


def wishing(one: Room, speak: bool = True) -> None:
    """A page with a camera that wants answers spoken, or not."""
    one.camera()
    one.session.handle(SpeakSettings(type="settings", speak=speak))


def playing(one: Room) -> None:
    """One that wants them, with a connection for their sound."""
    VoiceLine.of(one.session.lines).connect(one)
    wishing(one)


def read(one: Room) -> None:
    """The page has read the first sentence of the answer."""
    one.session.handle(SpeechProgress(type="speech_progress", id="a", end=15))


def ask(one: Room, text: str = "What is it?", id: str = "a") -> None:
    one.session.handle(asking(text, id))
    one.frame()


async def test_speech_over_a_model_that_speaks_stops_it() -> None:
    """The answer behind it is stopped, too, while its sound still comes."""
    engine = FakeEngine(chunks=["The cup is red. "], voiced=[VOICED] * 3, capabilities=SPEAKS)
    engine.hold(3)
    async with room(engine) as one:
        playing(one)
        ask(one)
        await soon(lambda: VoiceLine.of(one.session.lines).player.waiting == 1.0)
        speech(one).interrupt("voice")
        assert (await one.next("response"))["finish_reason"] == "cancelled"
        assert VoiceLine.of(one.session.lines).player.waiting == 0
        await soon(lambda: engine.aborted == 1)


@pytest.mark.parametrize(
    ("speak", "connected", "capabilities", "text"),
    [
        (False, True, SPEAKS, "What is it?"),
        (True, False, SPEAKS, "What is it?"),
        (True, True, Capabilities(), "What is it?"),
        # Its text has boxes, which nobody wants to hear.
        (True, True, Capabilities(speech_out=True, grounding=True), "Where is the cup?"),
    ],
)
async def test_who_is_not_asked_to_speak(
    speak: bool, connected: bool, capabilities: Capabilities, text: str
) -> None:
    """Without the wish, the connection or the ability; and where the text is not what is shown."""
    engine = FakeEngine(capabilities=capabilities)
    async with room(engine) as one:
        if connected:
            VoiceLine.of(one.session.lines).connect(one)
        wishing(one, speak)
        ask(one, text)
        response = await one.next("response")
        assert not engine.requests[-1].speak
        assert "speech" not in response


@pytest.mark.parametrize("whole", [True, False], ids=["after its text", "within its text"])
async def test_the_history_keeps_what_was_heard(whole: bool) -> None:
    """A tap stops the speech and the answer behind it; the model reads of it what was heard, and no more."""
    engine = FakeEngine(chunks=["The cup is red. ", "It is full. ", "It is hot."])
    async with room(engine) as one:
        wishing(one)
        if not whole:
            engine.hold(2)
        ask(one)
        assert (await one.next("say"))["text"] == "The cup is red."
        if whole:
            await one.next("response")
        read(one)
        assert speech(one).audible
        one.session.handle(wire.Cancel(type="cancel", id="a"))
        assert not speech(one).talking
        if not whole:
            assert (await one.next("response"))["finish_reason"] == "cancelled"
        engine.release()
        ask(one, "And now?", "b")
        await one.next("response")
        assert [turn.answer for turn in engine.requests[-1].turns] == ["The cup is red."]


async def test_typing_stops_what_is_heard() -> None:
    """With the answer behind it, as a tap does; before anything was heard it stops nothing."""
    engine = FakeEngine(chunks=["The cup is red. ", "It is full. ", "It is hot."])
    async with room(engine) as one:
        wishing(one)
        engine.hold(2)
        ask(one)
        assert (await one.next("say"))["text"] == "The cup is red."
        one.session.handle(wire.Typing(type="typing"))
        assert speech(one).talking
        read(one)
        one.session.handle(wire.Typing(type="typing"))
        assert not speech(one).talking
        assert (await one.next("response"))["finish_reason"] == "cancelled"
        engine.release()
        turns = one.session.history.turns(1000)
        assert [turn.answer for turn in turns] == ["The cup is red."]


@pytest.mark.parametrize("whole", [True, False], ids=["after its text", "within its text"])
async def test_wrong_words_whose_answer_is_heard_leave_the_history(whole: bool) -> None:
    """Corrected while their answer is spoken: neither they nor what was heard of it comes back."""
    engine = FakeEngine(chunks=["The cow is red. ", "It is full. ", "It is hot."])
    async with room(engine) as one:
        wishing(one)
        if not whole:
            engine.hold(2)
        one.session.questions.ask(asking("What cow is it?", "a"), Spoken(frame=one.frame()))
        assert (await one.next("say"))["text"] == "The cow is red."
        if whole:
            await one.next("response")
        read(one)
        engine.release()
        one.session.handle(
            wire.CorrectTranscript(type="correct_transcript", id="a", text="What colour is it?")
        )
        while (await one.next("response"))["finish_reason"] != "stop":
            pass
        assert engine.requests[-1].question == "What colour is it?"
        assert engine.requests[-1].turns == ()
        turns = one.session.history.turns(1000)
        assert [turn.question for turn in turns] == ["What colour is it?"]


async def test_a_listener_who_is_gone_keeps_no_voice_busy(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The voice speaks for others after a moment; the rest of the piece waits for the listener."""
    monkeypatch.setattr(spoken_answers, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(spoken_answers, "AHEAD_SECONDS", 0.5)
    rig.answer("long " * 40)
    # Four seconds: all of the first piece
    await soon(lambda: rig.line.player.waiting > 3.5)
    assert len(rig.voice.texts) == 1
    rig.hear(60)
    await soon(lambda: len(rig.voice.texts) > 1)


async def test_an_answer_is_given_up_when_its_listener_is_gone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera was switched off within it: the page hears that it has ended, and a new one begins."""
    monkeypatch.setattr(spoken_answers, "LISTENER_GONE_SECONDS", 20)
    rig.answer("The cup is red. It is full.")
    await soon(lambda: rig.line.player.ready)
    rig.line.disconnect(rig)
    await asyncio.sleep(0.1)
    rig.line.connect(rig)
    monkeypatch.setattr(spoken_answers, "LISTENER_GONE_SECONDS", 0.2)
    await asyncio.sleep(0.3)
    assert rig.speaking.talking
    rig.line.disconnect(rig)
    await soon(lambda: not rig.speaking.talking)
    assert (await rig.sent())[-1]["state"] == "stopped"
    assert rig.stops == []


async def test_another_machine_gets_no_words_without_consent() -> None:
    """A page sends `speak` with each socket: that is no consent, and the page reads meanwhile."""
    voice = StandInVoice()
    speak = SpeakSettings(type="settings", speak=True)
    async with room(voice=voice) as made:
        one, speaking = made.session, speech(made)

        def say(id: str, text: str) -> None:
            one.handle(speak)
            speaking.begin(id)
            speaking.write(id, text)
            speaking.finish(id)

        VoiceLine.of(one.lines).connect(made)
        for host in ("one.example.org", "two.example.org"):
            voice.elsewhere = host
            voice.texts.clear()
            say(f"before {host}", "It is red.")
            assert (await made.next("say"))["text"] == "It is red."
            assert voice.texts == []
            one.handle(Confirm(type="confirm", host=host, feature="voice_out"))
            say(f"after {host}", "It is green.")
            await soon(lambda: voice.texts == ["It is green."])


# The part of a spoken answer that was heard, and the piece that is heard now


ANSWER = "The cup is red. It stands on the table. It is full."


def written(*, by_page: bool = False) -> Utterance:
    utterance = Utterance("a", by_page=by_page)
    for char in ANSWER:
        utterance.write(char)
    utterance.finish()
    return utterance


def spoken(utterance: Utterance, *seconds: float) -> None:
    """Speak the first pieces, each for so many seconds."""
    at = 0.0
    for piece, lasts in zip(list(utterance.waiting), seconds, strict=False):
        utterance.marks.append(PieceTiming(piece, at, at + lasts))
        at += lasts


def test_what_was_heard_ends_within_its_piece() -> None:
    """Nothing was heard before the first sound."""
    utterance = written()
    assert utterance.get_text_heard(5.0) == ""
    spoken(utterance, 1.0, 2.0, 1.0)
    heard = [utterance.get_text_heard(seconds) for seconds in (0.0, 1.0, 2.0, 9.0)]
    assert heard == ["", "The cup is red.", "The cup is red. It stands", ANSWER]
    assert utterance.find_piece(-1.0) is None
    piece = utterance.find_piece(1.5)
    assert piece is not None
    assert piece.text == "It stands on the table."


# Borders between the chunks of a voice: no step where there was one, and no change where there
# was none


def tone(frequency: float, count: int, phase: float = 0.0, loud: float = 9000) -> NDArray[np.int16]:
    return np.rint(loud * np.sin(2 * np.pi * frequency * np.arange(count) / RATE + phase)).astype(
        np.int16
    )


def joined(chunks: list[NDArray[np.int16]]) -> NDArray[np.int16]:
    fade = CrossFade()
    return np.concatenate([*(fade.add(chunk) for chunk in chunks), fade.end()])


def steepest(samples: NDArray[np.int16]) -> int:
    """Return the largest step from one sample to the next: a click is one."""
    return int(np.abs(np.diff(samples.astype(np.int32))).max())


@given(
    st.lists(
        st.tuples(st.floats(80, 500), st.integers(200, 2000), st.floats(0, 6.3)),
        min_size=2,
        max_size=6,
    )
)
def test_no_border_has_a_step(parts: list[tuple[float, int, float]]) -> None:
    """Chunks that have nothing to do with each other follow each other without a click."""
    chunks = [tone(*part) for part in parts]
    result = joined(chunks)
    assert len(result) == sum(len(chunk) for chunk in chunks)
    # To bend the largest step that there may be, over 4 ms, takes 300 a sample.
    assert steepest(result) <= max(steepest(chunk) for chunk in chunks) + 320


@pytest.mark.parametrize("frequency", [100, 440, 3000, 7000])
def test_sound_that_goes_on_is_left_alone(frequency: float) -> None:
    """A network cuts anywhere: such chunks come out bit for bit, but for the beginning and the end."""
    whole = tone(frequency, 6000)
    result = joined(np.split(whole, [1, 3, 480, 481, 2000, 5990]))
    assert np.array_equal(result[FADE:-FADE], whole[FADE:-FADE])


def test_loud_borders_do_not_wrap_around() -> None:
    """Bent samples stay within 16 bits."""
    result = joined([np.full(500, 32_767, np.int16), np.full(500, -32_768, np.int16)])
    assert np.all(np.abs(np.diff(result.astype(np.int32))) < 3000)


async def test_nothing_of_a_stopped_answer_is_read() -> None:
    """Its end takes the place of an older state, before pieces that wait; other answers keep theirs."""
    outbox = Outbox()
    for message in (
        SpeakingState(id="a", state="paused"),
        Say(id="a", text="It is full.", start=0, end=11),
        Say(id="b", text="No.", start=0, end=3),
        SpeakingState(id="a", state="stopped"),
    ):
        outbox.put(message)
    reader = outbox.attach()
    found = [json.loads(await reader.get()) for _ in range(2)]
    assert [(one["type"], one["id"]) for one in found] == [("speaking", "a"), ("say", "b")]
    assert outbox.size == 0
