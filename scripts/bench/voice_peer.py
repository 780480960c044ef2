"""A simulated visitor who speaks and listens, with a microphone and a loudspeaker in addition to the camera."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.voice_sounds import RATE, Samples, measure_level, mix

# One packet: 20 ms, in samples and in RTP time
FRAME_SECONDS = 0.02
_FRAME = round(RATE * FRAME_SECONDS)
_RTP_HZ = 48_000
_RTP_FRAME = round(_RTP_HZ * FRAME_SECONDS)
# Number of packets of digital silence after which a browser pauses and sends only every 20th, without sound
# (DTX, RFC 7587 section 3.1.3)
_PAUSE_AFTER = 10
_PAUSE_EVERY = 20
# A packet later than this is skipped, and not sent afterwards.
_BEHIND_SECONDS = 0.1
# Maximum received packets that are kept: 400 s
_KEPT = 20_000
# A received packet with sound has at least this level, dBFS.
AUDIBLE_DB = -50.0


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech that was sent: times of its first sample and of its end, seconds since the epoch."""

    begin: float
    end: float


class Microphone(MediaStreamTrack):
    """A track of Opus packets, sent in real time: background noise, and speech over it."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        # Background noise, repeated endlessly; None for digital silence
        self.room: Samples | None = None
        self._room_at = 0
        # While muted, nothing is sent.
        self.unmuted = asyncio.Event()
        # Speech to send from the next packet on, and the future that gets its utterance
        self._speech: tuple[Samples, asyncio.Future[Utterance]] | None = None
        self._speech_at = 0
        self._begin = 0.0
        self._number = 0
        self._due = 0.0
        self._paused = 0
        self._encoder = _create_encoder()

    async def say(self, samples: Samples) -> Utterance:
        """Speak. Return the times at which the speech was sent. One call at a time; the microphone must be on."""
        if self._speech is not None or not self.unmuted.is_set():
            raise RuntimeError("the microphone is off, or speech is already being sent")
        future: asyncio.Future[Utterance] = asyncio.get_running_loop().create_future()
        self._speech, self._speech_at = (samples, future), 0
        return await future

    async def recv(self) -> av.Packet[Any]:
        """Return the next packet at the time of its last sample."""
        while True:
            await self.unmuted.wait()
            if self.readyState != "live":
                raise MediaStreamError
            now = time.monotonic()
            if now - self._due > _BEHIND_SECONDS:
                # The microphone begins, was off, or this process was delayed: the stream's time advances.
                self._number += round((now - self._due) / FRAME_SECONDS) if self._due else 0
                self._due = now
            self._due += FRAME_SECONDS
            await asyncio.sleep(max(0.0, self._due - now))
            samples = self._take_samples()
            self._number += 1
            self._paused = 0 if samples.any() else self._paused + 1
            if self._paused > _PAUSE_AFTER and self._paused % _PAUSE_EVERY:
                continue
            payload = self._encode(samples)
            if self._paused > _PAUSE_AFTER:
                payload = payload[:1]
            packet = av.Packet(payload)
            packet.pts = self._number * _RTP_FRAME
            packet.time_base = Fraction(1, _RTP_HZ)
            return packet

    def _take_samples(self) -> Samples:
        """Return the samples of the next packet."""
        frame = np.zeros(_FRAME, np.int16)
        if self.room is not None:
            at = (self._room_at + np.arange(_FRAME)) % len(self.room)
            self._room_at = (self._room_at + _FRAME) % len(self.room)
            frame = self.room[at]
        if self._speech is None:
            return frame
        samples, future = self._speech
        if not self._speech_at:
            self._begin = time.time() - FRAME_SECONDS
        part = samples[self._speech_at : self._speech_at + _FRAME]
        self._speech_at += _FRAME
        if self._speech_at >= len(samples):
            self._speech = None
            if not future.done():
                end = time.time() - (_FRAME - len(part)) / RATE
                future.set_result(Utterance(self._begin, end))
        return mix(frame, part)

    def _encode(self, samples: Samples) -> bytes:
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = RATE
        frame.pts = self._number * _FRAME
        frame.time_base = Fraction(1, RATE)
        return b"".join(bytes(packet) for packet in self._encoder.encode(frame))


@dataclass(frozen=True, slots=True)
class ReceivedPacket:
    """A packet of speech: arrival in seconds since the epoch, RTP time, and level in dBFS."""

    at: float
    timestamp: int
    level: float

    @property
    def audible(self) -> bool:
        return self.level >= AUDIBLE_DB


class Loudspeaker:
    """Receives the server's speech, packet by packet."""

    def __init__(self) -> None:
        self.packets: deque[ReceivedPacket] = deque(maxlen=_KEPT)
        self._decoder = _create_decoder()

    async def take(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        """Receive a packet in place of aiortc's receiver, whose queue would delay it."""
        at = time.time()
        if not packet.payload:
            return
        try:
            frames = self._decoder.decode(av.Packet(packet.payload))
        except av.error.FFmpegError:
            self._decoder = _create_decoder()
            return
        level = max((measure_level(frame.to_ndarray()) for frame in frames), default=-96.0)
        self.packets.append(ReceivedPacket(at, packet.timestamp, level))

    def find_audible(self, since: float, until: float = float("inf")) -> list[ReceivedPacket]:
        """Return the packets with sound that arrived between two times, seconds since the epoch."""
        return [one for one in self.packets if since <= one.at <= until and one.audible]


class VoicePeer(CameraPeer):
    """A camera with its session, a microphone that is off at first, and a loudspeaker."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.microphone = Microphone()
        self.loudspeaker = Loudspeaker()

    def add_media(self, pc: RTCPeerConnection) -> None:
        if self.microphone.readyState != "live":
            self.microphone = Microphone()
        section = pc.addTransceiver(self.microphone, direction="sendrecv")
        section.receiver._handle_rtp_packet = self.loudspeaker.take  # type: ignore[method-assign]

    async def listen(self, *, silence_ms: int, speak: bool) -> None:
        """Switch the microphone on, hands-free."""
        self.microphone.unmuted.set()
        about = {"microphone": "hands_free", "silence_ms": silence_ms, "speak": speak}
        since = self.seen
        await self.send({"type": "settings", **about})
        await self.wait_for(
            lambda m: m["type"] == "listening" and m["state"] == "waiting", since=since
        )

    async def switch_off(self) -> None:
        """Switch the microphone off."""
        self.microphone.unmuted.clear()
        await self.send({"type": "settings", "microphone": "off"})


def _create_encoder() -> av.AudioCodecContext:
    codec = av.CodecContext.create("libopus", "w")
    codec.bit_rate = 32_000
    codec.format = av.AudioFormat("s16")
    codec.layout = "mono"
    codec.sample_rate = RATE
    codec.time_base = Fraction(1, RATE)
    codec.options = {"application": "voip", "frame_duration": "20"}
    return codec


def _create_decoder() -> av.AudioCodecContext:
    codec = av.CodecContext.create("libopus", "r")
    codec.format = av.AudioFormat("s16")
    codec.layout = "mono"
    codec.sample_rate = _RTP_HZ
    return codec
