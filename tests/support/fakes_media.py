"""Encoded video and its RTP payloads, made once; and who listens to a stream."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

from server.core.frames import Frame

MTU = 1000


@dataclass(frozen=True, slots=True)
class RtpPart:
    """The payload of one packet."""

    data: bytes
    marker: bool
    # RTP timestamp
    timestamp: int


@functools.cache
def vp8_frames(
    count: int, width: int = 640, height: int = 360, bits: int = 400_000
) -> tuple[bytes, ...]:
    """Frames of noise over growing brightness; the first is a key frame, the others need what was
    before them.
    """
    encoder = av.CodecContext.create("libvpx", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 10), Fraction(10)
    encoder.bit_rate, encoder.gop_size = bits, 10_000
    encoder.options = {"deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0"}
    noise = np.random.default_rng(1).integers(0, 120, (height * 3 // 2, width)).astype(np.uint8)
    out = []
    for index in range(count):
        planes = np.roll(noise, index * 7, axis=1) + np.uint8(min(100, 10 * index))
        image = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv420p")
        image.pts = index
        out += [bytes(packet) for packet in encoder.encode(image)]
    assert len(out) == count
    return tuple(out)


def vp8_parts(frame: bytes, timestamp: int) -> list[RtpPart]:
    """One frame cut into RTP payloads, each with a VP8 descriptor (RFC 7741) of one byte."""
    cuts = range(0, len(frame), MTU)
    return [
        RtpPart(
            bytes([0x10 if start == 0 else 0x00]) + frame[start : start + MTU],
            start + MTU >= len(frame),
            timestamp,
        )
        for start in cuts
    ]


@dataclass
class RecordingCamera:
    """Takes a stream's frames as `server.media.camera.CameraConnection` does, and keeps them."""

    frames: list[Frame] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    rates: list[tuple[int, int]] = field(default_factory=list)
    ends: int = 0
    asked_for_keys: int = 0
    refusals: int = 0

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._changed.set()

    def packet_received(self, now: float) -> None:
        self._changed.set()

    def rate(self, cap: int, frame_rate: int) -> None:
        self.rates.append((cap, frame_rate))

    def frames_dropped(self, reason: str, count: int = 1) -> None:
        self.drops[reason] += count
        self._changed.set()

    def pictures_refused(self, reason: str) -> None:
        self.refusals += 1
        self._changed.set()

    def key_frame_requested(self) -> None:
        self.asked_for_keys += 1

    def stream_ended(self) -> None:
        self.ends += 1
        self._changed.set()

    async def until(self, check: Callable[[RecordingCamera], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not check(self):
                self._changed.clear()
                await self._changed.wait()
