"""One spoken turn: its sound for one reader, its frames, and what is bounded."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.errors import NotConfirmed
from server.core.messages import Confirm, Settings
from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.listening import ListeningTools, MicrophonePart
from server.features.voice_in.recogniser import WordTime
from server.features.voice_in.spoken_questions import (
    PointingWord,
    SoundRing,
    SpokenTurn,
    find_pointing_word,
)
from tests.features.rooms import room
from tests.support.fakes import FakeEngine
from tests.support.fakes_words import FakeWords
from tests.support.rooms import Room, make_frame
from tests.support.sounds import stream


def piece(at: float) -> Sound:
    return Sound(np.zeros(320, np.int16), at)


async def test_the_reader_gets_all_pieces_in_order() -> None:
    """Those before it began, and those that come while it waits; then the end."""
    turn, got = SpokenTurn(1.0), []

    async def read() -> None:
        async for one in turn.stream_sound():
            got.append(one.captured)

    for at in (0.9, 0.92):
        turn.add(piece(at))
    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    turn.add(piece(0.94))
    turn.finish()
    turn.add(piece(0.96))
    turn.finish()
    await reading
    assert got == [0.9, 0.92, 0.94]
    # The sound begins where its first piece does, not where it was wanted.
    assert turn.captured == 0.9


async def test_a_slow_reader_costs_no_memory() -> None:
    """Sound that does not fit is dropped and counted, and the end is still read."""
    turn = SpokenTurn(0.0)
    for number in range(3000):
        turn.add(piece(number * 0.02))
    turn.finish()
    assert turn.dropped == 3000 - 1999
    assert len([one async for one in turn.stream_sound()]) == 1999


def test_frames_are_few_and_near() -> None:
    """Thirty seconds at 15 a second: eight frames, the nearest of them within 4 seconds."""
    turn = SpokenTurn(0.0)
    for number in range(450):
        turn.add_frame(make_frame(number, captured=number / 15))
    assert len(turn.frames) == 8
    for at in (0.0, 9.0, 17.5, 29.9):
        nearest = turn.find_nearest(at)
        assert nearest is not None
        assert abs(nearest.captured - at) < 4
    newest = turn.find_nearest(100.0)
    assert newest is not None
    assert newest.captured > 29.5


async def test_closing_frees_all() -> None:
    """Frames, sound and the work on them."""
    turn = SpokenTurn(0.0)
    turn.add_frame(make_frame(1))
    turn.task = asyncio.create_task(asyncio.sleep(60))
    turn.after = asyncio.create_task(asyncio.sleep(60, None))
    turn.close()
    await asyncio.wait([turn.task])
    assert turn.task.cancelled()
    assert turn.after is None
    assert len(turn.frames) == 0
    assert turn.whole is None


# The ring gives back what it got, by time, and never more than its length


def count(since: int, length: int, at: float) -> Sound:
    """Samples that count up, so that each says where it stood."""
    return Sound((np.arange(since, since + length) % 30_000).astype(np.int16), at)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=40),
    begin=st.floats(-0.5, 3),
    length=st.floats(0.001, 3),
)
def test_a_slice_is_what_was_heard_then(sizes: list[int], begin: float, length: float) -> None:
    """Pieces of any size: the newest second, sample for sample."""
    ring, at = SoundRing(1.0), 0
    for size in sizes:
        ring.add(count(at, size, 100 + at / SOUND_RATE))
        at += size
    assert ring.seconds == min(at, SOUND_RATE) / SOUND_RATE
    assert ring.end == pytest.approx(100 + at / SOUND_RATE)
    got = ring.slice(100 + begin, 100 + begin + length)
    first = max(0, at - SOUND_RATE)
    low, high = max(first, round(begin * SOUND_RATE)), min(at, round((begin + length) * SOUND_RATE))
    if low >= high:
        assert got is None or len(got.samples) <= 1
        return
    assert got is not None
    assert abs(len(got.samples) - (high - low)) <= 1
    number = round((got.captured - 100) * SOUND_RATE)
    assert (got.samples == count(number, len(got.samples), 0).samples).all()


def test_a_gap_is_silence() -> None:
    """A lost second stands there as zeros, so that the times after it are right."""
    ring = SoundRing(5)
    ring.add(count(1, SOUND_RATE, 10))
    ring.add(count(1, SOUND_RATE, 12))
    assert ring.seconds == pytest.approx(3)
    between = ring.slice(11, 12)
    assert between is not None
    assert not between.samples.any()


def test_small_differences_of_the_clock_are_no_gap() -> None:
    """The estimate of the time moves by milliseconds; the samples follow each other."""
    ring = SoundRing(5)
    for number in range(50):
        ring.add(count(number * 320, 320, 10 + number * 0.02 + (number % 3) * 0.004))
    whole = ring.slice(0, 100)
    assert whole is not None
    assert (whole.samples == count(0, 16_000, 0).samples).all()


def test_memory_is_bounded_and_given_back() -> None:
    """32 kB a second, once there is sound; nothing after `clear`."""
    ring = SoundRing(30)
    assert ring.bytes == 0
    for number in range(60):
        ring.add(count(0, SOUND_RATE, number))
    assert ring.bytes == 30 * 32_000
    ring.add(Sound(np.zeros(0, np.int16), 60))
    ring.add(count(0, 40 * SOUND_RATE, 60))
    assert ring.bytes == 30 * 32_000
    assert ring.seconds == 30
    ring.clear()
    assert ring.bytes == 0
    assert ring.slice(0, 1000) is None


def test_a_slice_is_a_copy() -> None:
    """A slice that was handed out does not change when the ring goes on."""
    ring = SoundRing(1)
    ring.add(count(0, SOUND_RATE, 0))
    got = ring.slice(0, 1)
    ring.add(count(5, SOUND_RATE, 1))
    assert got is not None
    assert (got.samples == count(0, SOUND_RATE, 0).samples).all()


# A session's sound on its way to the recogniser: consent, language, and what the client learns


SOUND = Sound(np.ones(320, np.int16), 0.0)


async def words_of(one: Room) -> list[str]:
    listening: MicrophonePart = one.session.part("voice_in")
    return [words.text async for words in listening.spoken.recognise(stream(SOUND))]


async def test_words_in_the_clients_language() -> None:
    """Empty: the recogniser decides."""
    recogniser = FakeWords("What is this?")
    async with room(hearing=ListeningTools(recogniser)) as one:
        assert await words_of(one) == ["What is this?"]
        one.session.handle(Settings(type="settings", language="de"))
        assert await words_of(one) == ["What is this?"]
        assert recogniser.languages == [None, "de"]


async def test_no_sound_to_a_machine_without_consent() -> None:
    """A machine gets sound after a `confirm` for it alone, also that of the session's beginning."""
    recogniser = FakeWords("What is this?")
    recogniser.elsewhere = "speech.example.org"
    tools = ListeningTools(recogniser)
    async with room(FakeEngine(), hearing=tools) as one:
        session = one.session
        for host in ("speech.example.org", "other.example.org"):
            recogniser.elsewhere = host
            session.greet()
            listens = (await one.next("ready"))["features"]["voice_in"]
            assert (listens["elsewhere"], listens["confirmed"]) == (host, False)
            with pytest.raises(NotConfirmed, match=f"Sound would go to {host}"):
                await words_of(one)
            session.handle(Confirm(type="confirm", host="third.example.org", feature="voice_in"))
            session.handle(Confirm(type="confirm", host=host, feature="voice_out"))
            with pytest.raises(NotConfirmed):
                await words_of(one)
            session.handle(Confirm(type="confirm", host=host, feature="voice_in"))
            assert (await one.next("ready"))["features"]["voice_in"]["confirmed"]
            assert await words_of(one)


# Words that point are found in each language, with their time


def timed(text: str) -> list[WordTime]:
    """One word a second, each half a second long."""
    return [WordTime(word, at, at + 0.5) for at, word in enumerate(text.split())]


@pytest.mark.parametrize(
    ("text", "word", "at"),
    [
        ("What is this?", "this", 2.25),
        ("THIS is what?", "THIS", 0.25),
        ("Was ist das hier, bitte?", "hier", 3.25),
        ("C'est quoi ça ?", "ça", 2.25),
        ("¿Qué es esto?", "esto", 2.25),
        ("Cos'è quello là?", "là", 2.25),
        ("O que é isso?", "isso", 3.25),
        ("Что это такое?", "это", 1.25),
        ("Is that this or that?", "that", 4.25),
        ("That's it", "That's", 0.25),
        ("Read these, then stop", "these", 1.25),
    ],
)
def test_the_last_word_that_points(text: str, word: str, at: float) -> None:
    """In its middle, without the marks around it."""
    assert find_pointing_word(timed(text)) == PointingWord(word, pytest.approx(at))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "How many people?", "Wie viele Leute?", "thistle", "? !"])
def test_nothing_points(text: str) -> None:
    """The frame at the end of speech is meant."""
    assert find_pointing_word(timed(text)) is None
