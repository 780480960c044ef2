"""The person at the microphone is heard, voices behind them are not; and speech over an answer lowers or stops it."""

from __future__ import annotations

import numpy as np
import pytest

from server.core.sound import Sound
from server.features.voice_in.detector import CHUNK_SECONDS, Chunk, SpeechDetector, SpeechModel
from server.features.voice_in.foreground import BargeIn, Foreground, Loudness, Talker
from server.features.voice_in.turns import TurnEnded, Turns
from tests.support.parts import at_night
from tests.support.sounds import (
    SENTENCES,
    VOICES,
    Samples,
    make_hiss,
    make_keyboard_sound,
    make_music,
    make_rumble,
    make_silence,
    mix,
    needs_espeak,
    set_level,
    synthesise_espeak,
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
    detector, foreground, turns = SpeechDetector(model), Foreground(), Turns()
    found = []
    for chunk in detector.feed(Sound(sound, 0.0)):
        talk = foreground.background
        voice = foreground.classify(chunk, answering=answering)
        if foreground.background and not talk and turns.unsure:
            turns.give_up()
        for event in turns.add(chunk, voice):
            if isinstance(event, TurnEnded):
                found.append((event.since, event.said))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [60, *at_night(300)])
def test_a_soft_television_starts_no_turn(model: SpeechModel, seconds: int) -> None:
    """From the first second on, for five minutes at night."""
    assert turns_of(model, television(seconds, -52, 0)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "since", "seconds"),
    [
        (-36, 0, 90),
        pytest.param(-44, 0, 300, marks=pytest.mark.night),
        pytest.param(-36, 0, 300, marks=pytest.mark.night),
        pytest.param(-30, 15, 300, marks=pytest.mark.night),
    ],
)
def test_a_television_is_learned(
    model: SpeechModel, level: float, since: float, seconds: int
) -> None:
    """One as loud as somebody close may be taken for a person for its first seconds, and not after them."""
    found = turns_of(model, television(seconds, level, 1))
    assert [one for one in found if one[0] > since] == []


@pytest.mark.parametrize("level", [-52, -44, -40])
def test_talk_in_the_room_never_stops_an_answer(model: SpeechModel, level: float) -> None:
    """From its first second on, though nobody has spoken to us yet."""
    found = {now for _, now in over(model, television(30, level, 3))}
    assert found.isdisjoint({Loudness.PAUSED, Loudness.STOPPED})


@pytest.mark.parametrize(("level", "stops"), [(-26, True), (-38, False)])
@pytest.mark.parametrize("known", [False, True])
def test_who_stops_an_answer(model: SpeechModel, level: float, stops: bool, known: bool) -> None:
    """Somebody close, or who has spoken so before; a stranger far away only lowers it."""
    said = set_level(synthesise_espeak(SENTENCES[0]), level)
    asked = [make_silence(1), said, make_silence(3)] if known else [make_silence(1)]
    sound = np.concatenate([*asked, said, make_silence(1)])
    since = len(sound) / 16_000 - len(said) / 16_000 - 1.5
    found = {now for _, now in over(model, sound, since)}
    assert Loudness.DUCKED in found
    assert (Loudness.STOPPED in found) is (stops or known)


@pytest.mark.slow
@pytest.mark.parametrize("level", [-52, -40])
def test_a_person_is_heard_over_a_television(model: SpeechModel, level: float) -> None:
    """Somebody who speaks louder than it: each question is a turn of its own."""
    sound, said = television(90, level, 2).copy(), []
    for number, text in enumerate(SENTENCES):
        begin = 20 + 12 * number
        sentence = synthesise_espeak(text)
        sound[begin * 16_000 : begin * 16_000 + len(sentence)] = mix(
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
    soft = set_level(synthesise_espeak(SENTENCES[0]), -54)
    parts = [make_silence(1)]
    for _ in range(4):
        parts += [soft, make_silence(3)]
    assert len(turns_of(model, np.concatenate(parts))) == 4


def test_the_assistants_own_voice_starts_no_turn(model: SpeechModel) -> None:
    """The browser's echo canceller leaves at most -60 dBFS of it."""
    own = set_level(
        np.concatenate([synthesise_espeak(one, "en-gb+f3") for one in SENTENCES * 6]), -60
    )
    assert turns_of(model, own, answering=True) == []


def test_a_long_question_is_not_taken_for_a_television(model: SpeechModel) -> None:
    """Somebody who talks for seven seconds without a pause, and again."""
    long = np.concatenate([synthesise_espeak(one) for one in SENTENCES[:3]])
    sound = np.concatenate(
        [make_silence(1), long, make_silence(4), long, make_silence(4), long, make_silence(2)]
    )
    found = turns_of(model, sound)
    assert len(found) == 3
    assert all(until - since > len(long) / 16_000 - 0.3 for since, until in found)


def heard(foreground: Foreground, *parts: tuple[int, float | None], at: float = 0.0) -> list[bool]:
    """Return for each of so many chunks whether it counts: speech of this loudness, or silence. `at`: when the first begins."""
    levels = [level for count, level in parts for _ in range(count)]
    return [
        bool(
            foreground.classify(
                Chunk(at + number * CHUNK_SECONDS, float(level is not None), level or -70.0)
            )
        )
        for number, level in enumerate(levels)
    ]


@pytest.mark.parametrize(
    ("level", "later", "hears"), [(-38.0, 6, True), (-38.0, 12, False), (-44.0, 6, False)]
)
def test_who_has_just_spoken_may_be_softer(level: float, later: int, hears: bool) -> None:
    """By 8 dB, within a quarter of a second: softer speech after so many chunks is somebody else's."""
    foreground = Foreground()
    # A pause, after which the person's level is known
    heard(foreground, (30, -20.0), (45, None))
    assert foreground.gate == pytest.approx(-34)
    found = heard(foreground, (30, -20.0), (later, None), (1, level), at=75 * CHUNK_SECONDS)
    assert found[29]
    assert found[-1] is hears


def test_a_background_is_forgotten() -> None:
    """Half a minute after it has ended a softer person is heard again."""
    foreground = Foreground()
    heard(foreground, (700, -30.0))
    assert foreground.gate == pytest.approx(-27)
    silent = (round(31 / CHUNK_SECONDS), None)
    assert not any(heard(foreground, silent, at=700 * CHUNK_SECONDS))
    assert foreground.gate < -30


# Speech over an answer lowers it, stops it, or turns out to be nothing.

_WHO = {".": Talker.NOBODY, "o": Talker.SOMEBODY, "#": Talker.PERSON}


def run(pattern: str, *, talking: bool = True) -> list[tuple[int, Loudness]]:
    """Feed one chunk for each character, `#` for the person's speech, `o` for somebody's; the changes with their chunk's number."""
    barge_in, found = BargeIn(), []
    for number, one in enumerate(pattern):
        chunk = Chunk(number * CHUNK_SECONDS, float(one != "."), -20)
        if (now := barge_in.update(chunk, _WHO[one], talking=talking)) is not None:
            found.append((number, now))
    return found


def test_somebody_else_lowers_it_and_no_more() -> None:
    """However long; with the person's own words it stops."""
    assert run("o" * 100 + "." * 20) == [(0, Loudness.DUCKED), (111, Loudness.FULL)]
    assert run("ooo#o#o#o")[-1] == (7, Loudness.STOPPED)


def test_each_answer_begins_anew() -> None:
    """A chunk heard over the end of one does not count against the next."""
    barge_in = BargeIn()
    for number, (voice, talking) in enumerate(
        [(Talker.PERSON, True)] * 5 + [(Talker.NOBODY, False)]
    ):
        barge_in.update(Chunk(number * CHUNK_SECONDS, 1, -20), voice, talking=talking)
    assert barge_in.now is Loudness.FULL
    assert barge_in.update(Chunk(1, 1, -20), Talker.PERSON, talking=True) is Loudness.DUCKED


# With real sound


def over(model: SpeechModel, sound: Samples, since: float = 0.0) -> list[tuple[float, Loudness]]:
    """The changes while an answer is played, from these seconds on; it begins again when it was stopped."""
    detector, foreground, barge_in, found = SpeechDetector(model), Foreground(), BargeIn(), []
    for chunk in detector.feed(Sound(sound, 0.0)):
        talking = chunk.at >= since
        voice = foreground.classify(chunk, answering=talking)
        if (now := barge_in.update(chunk, voice, talking=talking)) is not None:
            found.append((chunk.end, now))
        if now is Loudness.STOPPED:
            barge_in.reset()
    return found


@pytest.mark.slow
@needs_espeak
def test_a_person_stops_it_in_time(model: SpeechModel) -> None:
    """Lowered by 150 ms after the first sound at the median, silent by 110/220, stopped by 450."""
    lowered, hushed, stopped = [], [], []
    for voice in VOICES:
        for text in SENTENCES:
            sound = np.concatenate(
                [make_silence(1), synthesise_espeak(text, voice), make_silence(1)]
            )
            found = over(model, mix(sound, make_hiss(len(sound) / 16_000)))
            first: dict[Loudness, float] = {}
            for at, now in found:
                first.setdefault(now, at - 1)
            lowered.append(first[Loudness.DUCKED])
            hushed.append(first[Loudness.PAUSED])
            stopped.append(first[Loudness.STOPPED])
    assert np.percentile(lowered, 50) <= 0.1
    assert np.percentile(lowered, 95) <= 0.19
    assert np.percentile(hushed, 50) <= 0.11
    assert np.percentile(hushed, 95) <= 0.22
    assert np.percentile(stopped, 95) <= 0.45


@pytest.mark.slow
@needs_espeak
@pytest.mark.parametrize("each", [30, *at_night(120)])
def test_noise_stops_it_once_at_most(model: SpeechModel, each: int) -> None:
    """Hiss, a fan, a keyboard, music, and what is left of its own voice: ten minutes at night."""
    voice = np.concatenate([synthesise_espeak(one, "en-gb+f3") for one in SENTENCES * 15])
    own = set_level(voice[: each * 16_000], -60)
    sounds = [
        make_hiss(each, -32),
        make_rumble(each, -26),
        make_keyboard_sound(each, 5),
        make_music(each, 7, -24),
        own,
    ]
    sound = mix(np.concatenate(sounds), make_hiss(5 * each, -55, 3))
    assert len(sound) == 5 * each * 16_000
    found = [now for _, now in over(model, sound)]
    assert found.count(Loudness.STOPPED) <= 1
    assert found.count(Loudness.DUCKED) <= 5
