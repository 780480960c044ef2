"""Opus packets, as RFC 6716 has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.sound import SOUND_RATE
from server.media.sound.line import FRAME, RATE
from server.media.sound.microphone import MOST_SAMPLES, OpusDecoder, OpusEncoder, duration


def packets(seconds: float, hertz: float = 440) -> list[bytes]:
    times = np.arange(int(seconds * RATE)) / RATE
    samples = (10_000 * np.sin(2 * np.pi * hertz * times)).astype(np.int16)
    encoder = OpusEncoder(RATE, FRAME)
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
    assert duration(payload) == milliseconds * 48


@pytest.mark.parametrize("payload", [b"", bytes([3]), bytes([3, 0]), bytes([31 << 3 | 3, 7])])
def test_no_encoder_writes_these(payload: bytes) -> None:
    with pytest.raises(ValueError, match="packet"):
        duration(payload)


@given(st.binary(max_size=300))
def test_any_bytes_are_sound_or_refused(payload: bytes) -> None:
    decoder = OpusDecoder()
    try:
        assert 0 < duration(payload) <= MOST_SAMPLES
        assert len(decoder.decode(payload)) <= MOST_SAMPLES // 3
    except ValueError:
        pass
    assert len(decoder.decode(packets(0.02)[0])) > 0
