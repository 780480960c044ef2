"""One person's sound, over the connections that carry it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from server.core.sound import Sound
from server.shared.sound.line import FRAME, MOST_SECONDS, RATE, Player, VoiceLine


def piece() -> Sound:
    return Sound(np.zeros(320, np.int16), 1.0)


def test_only_the_newest_connection_is_heard() -> None:
    line, old, new = VoiceLine(), object(), object()
    heard: list[Sound] = []
    microphone: list[bool] = []
    line.on_sound.append(heard.append)
    line.on_microphone.append(microphone.append)
    line.connect(old)
    line.set_sending(old, True)
    line.sound(old, piece())
    line.connect(new)
    assert microphone == [True, False]
    assert not line.microphone
    line.set_sending(old, True)
    line.sound(old, piece())
    assert len(heard) == 1
    assert not line.microphone
    line.sound(new, piece())
    assert len(heard) == 2
    line.disconnect(old)
    assert line.connected
    line.disconnect(new)
    assert not line.connected


def test_a_client_that_plays_nothing_is_no_listener() -> None:
    """A WHIP client sends its microphone and gets nothing: the page has to read."""
    line, older, camera = VoiceLine(), object(), object()
    line.connect(older)
    woken: list[None] = []
    line.player.on_ready.append(lambda: woken.append(None))
    line.connect(camera, plays=False)
    assert not line.connected
    assert not line.player.on_ready
    assert not woken
    line.on_sound.append(lambda sound: None)
    assert line.wants_sound(camera)


def test_nothing_is_wanted_while_nobody_listens() -> None:
    line, connection = VoiceLine(), object()
    line.connect(connection)
    assert not line.wants_sound(connection)
    line.on_sound.append(lambda sound: None)
    assert line.wants_sound(connection)
    assert not line.wants_sound(object())


def test_a_closed_line_drops_its_speech() -> None:
    line = VoiceLine()
    line.player.begin()
    line.player.play(np.ones(RATE, np.int16), RATE)
    line.on_sound.append(lambda sound: None)
    line.close()
    assert line.player.take() is None
    assert not line.on_sound


# The queue of speech that waits to be sent


@pytest.fixture
def player() -> Player:
    """One that has begun an utterance."""
    player = Player()
    player.begin()
    return player


def tone(seconds: float, rate: int = RATE, level: float = 10_000) -> NDArray[np.int16]:
    times = np.arange(int(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * 440 * times)).astype(np.int16)


def taken(player: Player) -> NDArray[np.int16]:
    frames = []
    while (frame := player.take()) is not None:
        frames.append(frame)
    return np.concatenate(frames) if frames else np.zeros(0, np.int16)


def test_speech_comes_out_as_it_went_in(player: Player) -> None:
    speech = tone(0.25)
    for part in np.split(speech, [1, 700, 701, 3000]):
        player.play(part, RATE)
    player.finish()
    out = taken(player)
    assert len(out) % FRAME == 0
    assert np.array_equal(out[: len(speech)], speech)
    assert not out[len(speech) :].any()
    assert player.played == pytest.approx(0.25)
    assert not player.talking


def test_a_part_of_a_frame_waits_for_the_rest() -> None:
    player = Player()
    woken: list[bool] = []
    player.on_ready.append(lambda: woken.append(player.ready))
    player.begin()
    player.play(tone(0.019), RATE)
    assert player.take() is None
    assert not woken
    player.play(tone(0.019), RATE)
    assert player.take() is not None
    assert woken == [True]
    assert player.take() is None
    assert player.talking
    assert not player.is_idle
    player.finish()
    assert player.take() is not None
    assert player.is_idle


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
def test_every_rate_becomes_the_one_that_is_sent(player: Player, rate: int) -> None:
    for part in np.array_split(tone(0.5, rate), 7):
        player.play(part, rate)
    player.finish()
    out = taken(player).astype(float)
    assert len(out) == pytest.approx(0.5 * RATE, abs=FRAME)
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out))))
    assert np.argmax(spectrum) * RATE / len(out) == pytest.approx(440, abs=3)


def test_it_holds_a_minute_and_counts_the_rest(player: Player) -> None:
    for _ in range(70):
        player.play(tone(1.0), RATE)
    assert player.waiting == MOST_SECONDS
    assert player.dropped == 10 * RATE


def test_a_gain_comes_without_a_click(player: Player) -> None:
    player.play(np.full(4 * FRAME, 10_000, np.int16), RATE)
    player.take()
    player.duck(0.2)
    lowered = player.take()
    assert lowered is not None
    assert lowered[-1] == 2000
    assert np.abs(np.diff(lowered.astype(int), prepend=10_000)).max() < 40
    player.duck(1.0)
    back = player.take()
    assert back is not None
    assert back[0] < 2100
    assert back[-1] == 10_000


def test_flushed_speech_is_gone_and_the_next_one_is_whole(player: Player) -> None:
    player.play(tone(1.0), RATE)
    player.take()
    assert player.discard() == pytest.approx(0.98)
    assert player.take() is None
    assert player.is_idle
    assert not player.talking
    player.play(tone(1.0), RATE)  # a chunk of the one that was flushed
    assert player.take() is None
    player.begin()
    player.play(tone(0.02), RATE)
    assert player.take() is not None
    assert player.played == pytest.approx(0.02)


def test_a_pause_goes_on_where_it_was(player: Player) -> None:
    speech = tone(0.1)
    player.play(speech, RATE)
    first = player.take()
    player.pause(True)
    assert player.take() is None
    assert player.is_idle
    assert player.talking
    woken: list[None] = []
    player.on_ready.append(lambda: woken.append(None))
    player.pause(False)
    player.finish()
    assert woken
    assert first is not None
    assert np.array_equal(np.concatenate([first, taken(player)]), speech)


def test_other_samples_are_refused(player: Player) -> None:
    with pytest.raises(ValueError, match="float64"):
        player.play(np.zeros(10), RATE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2-dimensional"):
        player.play(np.zeros((2, 10), np.int16), RATE)
    with pytest.raises(ValueError, match="1000 samples per second"):
        player.play(np.zeros(10, np.int16), 1000)


def test_sound_in_the_smallest_pieces_takes_little_room(player: Player) -> None:
    """A server chooses the pieces: one sample each must not take a hundred bytes each."""
    samples = np.arange(20_000).astype(np.int16)
    tracemalloc.start()
    for at in range(len(samples)):
        player.play(samples[at : at + 1], RATE)
    room, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert room < 4 * samples.nbytes
    player.finish()
    assert np.array_equal(taken(player)[: len(samples)], samples)
