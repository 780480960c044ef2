"""Samples in a WAV file."""

from __future__ import annotations

import io
import wave

from server.media.sound.pcm import wav


def test_what_goes_in_comes_out() -> None:
    """Rate, channels and every sample, of mono and of stereo."""
    pcm = bytes(range(256)) * 4
    for rate, channels in ((24_000, 1), (44_100, 2)):
        with wave.open(io.BytesIO(wav(pcm, rate, channels))) as read:
            assert (read.getframerate(), read.getnchannels(), read.getsampwidth()) == (
                *(rate, channels, 2),
            )
            assert read.readframes(read.getnframes()) == pcm
