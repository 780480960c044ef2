"""Speech over an answer lowers it, stops it, or turns out to be nothing."""

from __future__ import annotations

import numpy as np
import pytest

from server.core.sound import Sound
from server.features.voice_in.detector import CHUNK_SECONDS, Chunk, Detector, SpeechModel
from server.features.voice_in.foreground import BargeIn, Foreground, Loudness, Voice
from tests.support.sounds import (
    SENTENCES,
    VOICES,
    Samples,
    at_level,
    hiss,
    keys,
    mixed,
    music,
    needs_espeak,
    rumble,
    silence,
    spoken,
)

_WHO = {".": Voice.NOBODY, "o": Voice.SOMEBODY, "#": Voice.PERSON}


def run(pattern: str, *, talking: bool = True) -> list[tuple[int, Loudness]]:
    """Feed one chunk for each character, `#` for the person's speech, `o` for somebody's; the changes with their chunk's number."""
    barge_in, found = BargeIn(), []
    for number, one in enumerate(pattern):
        chunk = Chunk(number * CHUNK_SECONDS, float(one != "."), -20)
        if (now := barge_in.hear(chunk, _WHO[one], talking=talking)) is not None:
            found.append((number, now))
    return found


def test_speech_lowers_hushes_and_stops() -> None:
    """At its first chunk, its second, and after a quarter of a second."""
    assert run("...##########") == [
        (3, Loudness.LOWERED),
        (4, Loudness.HUSHED),
        (10, Loudness.STOPPED),
    ]


@pytest.mark.parametrize("pattern", ["#", "##", "#######", "#.#.#.#"])
def test_a_false_alarm_lets_it_go_on(pattern: str) -> None:
    """Less than a quarter of a second: it goes on where it was 400 ms after the last of it."""
    found = run(pattern + "." * 20)
    assert found[0] == (0, Loudness.LOWERED)
    assert found[-1] == (len(pattern) + 11, Loudness.FULL)
    assert Loudness.STOPPED not in [one for _, one in found]


def test_somebody_else_lowers_it_and_no_more() -> None:
    """However long; with the person's own words it stops."""
    assert run("o" * 100 + "." * 20) == [(0, Loudness.LOWERED), (111, Loudness.FULL)]
    assert run("ooo#o#o#o")[-1] == (7, Loudness.STOPPED)


def test_a_stopped_answer_stays_stopped() -> None:
    """Until another is played."""
    assert run("#" * 12 + "." * 40)[-1][1] is Loudness.STOPPED


def test_nothing_happens_in_silence() -> None:
    """No answer is played: speech is only a question."""
    assert run("#" * 30, talking=False) == []


def test_each_answer_begins_anew() -> None:
    """A chunk heard over the end of one does not count against the next."""
    barge_in = BargeIn()
    for number, (voice, talking) in enumerate([(Voice.PERSON, True)] * 5 + [(Voice.NOBODY, False)]):
        barge_in.hear(Chunk(number * CHUNK_SECONDS, 1, -20), voice, talking=talking)
    assert barge_in.now is Loudness.FULL
    assert barge_in.hear(Chunk(1, 1, -20), Voice.PERSON, talking=True) is Loudness.LOWERED


# With real sound


@pytest.fixture(scope="module")
def model() -> SpeechModel:
    return SpeechModel()


def over(model: SpeechModel, sound: Samples) -> list[tuple[float, Loudness]]:
    """The changes while an answer is played all the time; it begins again when it was stopped."""
    detector, foreground, barge_in, found = Detector(model), Foreground(), BargeIn(), []
    for chunk in detector.feed(Sound(sound, 0.0)):
        now = barge_in.hear(chunk, foreground.hears(chunk, answering=True), talking=True)
        if now is not None:
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
            sound = np.concatenate([silence(1), spoken(text, voice), silence(1)])
            found = over(model, mixed(sound, hiss(len(sound) / 16_000)))
            first: dict[Loudness, float] = {}
            for at, now in found:
                first.setdefault(now, at - 1)
            lowered.append(first[Loudness.LOWERED])
            hushed.append(first[Loudness.HUSHED])
            stopped.append(first[Loudness.STOPPED])
    assert np.percentile(lowered, 50) <= 0.1
    assert np.percentile(lowered, 95) <= 0.19
    assert np.percentile(hushed, 50) <= 0.11
    assert np.percentile(hushed, 95) <= 0.22
    assert np.percentile(stopped, 95) <= 0.45


@pytest.mark.slow
@needs_espeak
def test_ten_minutes_of_noise_stop_it_once_at_most(model: SpeechModel) -> None:
    """Hiss, a fan, a keyboard, music, and what is left of its own voice."""
    voice = np.concatenate([spoken(one, "en-gb+f3") for one in SENTENCES * 15])
    own = at_level(voice[: 120 * 16_000], -60)
    sounds = [hiss(120, -32), rumble(120, -26), keys(120, 5), music(120, 7, -24), own]
    sound = mixed(np.concatenate(sounds), hiss(600, -55, 3))
    assert len(sound) == 600 * 16_000
    found = [now for _, now in over(model, sound)]
    assert found.count(Loudness.STOPPED) <= 1
    assert found.count(Loudness.LOWERED) <= 5
