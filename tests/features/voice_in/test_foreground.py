"""The person at the microphone is heard; voices behind them are not."""

from __future__ import annotations

import numpy as np
import pytest

from server.core.sound import Sound
from server.features.voice_in.detector import CHUNK_SECONDS, Chunk, Detector, SpeechModel
from server.features.voice_in.foreground import FIRST_NEAR_DB, BargeIn, Foreground, Loudness
from server.features.voice_in.turns import Ended, Turns
from tests.support.sounds import (
    SENTENCES,
    Samples,
    at_level,
    mixed,
    needs_espeak,
    silence,
    spoken,
    television,
)

pytestmark = needs_espeak


@pytest.fixture(scope="module")
def model() -> SpeechModel:
    return SpeechModel()


def turns_of(
    model: SpeechModel, sound: Samples, *, answering: bool = False
) -> list[tuple[float, float]]:
    """Beginning and end of speech of each turn."""
    detector, foreground, turns = Detector(model), Foreground(), Turns()
    found = []
    for chunk in detector.feed(Sound(sound, 0.0)):
        talk = foreground.background
        voice = foreground.hears(chunk, answering=answering)
        if foreground.background and not talk and turns.unsure:
            turns.give_up()
        for event in turns.hear(chunk, voice):
            if isinstance(event, Ended):
                found.append((event.since, event.said))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_soft_television_starts_no_turn(model: SpeechModel, seed: int) -> None:
    """From the first second on, for five minutes."""
    assert turns_of(model, television(300, -52, seed)) == []


@pytest.mark.slow
@pytest.mark.parametrize(("level", "since"), [(-44, 0), (-36, 0), (-30, 15)])
def test_a_television_is_learned(model: SpeechModel, level: float, since: float) -> None:
    """One as loud as somebody close may be taken for a person for its first seconds, and not after them."""
    found = turns_of(model, television(300, level, 1))
    assert [one for one in found if one[0] > since] == []


@pytest.mark.parametrize("level", [-52, -44, -40])
def test_talk_in_the_room_never_stops_an_answer(model: SpeechModel, level: float) -> None:
    """From its first second on, though nobody has spoken to us yet."""
    detector, foreground, barge_in = Detector(model), Foreground(), BargeIn()
    found = set()
    for chunk in detector.feed(Sound(television(30, level, 3), 0.0)):
        voice = foreground.hears(chunk, answering=True)
        found.add(barge_in.hear(chunk, voice, talking=True))
    assert Loudness.STOPPED not in found
    assert Loudness.HUSHED not in found


@pytest.mark.parametrize(("level", "stops"), [(-26, True), (-38, False)])
@pytest.mark.parametrize("known", [False, True])
def test_who_stops_an_answer(model: SpeechModel, level: float, stops: bool, known: bool) -> None:
    """Somebody close, or who has spoken so before; a stranger far away only lowers it."""
    said = at_level(spoken(SENTENCES[0]), level)
    asked = [silence(1), said, silence(3)] if known else [silence(1)]
    sound = np.concatenate([*asked, said, silence(1)])
    over = len(sound) / 16_000 - len(said) / 16_000 - 1.5
    detector, foreground, barge_in = Detector(model), Foreground(), BargeIn()
    found = set()
    for chunk in detector.feed(Sound(sound, 0.0)):
        talking = chunk.at >= over
        voice = foreground.hears(chunk, answering=talking)
        found.add(barge_in.hear(chunk, voice, talking=talking))
    assert Loudness.LOWERED in found
    assert (Loudness.STOPPED in found) is (stops or known)


@pytest.mark.parametrize("level", [-52, -40])
def test_a_person_is_heard_over_a_television(model: SpeechModel, level: float) -> None:
    """Somebody who speaks louder than it: each question is a turn of its own."""
    sound, said = television(90, level, 2).copy(), []
    for number, text in enumerate(SENTENCES):
        begin = 20 + 12 * number
        sentence = spoken(text)
        sound[begin * 16_000 : begin * 16_000 + len(sentence)] = mixed(
            sentence, sound[begin * 16_000 :]
        )
        said.append((begin, begin + len(sentence) / 16_000))
    found = [one for one in turns_of(model, sound) if one[0] > 15]
    assert len(found) == len(said)
    for (since, until), (begin, end) in zip(found, said, strict=True):
        assert since <= begin + 0.25
        assert until == pytest.approx(end, abs=0.45)


def test_a_soft_person_is_heard_at_once(model: SpeechModel) -> None:
    """Softer than somebody close to the microphone usually is, in a room where nobody else speaks."""
    soft = at_level(spoken(SENTENCES[0]), -54)
    parts = [silence(1)]
    for _ in range(4):
        parts += [soft, silence(3)]
    assert len(turns_of(model, np.concatenate(parts))) == 4


def test_the_assistants_own_voice_starts_no_turn(model: SpeechModel) -> None:
    """The browser's echo canceller leaves at most -60 dBFS of it."""
    own = at_level(np.concatenate([spoken(one, "en-gb+f3") for one in SENTENCES * 6]), -60)
    assert turns_of(model, own, answering=True) == []


def test_a_long_question_is_not_taken_for_a_television(model: SpeechModel) -> None:
    """Somebody who talks for seven seconds without a pause, and again."""
    long = np.concatenate([spoken(one) for one in SENTENCES[:3]])
    sound = np.concatenate([silence(1), long, silence(4), long, silence(4), long, silence(2)])
    found = turns_of(model, sound)
    assert len(found) == 3
    assert all(until - since > len(long) / 16_000 - 0.3 for since, until in found)


@pytest.mark.parametrize(
    ("level", "later", "hears"), [(-38.0, 6, True), (-38.0, 12, False), (-44.0, 6, False)]
)
def test_who_has_just_spoken_may_be_softer(level: float, later: int, hears: bool) -> None:
    """By 8 dB, within a quarter of a second: softer speech after so many chunks is somebody else's."""
    foreground, at = Foreground(), 0.0

    def heard(chunks: int, speech: float, loudness: float) -> bool:
        nonlocal at
        found = False
        for _ in range(chunks):
            found = bool(foreground.hears(Chunk(at, speech, loudness)))
            at += CHUNK_SECONDS
        return found

    # A pause, after which the person's level is known
    heard(30, 1.0, -20.0)
    heard(45, 0.0, -70.0)
    assert foreground.gate == pytest.approx(-34)
    assert heard(30, 1.0, -20.0)
    heard(later, 0.0, -70.0)
    assert heard(1, 1.0, level) is hears


def test_a_background_is_forgotten() -> None:
    """Half a minute after it has ended a softer person is heard again."""
    foreground, at = Foreground(), 0.0
    for _ in range(700):
        foreground.hears(Chunk(at, 1.0, -30.0))
        at += CHUNK_SECONDS
    assert foreground.gate == pytest.approx(-27)
    for _ in range(round(31 / CHUNK_SECONDS)):
        assert not foreground.hears(Chunk(at, 0.0, -70.0))
        at += CHUNK_SECONDS
    assert foreground.gate < -30


def test_memory_is_bounded() -> None:
    """Ten minutes of speech leave what 8 seconds need."""
    foreground = Foreground()
    for number in range(20_000):
        foreground.hears(Chunk(number * CHUNK_SECONDS, 1.0, -30.0))
    held = [one for one in vars(foreground).values() if hasattr(one, "__len__")]
    assert max(len(one) for one in held) <= 250
    assert FIRST_NEAR_DB < -30
