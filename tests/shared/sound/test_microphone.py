"""One microphone's packets, on the way with all its accidents. Time is made by the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.core.sound import SOUND_RATE, Sound
from server.shared.sound.line import FRAME, RATE
from server.shared.sound.microphone import (
    MOST_BURST,
    MOST_SAMPLES,
    MOST_SPEED,
    OFF_SECONDS,
    PACKETS_A_SECOND,
    MicrophoneStream,
    OpusDecoder,
    OpusEncoder,
    SoundBudget,
    get_duration,
)


def packets(seconds: float, hertz: float = 440) -> list[bytes]:
    times = np.arange(int(seconds * RATE)) / RATE
    samples = (10_000 * np.sin(2 * np.pi * hertz * times)).astype(np.int16)
    encoder = OpusEncoder(RATE)
    return [
        packet
        for at in range(0, len(samples), FRAME)
        for packet in encoder.encode(samples[at : at + FRAME])
    ]


def test_sound_survives_the_way() -> None:
    decoder = OpusDecoder()
    out = np.concatenate([decoder.decode(packet) for packet in packets(1.0)])
    assert len(out) / SOUND_RATE == pytest.approx(1.0, abs=0.005)
    spectrum = np.abs(np.fft.rfft(out))
    assert np.argmax(spectrum) * SOUND_RATE / len(out) == pytest.approx(440, abs=2)
    assert 9000 < np.abs(out[4000:]).max() < 12_000


@pytest.mark.parametrize(
    ("payload", "milliseconds"),
    [
        (bytes([0 << 3]), 10),
        (bytes([3 << 3]), 60),
        (bytes([13 << 3]), 20),
        (bytes([16 << 3]), 2.5),
        (bytes([31 << 3 | 1]), 40),
        (bytes([31 << 3 | 3, 6]), 120),
    ],
)
def test_a_packet_says_its_length(payload: bytes, milliseconds: float) -> None:
    assert get_duration(payload) == milliseconds * 48


@pytest.mark.parametrize("payload", [b"", bytes([3]), bytes([3, 0]), bytes([31 << 3 | 3, 7])])
def test_no_encoder_writes_these(payload: bytes) -> None:
    with pytest.raises(ValueError, match="packet"):
        get_duration(payload)


@given(st.binary(max_size=300))
def test_any_bytes_are_sound_or_refused(payload: bytes) -> None:
    decoder = OpusDecoder()
    try:
        assert 0 < get_duration(payload) <= MOST_SAMPLES
        assert len(decoder.decode(payload)) <= MOST_SAMPLES // 3
    except ValueError:
        pass
    assert len(decoder.decode(packets(0.02)[0])) > 0


STEP = 960
PATH = 0.02


class Listener:
    """A microphone stream, the packets of one minute for it, and what came out."""

    def __init__(self) -> None:
        self.sounds: list[Sound] = []
        self.drops: Counter[str] = Counter()
        self.stream = MicrophoneStream(
            self.sounds.append, lambda reason: self.drops.update([reason]), SoundBudget(100.0)
        )

    def send(
        self, number: int, payload: bytes, *, late: float = 0.0, level: int | None = None
    ) -> None:
        """Packet `number` of 20 ms, which arrives `late`; both counters wrap on the way."""
        self.stream.packet(
            (65_530 + number) & 0xFFFF,
            (2**32 - 5 * STEP + number * STEP) & 0xFFFFFFFF,
            payload,
            level,
            100 + (number + 1) * 0.02 + PATH + late,
        )

    def speak(self, numbers: Iterable[int], **more: Any) -> None:
        for number in numbers:
            self.send(number, SPEECH[number], **more)

    @property
    def samples(self) -> NDArray[np.int16]:
        return np.concatenate([np.zeros(0, np.int16), *(sound.samples for sound in self.sounds)])

    @property
    def seconds(self) -> float:
        return len(self.samples) / SOUND_RATE


@pytest.fixture
def listener() -> Listener:
    return Listener()


SPEECH = packets(2.0)


def test_sound_comes_in_order_with_its_times(listener: Listener) -> None:
    listener.speak(range(len(SPEECH)))
    assert listener.seconds == pytest.approx(2.0, abs=0.005)
    assert not listener.drops
    for number, sound in enumerate(listener.sounds):
        assert sound.captured == pytest.approx(100 + number * 0.02 + PATH, abs=1e-6)


def test_swapped_packets_are_put_right(listener: Listener) -> None:
    order = [0, 1, 3, 2, 4, 7, 6, 5, 8, 9]
    listener.speak(order)
    straight = Listener()
    straight.speak(range(10))
    assert np.array_equal(listener.samples, straight.samples)
    assert not listener.drops


def test_a_lost_packet_is_concealed_and_delays_nothing(listener: Listener) -> None:
    for number, payload in enumerate(SPEECH):
        if number != 50:
            listener.send(number, payload)
        if number == 53:
            assert listener.seconds == pytest.approx(54 * 0.02, abs=0.005)
    assert listener.drops == {"lost": 1}
    assert listener.seconds == pytest.approx(2.0, abs=0.005)
    # Without it 20 ms are silent; the codec's delay moves them a little.
    hole = np.abs(listener.samples[49 * 320 : 53 * 320])
    loud = np.flatnonzero(hole > 500)
    assert hole.max() > 3000
    assert np.diff(loud).max() < 0.01 * SOUND_RATE


def test_a_pause_is_silence_while_no_packet_comes(listener: Listener) -> None:
    listener.speak(range(10))
    listener.send(10, bytes([SPEECH[0][0]]))  # the sender pauses
    at = 100 + 11 * 0.02 + PATH
    while at < 100.6:
        due = listener.stream.poll(at)
        assert due is not None
        at = max(due, at + 0.001)
    # Silence has come up to the present, not only with the next packet.
    assert listener.seconds == pytest.approx(0.6 - PATH, abs=0.15)
    # The pause is over: 30 packets' time has passed, but the sequence goes on.
    for number in range(10):
        listener.stream.packet(
            (65_530 + 11 + number) & 0xFFFF,
            (2**32 - 5 * STEP + (41 + number) * STEP) & 0xFFFFFFFF,
            SPEECH[20 + number],
            None,
            100 + (42 + number) * 0.02 + PATH,
        )
    assert not listener.drops
    assert listener.seconds == pytest.approx(51 * 0.02, abs=0.03)
    assert listener.sounds[-1].captured == pytest.approx(100 + 50 * 0.02 + PATH, abs=1e-6)


def test_a_stalled_network_loses_no_sound(listener: Listener) -> None:
    listener.speak(range(20))
    at = 100 + 20 * 0.02 + PATH
    for _ in range(8):
        listener.stream.poll(at := at + 0.1)
    listener.speak(range(20, 60), late=0.8)
    assert not listener.drops
    loud = np.abs(listener.samples) > 2000
    assert loud.sum() == pytest.approx(60 * 320 * 0.87, rel=0.05)


def test_quiet_packets_are_not_decoded(listener: Listener) -> None:
    listener.speak(range(20), level=110)
    assert listener.seconds == pytest.approx(0.4)
    assert not listener.samples.any()


def test_a_microphone_that_stops_is_off(listener: Listener) -> None:
    listener.speak(range(10))
    assert listener.stream.poll(100.22) is not None
    assert listener.stream.poll(100.22 + OFF_SECONDS + 0.05) is None
    assert listener.stream.poll(110.05) is None
    listener.send(500, SPEECH[0])
    assert listener.stream.poll(110.05) is not None


def test_empty_and_broken_packets_do_no_harm(listener: Listener) -> None:
    for number in range(60):
        payload = SPEECH[number]
        if number % 10 == 3:
            payload = b""
        elif number % 10 == 6:
            payload = b"\x03\x00"
        listener.send(number, payload)
    listener.send(60, SPEECH[60])
    assert listener.drops["empty"] == listener.drops["broken"] == 6
    assert np.abs(listener.samples[-640:]).max() > 5000


def test_a_flood_is_bounded(listener: Listener) -> None:
    for number in range(5000):
        listener.stream.packet(number & 0xFFFF, number * STEP, SPEECH[number % 100], None, 100.0)
    assert listener.drops["flood"] >= 5000 - PACKETS_A_SECOND
    assert listener.seconds < MOST_BURST + 0.1


def test_a_jump_begins_anew(listener: Listener) -> None:
    listener.speak(range(10))
    for number in range(10):
        listener.stream.packet(
            30_000 + number, 7_000_000 + number * STEP, SPEECH[number], None, 101.0
        )
    assert listener.seconds == pytest.approx(0.4, abs=0.005)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 65_535),
            st.integers(0, 2**32 - 1),
            st.sampled_from([*SPEECH[:5], b"", b"\x08", b"\xff\x3f", b"\x0b\x06" + bytes(90)]),
            st.sampled_from([None, 10, 127]),
            st.floats(0, 0.5),
        ),
        max_size=60,
    )
)
def test_hostile_sound_is_bounded(
    hostile: list[tuple[int, int, bytes, int | None, float]],
) -> None:
    listener = Listener()
    now = 100.0
    for sequence, timestamp, payload, level, wait in hostile:
        now += wait
        listener.stream.packet(sequence, timestamp, payload, level, now)
        listener.stream.poll(now)
    assert listener.seconds <= MOST_BURST + MOST_SPEED * (now - 100.0) + 0.12 + 2.0


def test_times_that_jump_make_no_hours_of_silence(listener: Listener) -> None:
    for number in range(1000):
        listener.stream.packet(
            number, number * 90_000, SPEECH[number % 100], None, 100 + number * 0.01
        )
    assert listener.seconds < 30


def test_an_hour_of_sound_saves_nothing_up(listener: Listener) -> None:
    """Sound as fast as time passes, then a flood: no more than three seconds of it at once."""
    for number in range(60 * 50):
        listener.send(number, SPEECH[number % len(SPEECH)])
    before = listener.seconds
    for number in range(3000, 3190):
        listener.send(number, SPEECH[number % len(SPEECH)], late=-(number - 3000) * 0.02)
    assert listener.seconds - before <= MOST_BURST + 0.1
