"""Put samples into a WAV file, in memory."""

from __future__ import annotations

import io
import wave

SAMPLE_BYTES = 2


def wav(pcm: bytes, rate: int, channels: int = 1) -> bytes:
    """Return the file. `pcm` is signed 16 bit, little endian, channels in turn; `rate` in Hz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(SAMPLE_BYTES)
        out.setframerate(rate)
        out.writeframes(pcm)
    return file.getvalue()
