"""Opus packets to sound and back (RFC 6716, RFC 7587). Pure."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from server.core.sound import SOUND_RATE

# RTP clock of Opus at any sampling rate, RFC 7587 section 4.1
RTP_HZ = 48_000
# Longest packet in RTP time, 120 ms (RFC 6716 section 2.1.4)
MOST_SAMPLES = 5760
# Bit rate of what is sent. RFC 7587 section 3.1.1 recommends 28 to 40 kbit/s for full-band speech.
BIT_RATE = 32_000

# Frame lengths of a TOC's configurations in RTP time, RFC 6716 section 3.1, table 2
_SILK = (480, 960, 1920, 2880)
_HYBRID = (480, 960)
_CELT = (120, 240, 480, 960)


def duration(payload: bytes) -> int:
    """Return the length of a packet in RTP time.

    Raises ValueError for a packet that no Opus encoder writes (RFC 6716 sections 3.1 and 3.2).
    """
    if not payload:
        raise ValueError("empty packet")
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame = _SILK[config % 4]
    elif config < 16:
        frame = _HYBRID[config % 2]
    else:
        frame = _CELT[config % 4]
    if code == 3:
        if len(payload) < 2 or not payload[1] & 0x3F:
            raise ValueError("no frames in packet")
        frames = payload[1] & 0x3F
    else:
        frames = 1 if code == 0 else 2
    if frame * frames > MOST_SAMPLES:
        raise ValueError("packet longer than 120 ms")
    return frame * frames


class OpusDecoder:
    """Turns packets of one stream into sound. Costs about 70 µs for 20 ms."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("libopus", "r")
        self._codec.format = av.AudioFormat("s16")
        self._codec.layout = "mono"
        self._codec.sample_rate = RTP_HZ
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SOUND_RATE)

    def decode(self, payload: bytes) -> NDArray[np.int16]:
        """Decode a packet; shape (samples,), `SOUND_RATE`. Raises ValueError for a broken one."""
        if not payload:
            # It would end the decoder for good.
            raise ValueError("empty packet")
        try:
            frames = self._codec.decode(av.Packet(payload))
            made = [
                part.to_ndarray()[0] for frame in frames for part in self._resampler.resample(frame)
            ]
        except av.error.FFmpegError as exc:
            raise ValueError(f"cannot be decoded ({type(exc).__name__})") from None
        return np.concatenate(made) if made else np.zeros(0, np.int16)


class OpusEncoder:
    """Turns frames of 20 ms into packets of one stream. Costs about 100 µs a frame."""

    def __init__(self, rate: int, samples: int) -> None:
        """`rate`: samples a second; `samples`: those of each frame."""
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.bit_rate = BIT_RATE
        self._codec.format = av.AudioFormat("s16")
        self._codec.layout = "mono"
        self._codec.sample_rate = rate
        self._codec.time_base = Fraction(1, rate)
        self._codec.options = {"application": "lowdelay", "frame_duration": "20"}
        self._rate = rate
        self._samples = samples
        self._position = 0

    def encode(self, samples: NDArray[np.int16]) -> list[bytes]:
        """Encode one frame, shape (samples,): usually one packet."""
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = self._rate
        frame.pts = self._position
        frame.time_base = Fraction(1, self._rate)
        self._position += self._samples
        return [bytes(packet) for packet in self._codec.encode(frame)]
