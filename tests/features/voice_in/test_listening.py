"""A microphone's sound becomes questions: turns, words, frames; and speech over an answer stops it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import pytest_asyncio

from server.core.aio import Pools
from server.core.frames import Frame
from server.core.messages import Cancel
from server.core.sound import Sound
from server.features.voice_in import listening as turn_checks
from server.features.voice_in.detector import CHUNK_SECONDS, Chunk, SpeechModel
from server.features.voice_in.listening import ListeningTools, MicrophonePart
from server.features.voice_in.messages import MicrophoneMode, PushToTalk
from server.features.voice_in.recogniser import Transcription, WordTime
from server.features.voice_in.turn_model import TurnJudge, TurnModel
from server.models.base import Capabilities
from server.session.part import MakePart, SpeechOutput
from server.session.session import Session
from server.shared.sound.line import VoiceLine
from server.shared.speech import SpeechFailed
from tests.features.rooms import settings, with_features
from tests.support import onnx_model
from tests.support.fakes import FakeEngine, FakeEngines, until
from tests.support.fakes_words import FakeWords
from tests.support.rooms import LIMITS, Room, make_frame, make_services
from tests.support.sounds import (
    HALVES,
    SENTENCES,
    Samples,
    louder,
    make_hiss,
    make_silence,
    mix,
    needs_espeak,
    pieces,
    set_level,
    synthesise_espeak,
    television,
)
from tests.support.turn_checks import HeldTurnModel, checks_of

pytestmark = needs_espeak


@pytest.fixture(autouse=True)
def _time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, too, a check is slow only where a test wants it to be."""
    monkeypatch.setattr(turn_checks, "ANSWER_SECONDS", 30.0)


class FakeTalker(SpeechOutput):
    """The speech of an answer, and what was done to it."""

    talking = False

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def duck(self) -> None:
        self.done.append("lower")

    def pause(self) -> None:
        self.done.append("hush")

    def restore(self) -> None:
        self.done.append("restore")

    def interrupt(self, reason: str = "voice") -> str:
        self.done.append("stop")
        self.talking = False
        return ""


class Ear:
    """A session whose microphone hears what the test says; time passes as fast as it is heard."""

    def __init__(self, one: Room, words: FakeWords, talker: FakeTalker) -> None:
        self.one, self.words, self.talker = one, words, talker
        self.session = one.session
        self.line = VoiceLine.of(one.session.lines)
        self._numbers = itertools.count(1)
        self._connection = object()
        self.line.connect(self._connection)
        self.sends(True)
        self._end = 0.0
        one.camera()

    @property
    def listening(self) -> MicrophonePart:
        found: MicrophonePart = self.session.part("voice_in")
        return found

    def switch(self, mode: str = "hands_free", silence_ms: int = 200) -> None:
        self.session.handle(settings(microphone=MicrophoneMode(mode), silence_ms=silence_ms))

    def sends(self, sends: bool) -> None:
        """Begin or end the microphone's packets."""
        self.line.set_sending(self._connection, sends)

    def press(self, down: bool = True) -> None:
        self.session.handle(PushToTalk(type="push_to_talk", down=down))

    async def hear(self, samples: Samples, at: float | None = None) -> float:
        """Let the microphone hear a sound that ends now; return when it began."""
        began = (self._end or time.monotonic() - len(samples) / 16_000) if at is None else at
        self._end = began + len(samples) / 16_000
        for number, piece in enumerate(pieces(samples, began)):
            self.line.sound(self._connection, piece)
            if number % 5 == 4:
                await self.settle()
        await self.settle()
        return began

    async def settle(self) -> None:
        """Wait until what was heard is known, and the model for the end of turns has answered."""
        detection, checks = self.listening.detection, self.listening.checks
        await until(lambda: detection is None or not detection.busy)
        await until(lambda: checks is None or not checks.busy)

    def show(self, captured: float | None = None) -> Frame:
        number = next(self._numbers)
        captured = max(time.monotonic(), self._end) if captured is None else captured
        frame = make_frame(number, scene=number, captured=captured)
        feed = self.session.camera.feed
        assert feed is not None
        feed.packet_received(frame.arrived)
        feed.frame(frame)
        return frame

    async def answered(self) -> None:
        """Show a frame, and hear the answer."""
        self.show()
        assert (await self.one.next("response"))["text"] == "A cup."

    async def messages(self, *types: str) -> list[dict[str, Any]]:
        return [one for one in await self.one.rest() if one["type"] in types]


@asynccontextmanager
async def ear(
    words: FakeWords | None = None,
    engine: FakeEngine | None = None,
    *,
    mode: str | None = "hands_free",
    silence_ms: int = 200,
    talking: bool = False,
    model: bool = True,
    end: TurnModel | HeldTurnModel | None = None,
    **parts: MakePart,
) -> AsyncIterator[Ear]:
    """With the microphone on in this mode. `talking`: an answer is spoken; `end`: the model for the end of turns."""
    engine = engine or FakeEngine(chunks=["A cup."])
    pools = Pools()
    engines = FakeEngines(engine)
    services = make_services(engines, pools)
    judge = TurnJudge(cast(TurnModel, end), pools.add("judge"), services.metrics) if end else None
    words, talker = words or FakeWords("What is this?"), FakeTalker()
    shared = ListeningTools(words, SpeechModel() if model else None, pools.add("hear"), judge)
    features = with_features(
        voice_in=lambda context: MicrophonePart(context, shared, talker), **parts
    )
    session = Session("s", LIMITS, services, features)
    try:
        one = Ear(Room(engine, session, services, engines), words, talker)
        if mode is not None:
            one.switch(mode, silence_ms)
        talker.talking = talking
        yield one
    finally:
        await session.close("session_ended")
        await services.inference.close()
        pools.close()


@pytest_asyncio.fixture
async def one() -> AsyncIterator[Ear]:
    async with ear() as made:
        yield made


def said(text: str = SENTENCES[0], *, before: float = 1.0, after: float = 0.4) -> Samples:
    sound = np.concatenate([make_silence(before), synthesise_espeak(text), make_silence(after)])
    return mix(sound, make_hiss(len(sound) / 16_000))


async def test_a_spoken_question_is_answered(one: Ear) -> None:
    """Words as they come, then the question with the id of the words, and its answer."""
    asyncio.get_running_loop().call_soon(one.show)
    began = await one.hear(said())
    one.show()
    answer = await one.one.next("response", "error")
    assert answer["type"] == "response"
    assert answer["text"] == "A cup."
    assert one.one.engine.requests[-1].question == "What is this?"
    # The recogniser got all of it, and some sound before it.
    length = len(synthesise_espeak(SENTENCES[0])) / 16_000
    heard = len(one.words.heard[0]) / 16_000
    assert length + 0.4 <= heard <= length + 0.9
    assert began < time.monotonic()


async def test_the_frame_is_that_after_the_last_word() -> None:
    """One captured while somebody spoke, one at the end, one long after: the middle one."""
    async with ear(silence_ms=500) as one:
        sound = said(after=0.25)
        end = time.monotonic()
        one.show(end - 1.5)
        await one.hear(sound, end - len(sound) / 16_000)
        right = one.show(end - 0.2)
        await asyncio.sleep(0)
        await one.hear(make_hiss(0.6), end)
        one.show(end + 0.5)
        response = await one.one.next("response")
        assert response["frame"]["id"] == right.id
        assert "word" not in response["frame"]


async def test_this_means_what_was_shown_when_it_was_said() -> None:
    """The recogniser gives times: the frame nearest to the word, and the answer says so."""
    async with ear(FakeWords("What is this thing, please?")) as one:
        one.words.times = (
            *(WordTime("What", 0.3, 0.5), WordTime("is", 0.5, 0.6), WordTime("this", 0.6, 0.8)),
            *(WordTime("thing,", 0.8, 1.1), WordTime("please?", 1.1, 1.6)),
        )
        sound = said("What is this thing, please?", before=0.5)
        began = time.monotonic() - len(sound) / 16_000
        frames = {}
        for number, part in enumerate(np.array_split(sound, 12)):
            at = began + number * len(sound) / 12 / 16_000
            frames[at] = one.show(at)
            await one.hear(part, at)
        one.show()
        response = await one.one.next("response")
        # The turn's sound begins 300 ms before its first word.
        word_at = began + 0.5 - 0.3 + 0.7
        nearest = min(frames, key=lambda at: abs(at - word_at))
        shown = next(frame for frame in frames.values() if frame.id == response["frame"]["id"])
        assert abs(shown.captured - frames[nearest].captured) < 0.3
        assert response["frame"]["word"] == "this"


def hesitating(pause: float) -> Samples:
    """A sentence with a pause in its middle, and silence behind it."""
    first, second = (synthesise_espeak(half) for half in HALVES[0])
    parts = [make_silence(1), first, make_silence(pause), second, make_silence(0.75)]
    sound = np.concatenate(parts)
    return mix(sound, make_hiss(len(sound) / 16_000))


def answering(folder: Path, likelihood: float) -> TurnModel:
    """A model that calls each turn complete with the same likelihood."""
    return TurnModel(*onnx_model.written(folder, onnx_model.turn_model(likelihood)))


@pytest.mark.parametrize(("likelihood", "turns"), [(None, 2), (0.1, 1), (0.9, 2)])
async def test_a_model_hears_that_a_sentence_is_not_complete(
    tmp_path: Path, likelihood: float | None, turns: int
) -> None:
    """A pause of 1.2 s with 500 ms of silence: two turns without a model, and with one that calls the
    first half complete; one turn where it does not, and that has all of the sentence.
    """
    end = answering(tmp_path, likelihood) if likelihood is not None else None
    async with ear(end=end, silence_ms=500) as one:
        await one.hear(hesitating(1.2))
        await one.hear(make_hiss(2.0))
        one.show()
        await one.one.next("response")
        await until(lambda: len(one.words.heard) + one.words.given_up == turns)
        await until(lambda: len(one.one.engine.requests) == 1)
        if turns == 1:
            first, second = (len(synthesise_espeak(half)) / 16_000 for half in HALVES[0])
            assert len(one.words.heard[0]) / 16_000 > first + 1.2 + second
        found = checks_of(one.one.services.metrics)
        assert found == {None: {}, 0.1: {"incomplete": 6}, 0.9: {"complete": 2}}[likelihood]


async def test_noise_asks_nothing(one: Ear) -> None:
    """A short sound that begins like speech is dropped with its words; the engine is not asked."""
    await one.hear(
        np.concatenate([make_silence(1), synthesise_espeak("Oh")[:2200], make_silence(1)])
    )
    await one.hear(make_hiss(3, -35))
    assert one.one.engine.requests == []
    assert one.words.heard == []
    assert not [m for m in await one.messages("transcript") if m["text"]]


async def test_nothing_understood_asks_nothing() -> None:
    """The words end empty, and the client learns that."""
    async with ear(FakeWords("")) as one:
        one.words.early = False
        await one.hear(said())
        message = await one.one.next("transcript")
        assert (message["text"], message["final"]) == ("", True)
        assert one.one.engine.requests == []


def short() -> Samples:
    """Return a third of a second of speech: just a turn."""
    return np.concatenate([make_silence(1), synthesise_espeak("Oh"), make_silence(1)])


@pytest.mark.parametrize(
    "words", ["Thanks for watching!", " thank you. Thank you.", "ご視聴ありがとうございました。"]
)
async def test_what_recognisers_invent_after_little_speech_is_no_question(words: str) -> None:
    """Its words are taken back, and the client learns that nothing was understood."""
    async with ear(FakeWords(words)) as one:
        await one.hear(short())
        one.show()
        heard = await one.one.until(lambda m: m["type"] == "transcript" and "lost" in m)
        assert (heard["text"], heard["lost"]) == ("", "unclear")
        assert one.one.engine.requests == []


async def test_a_hasty_recogniser_loses_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its words at the pause, and the person goes on: they are asked at the end, once."""
    paused = asyncio.Event()

    async def words(
        sound: AsyncIterator[Sound], *, language: str | None
    ) -> AsyncGenerator[Transcription, None]:
        await paused.wait()
        yield Transcription("What is this?", final=True)

    async with ear(silence_ms=500) as one:
        monkeypatch.setattr(one.words, "recognise", words)
        await one.hear(said(after=0.3))
        turn = one.listening.spoken.turn
        assert turn is not None
        assert turn.after is not None
        paused.set()
        await asyncio.sleep(0.05)
        await one.hear(said(SENTENCES[1], before=0.0, after=0.7))
        await one.answered()
        assert one.one.engine.questions() == ["What is this?"]


async def test_a_failed_recogniser_is_reported(one: Ear) -> None:
    """The words end empty, the error has their id, and the next question works."""
    one.words.error = SpeechFailed("The recogniser's disk is full at 10.0.0.7.")
    await one.hear(said())
    last = await one.one.until(lambda m: m["type"] == "transcript" and m["final"])
    error = await one.one.next("error")
    assert (last["text"], error["id"]) == ("", last["id"])
    assert error["code"] == "speech_failed"
    assert "10.0.0.7" not in str(error)
    one.words.error = None
    await one.hear(said())
    await one.answered()


async def test_without_a_recogniser_it_says_so(one: Ear) -> None:
    """Nothing can understand it."""
    one.words.ready = False
    await one.hear(said())
    assert (await one.one.next("error"))["code"] == "speech_unavailable"


@pytest.mark.parametrize("text", [SENTENCES[0], "Oh"])
async def test_an_engine_that_hears_gets_the_sound(text: str) -> None:
    """Without a recogniser, however short: the page shows that somebody spoke, and the engine hears it."""
    engine = FakeEngine(chunks=["A cup."], capabilities=Capabilities(audio_in=True))
    async with ear(engine=engine) as one:
        one.words.ready = False
        await one.hear(said(text, after=1.0))
        one.show()
        heard = await one.one.next("transcript")
        assert (heard["text"], heard["final"]) == ("(spoken question)", True)
        response = await one.one.next("response", "error")
        assert (response["id"], response["text"]) == (heard["id"], "A cup.")
        sound = engine.requests[-1].sound
        assert sound is not None
        assert sound.seconds >= len(synthesise_espeak(text)) / 16_000


async def test_a_held_button_is_a_question() -> None:
    """Sound counts while it is held, and silence does not end it."""
    async with ear(mode="push") as one:
        await one.hear(said())
        assert one.words.heard == []
        assert one.listening.spoken.turn is None
        began = time.monotonic()
        one.press()
        sound = np.concatenate(
            [synthesise_espeak(SENTENCES[0]), make_silence(1), synthesise_espeak(SENTENCES[1])]
        )
        await one.hear(sound, began)
        assert one.words.heard == []
        one.press(False)
        await one.hear(make_silence(0.3), began + len(sound) / 16_000)
        one.show(time.monotonic() + 5)
        assert (await one.one.next("response"))["text"] == "A cup."
        # With the sound from 300 ms before the press on
        assert len(one.words.heard[0]) >= len(sound)


async def test_presses_without_end_begin_few_turns() -> None:
    """Each would open a connection to the recogniser."""
    async with ear(mode="push") as one:
        for _ in range(100):
            one.press()
            await asyncio.sleep(0.001)
            one.press(False)
        assert 0 < one.words.begun <= 10


async def test_what_comes_after_the_button_begins_nothing() -> None:
    """A client whose microphone stays open: chunks that come with the turn's last are no new turn."""
    async with ear(mode="push") as one:
        began = time.monotonic() - 3
        one.press()
        for number in range(60):
            if number == 40:
                one.listening.turns.release(began + 40 * CHUNK_SECONDS)
            one.listening.take_chunk(Chunk(began + number * CHUNK_SECONDS, 0.9, -20.0))
        assert one.listening.spoken.turn is None
        assert one.listening.spoken.previous_turn is not None
        # And no scene's sound goes with pictures.
        assert not one.listening.on


async def test_a_sound_of_the_scene_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bark is no speech and no question; watches learn when it began. Behind a button nothing is heard of it."""
    async with ear(mode=None) as one:
        noted: list[float] = []
        monkeypatch.setattr(one.listening, "_publish_sound_event", noted.append)
        one.switch()
        began = await one.hear(
            np.concatenate([make_hiss(3, -70), make_hiss(0.4, -20), make_hiss(2, -70)])
        )
        assert [round(at - began) for at in noted] == [3]
        assert one.words.heard == []
        one.switch("push")
        await one.hear(np.concatenate([make_hiss(3, -70), make_hiss(0.4, -20)]))
        assert len(noted) == 1


@pytest.mark.parametrize("way", ["off", "silent", "gone"])
async def test_what_ends_hearing_drops_what_is_being_said(one: Ear, way: str) -> None:
    """The switch, the end of its packets, or of the page: the sound goes, and so do the words that had come;
    nothing is asked of half a sentence, and nothing is decoded but of a page that may go on. It is heard again later.
    """
    await one.hear(said(after=0.0))
    assert one.listening.spoken.turn is not None
    assert one.listening.recent.bytes > 0
    ways: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "off": (partial(one.switch, "off"), one.switch),
        "silent": (partial(one.sends, False), partial(one.sends, True)),
        "gone": (one.session.socket_closed, one.session.socket_opened),
    }
    end, begin = ways[way]
    end()
    assert one.listening.spoken.turn is None
    assert one.listening.recent.bytes == 0
    assert (not one.line.on_sound) is (way != "silent")
    await until(lambda: one.words.given_up == 1)
    heard = await one.messages("transcript", "listening")
    assert [m["text"] for m in heard if m.get("final")] == [""]
    assert [m["state"] for m in heard if "state" in m][-1] == ("speech" if way == "gone" else "off")
    begin()
    await one.hear(said())
    await one.answered()


async def test_a_microphone_is_off_at_first() -> None:
    """Sound that comes is not even decoded before somebody has switched it on."""
    async with ear(mode=None) as one:
        assert not one.line.on_sound
        assert not one.line.wants_sound(one._connection)
        await one.hear(said())
        assert one.listening.recent.bytes == 0
        assert one.words.heard == []


async def test_two_people_hear_nothing_of_each_other() -> None:
    """Both speak at once: each recogniser gets its own person's sound, each client its own words."""
    async with (
        ear(FakeWords("What is this?"), mode=None) as one,
        ear(FakeWords("Where is that?"), mode=None) as other,
    ):
        other.listening._tools = replace(
            other.listening._tools, speech_model=one.listening._tools.speech_model
        )
        one.switch()
        other.switch()
        sounds = said(SENTENCES[0]), said(SENTENCES[3])
        both = zip(np.array_split(sounds[0], 40), np.array_split(sounds[1], 40), strict=True)
        for first, second in both:
            await one.hear(first)
            await other.hear(second)
        one.show()
        other.show()
        for person, sound, text in (
            (one, sounds[0], "What is this?"),
            (other, sounds[1], "Where is that?"),
        ):
            words = await person.one.until(lambda m: m["type"] == "transcript" and m["final"])
            assert words["text"] == text
            await person.one.next("response")
            assert person.words.heard[0].tobytes() in sound.tobytes()


async def test_a_cancelled_turn_is_not_asked(one: Ear) -> None:
    """Whoever sees the wrong words stops it by its id."""
    one.words.hold = asyncio.Event()
    await one.hear(said())
    heard = await one.one.next("transcript")
    one.session.handle(Cancel(type="cancel", id=heard["id"]))
    await until(lambda: one.words.given_up == 1)
    one.words.hold.set()
    assert (await one.one.until(lambda m: m["type"] == "transcript" and m["final"]))["text"] == ""
    assert one.one.engine.requests == []


async def test_speech_over_an_answer_stops_it() -> None:
    """Lowered, hushed, stopped, in this order; the question is asked."""
    async with ear(talking=True) as one:
        await one.hear(said())
        assert one.talker.done == ["lower", "hush", "stop"]
        await one.answered()


def far(text: str = SENTENCES[0]) -> Samples:
    """Somebody far away, whom nobody has heard before, and the silence that ends such a turn."""
    sound = np.concatenate(
        [make_silence(1), set_level(synthesise_espeak(text), -40), make_silence(1.6)]
    )
    return mix(sound, make_hiss(len(sound) / 16_000, -70))


@pytest.mark.parametrize(("words", "order"), [("The weather today.", None), ("Stop.", "stop")])
async def test_talk_in_the_room_lowers_an_answer_and_is_no_question(
    words: str, order: str | None
) -> None:
    """Its words are taken back, but for an order."""
    async with ear(FakeWords(words), talking=True) as one:
        await one.hear(far())
        assert one.talker.done == ["lower", "restore"]
        one.show()
        heard = await one.one.until(
            lambda m: m["type"] == "transcript" and m["final"] and not m["text"]
        )
        assert heard.get("order") == order
        assert one.one.engine.requests == []


async def test_an_engine_that_hears_gets_no_talk_of_the_room() -> None:
    engine = FakeEngine(chunks=["A cup."], capabilities=Capabilities(audio_in=True))
    async with ear(engine=engine, talking=True) as one:
        one.words.ready = False
        await one.hear(far())
        one.show()
        await one.hear(make_silence(0.5))
        await asyncio.sleep(0.1)
        assert engine.requests == []
        one.talker.talking = False
        await one.hear(far())
        one.show()
        await one.one.next("response")
        assert len(engine.requests) == 1


async def test_a_question_from_afar_is_one_where_no_answer_is_heard(one: Ear) -> None:
    await one.hear(far())
    await one.answered()


async def test_talk_that_goes_on_is_no_question() -> None:
    """A television that is switched on, though nobody has spoken before."""
    async with ear(FakeWords("The weather today.")) as one:
        await one.hear(np.concatenate([make_silence(1), television(14, -40, 1), make_silence(2)]))
        one.show()
        assert one.one.engine.requests == []


async def test_a_false_alarm_lets_the_answer_go_on() -> None:
    """A syllable, then nothing."""
    async with ear(talking=True) as one:
        await one.hear(
            np.concatenate([make_silence(1), synthesise_espeak("Oh")[:2200], make_silence(1)])
        )
        assert one.talker.done[0] == "lower"
        assert one.talker.done[-1] == "restore"
        assert "stop" not in one.talker.done


async def test_a_press_stops_the_answer_at_once() -> None:
    """A tap is no noise."""
    async with ear(mode="push", talking=True) as one:
        one.press()
        assert one.talker.done == ["stop"]


@pytest.mark.parametrize("lost", [False, True])
async def test_a_microphone_that_goes_restores_the_answer(lost: bool) -> None:
    """It was lowered, and nobody can speak over it any more: the microphone is muted, or its connection broke off."""
    async with ear(talking=True) as one:
        await one.hear(
            np.concatenate([make_silence(1), louder(synthesise_espeak(SENTENCES[0])[:2000], 3)])
        )
        assert one.talker.done[-1] in ("lower", "hush")
        if lost:
            one.sends(False)
        else:
            one.switch("off")
        assert one.talker.done[-1] == "restore"


async def test_a_server_without_microphones_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """MICROPHONE=false: the page offers none, and a client that tries gets an error; its other settings
    are applied all the same.
    """
    async with ear(model=False, mode=None) as one:
        one.session.greet()
        assert (await one.one.next("ready"))["features"]["voice_in"]["microphone"] is False
        begun: list[bool] = []
        monkeypatch.setattr(one.session.part("describe"), "switch", begun.append)
        one.session.handle(settings(microphone=MicrophoneMode.PUSH, describe=True))
        error = await one.one.next("error")
        assert error["code"] == "bad_request"
        assert "MICROPHONE" not in error["message"]
        assert begun
        assert not one.line.on_sound


async def test_the_next_question_replaces_the_words_before_it(one: Ear) -> None:
    """Somebody asks again before the recogniser has answered: one of the two is asked."""
    one.words.hold = asyncio.Event()
    await one.hear(said())
    await one.hear(said(SENTENCES[1]))
    lost = [m["lost"] for m in await one.messages("transcript") if m.get("lost")]
    assert lost == ["replaced"]
    one.words.hold.set()
    await one.answered()
    assert one.words.given_up == 1
    assert len(one.one.engine.requests) == 1
