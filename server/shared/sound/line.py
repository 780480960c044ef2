"""Both directions of a session's sound, and the audio section of the connection that carries it.

The section uses the camera's DTLS transport without aiortc's receiver and sender. aiortc's receiver
delays sound by up to 290 ms after one lost packet, its sender always runs, and both cost more
processor time. The line outlives connections, as the camera does.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import (
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpReceiveParameters,
    RTCRtpSendParameters,
)
from aiortc.rtp import AnyRtcpPacket, RtpPacket
from numpy.typing import NDArray

from server.core.aio import Broadcast, TaskSet, Timer
from server.core.sound import Sound
from server.media.sdp import Offer, Section
from server.shared.sound.microphone import (
    OFF_SECONDS,
    RTP_HZ,
    MicrophoneStream,
    OpusEncoder,
    SoundBudget,
)
from server.shared.sound.rates import RateConverter
from server.webrtc_server import Line


class VoiceLine:
    """The microphone and loudspeaker of a session. All methods are called on the event loop.

    One connection at a time uses the line; sound of an older one is ignored.
    """

    def __init__(self) -> None:
        self.player = Player()
        # Listeners for the microphone's sound, in order, in pieces of 20 to 120 ms, with silence for
        # gaps. Without listeners, nothing is decoded.
        self.on_sound: list[Callable[[Sound], None]] = []
        # Listeners for the start and stop of the microphone
        self.on_microphone: list[Callable[[bool], None]] = []
        # Listeners for dropped packets, with the reason and number
        self.on_dropped: list[Callable[[str, int], None]] = []
        self._microphone = False
        self._connection: object | None = None
        # The connection's client plays the player's speech.
        self._plays = False

    @classmethod
    def of(cls, lines: list[Line]) -> VoiceLine:
        """Return the voice line among a session's lines; add it on the first call."""
        for line in lines:
            if isinstance(line, VoiceLine):
                return line
        lines.append(made := cls())
        return made

    def section(self, offer: Offer, transport: RTCDtlsTransport) -> SoundSection | None:
        """Return a section for the first audio section that both sides can use; None if there is none."""
        found = find_voice(offer)
        return SoundSection(found, transport, self) if found is not None else None

    @property
    def microphone(self) -> bool:
        """True while a microphone is sending."""
        return self._microphone

    @property
    def connected(self) -> bool:
        """True while a connection uses the line, over which the player's speech is sent."""
        return self._connection is not None and self._plays

    def connect(self, connection: object, *, plays: bool = True) -> None:
        """Connect a connection to the line, in place of the previous one.

        `plays`: False for a client that only sends a microphone.
        """
        self._set_microphone(False)
        self._connection = connection
        self._plays = plays
        self.player.clear_listeners()

    def disconnect(self, connection: object) -> None:
        """Disconnect a connection from the line if it is still connected."""
        if self._connection is connection:
            self._set_microphone(False)
            self._connection = None
            self.player.clear_listeners()

    def wants_sound(self, connection: object) -> bool:
        """Return True if there are listeners for this connection's microphone."""
        return self._connection is connection and bool(self.on_sound)

    def sound(self, connection: object, sound: Sound) -> None:
        if self._connection is connection:
            for listener in tuple(self.on_sound):
                listener(sound)

    def set_sending(self, connection: object, sending: bool) -> None:
        """Record whether a connection's microphone is sending."""
        if self._connection is connection:
            self._set_microphone(sending)

    def count_dropped(self, reason: str, count: int = 1) -> None:
        for listener in self.on_dropped:
            listener(reason, count)

    def close(self) -> None:
        """Remove all listeners and speech, because the session ends."""
        for listeners in (self.on_sound, self.on_microphone, self.on_dropped):
            listeners.clear()
        self._connection = None
        self._microphone = False
        self.player.clear_listeners()
        self.player.discard()

    def _set_microphone(self, sending: bool) -> None:
        if self._microphone != sending:
            self._microphone = sending
            for listener in tuple(self.on_microphone):
                listener(sending)


def _notify(listeners: list[Callable[[], None]]) -> None:
    for listener in listeners:
        listener()


# The speech waiting to be sent to one listener

# Sampling rate of sent speech, and samples of one packet (20 ms)
RATE = 24_000
FRAME = 480
# Maximum waiting speech, seconds
MOST_SECONDS = 60.0
# Samples over which the gain changes, to avoid clicks (10 ms)
_RAMP = 240


class Player:
    """The queue of speech for one listener: mono, 16 bits, 24 kHz. Bounded; speech that does not fit is dropped.

    It returns only whole frames of 20 ms, so that a late chunk leaves no gap in a frame; the last frame
    is padded with silence after `finish`.

    Bounds of speech that waits to be sent: 60 s, 2.9 MB; speech that does not fit is dropped
    and counted.
    """

    def __init__(self) -> None:
        self.clear_listeners()
        # Total number of dropped samples
        self.dropped = 0
        self._chunks: deque[NDArray[np.int16]] = deque()
        self._waiting = 0
        self._sent = 0
        self._finished = True
        self._paused = False
        self._gain = self._gain_now = 1.0
        self._converter = RateConverter(RATE)

    def clear_listeners(self) -> None:
        """Remove all listeners."""
        # Listeners for new frames to send
        self.on_ready: list[Callable[[], None]] = []
        # Listeners for an empty queue before the end of the utterance
        self.on_idle: list[Callable[[], None]] = []

    @property
    def waiting(self) -> float:
        """Seconds of waiting speech."""
        return self._waiting / RATE

    @property
    def played(self) -> float:
        """Seconds sent since `begin`."""
        return self._sent / RATE

    @property
    def talking(self) -> bool:
        """True from `begin` until the whole utterance was sent."""
        return not self._finished or self._waiting > 0

    @property
    def ready(self) -> bool:
        """True if a frame can be taken."""
        return not self._paused and (
            self._waiting >= FRAME or (self._finished and self._waiting > 0)
        )

    @property
    def is_idle(self) -> bool:
        """True if there are no more frames until a call of `play`, `pause` or `begin`."""
        return self._paused or (self._finished and self._waiting == 0)

    def begin(self) -> None:
        """Begin an utterance, in place of waiting speech."""
        self._clear()
        self._sent = 0
        self._finished = self._paused = False
        self._gain = self._gain_now = 1.0

    def play(self, samples: NDArray[np.int16], rate: int) -> None:
        """Append speech to the utterance. `samples`: mono, shape (samples,); `rate`: samples per second.

        Raises ValueError for samples of another shape or type, and for a rate outside 8 to 96 kHz.
        """
        if samples.dtype != np.int16 or samples.ndim != 1:
            raise ValueError(f"samples are {samples.dtype}, {samples.ndim}-dimensional")
        if not 8000 <= rate <= 96_000:
            raise ValueError(f"the rate is {rate} samples per second; 8,000 to 96,000 are allowed")
        if self._finished or not len(samples):
            return
        self._append(self._converter.convert(samples, rate))

    def finish(self) -> None:
        """Record that the utterance is complete."""
        if self._finished:
            return
        self._append(self._converter.end())
        self._finished = True
        if self.ready:
            _notify(self.on_ready)

    def duck(self, gain: float) -> None:
        """Set the gain, 0 to 1, from the next frame on."""
        self._gain = gain

    def pause(self, paused: bool) -> None:
        """Pause or resume the speech."""
        hushed = paused and self.talking and not self._paused
        self._paused = paused
        if hushed:
            _notify(self.on_idle)
        if self.ready:
            _notify(self.on_ready)

    def discard(self) -> float:
        """End the utterance, and discard what has not been played. Return how many seconds were discarded."""
        lost, hushed = self.waiting, self.talking and not self._paused
        self._clear()
        self._finished, self._paused = True, False
        if hushed:
            _notify(self.on_idle)
        return lost

    def take(self) -> NDArray[np.int16] | None:
        """Remove and return the next frame, shape (480,); None if there is none to send now."""
        if not self.ready:
            return None
        parts, missing = [], min(FRAME, self._waiting)
        while missing:
            chunk = self._chunks.popleft()
            if len(chunk) > missing:
                self._chunks.appendleft(chunk[missing:])
                chunk = chunk[:missing]
            parts.append(chunk)
            missing -= len(chunk)
        frame = np.concatenate(parts) if len(parts) > 1 else parts[0]
        self._waiting -= len(frame)
        self._sent += len(frame)
        if len(frame) < FRAME:
            frame = np.concatenate([frame, np.zeros(FRAME - len(frame), np.int16)])
        return self._scale(frame)

    def _scale(self, frame: NDArray[np.int16]) -> NDArray[np.int16]:
        before, now = self._gain_now, self._gain
        if before == now == 1.0:
            return frame
        gains = np.full(FRAME, now, np.float32)
        gains[:_RAMP] = np.linspace(before, now, _RAMP, dtype=np.float32)
        self._gain_now = now
        scaled: NDArray[np.int16] = np.rint(frame * gains).astype(np.int16)
        return scaled

    def _append(self, samples: NDArray[np.int16]) -> None:
        was_ready = self.ready
        fits = int(MOST_SECONDS * RATE) - self._waiting
        if len(samples) > fits:
            self.dropped += len(samples) - fits
            samples = samples[:fits]
        if len(samples):
            if self._chunks and len(self._chunks[-1]) < FRAME:
                # A server may send sample by sample; an array for each would take 60 times the memory.
                self._chunks[-1] = np.concatenate([self._chunks[-1], samples])
            else:
                self._chunks.append(samples.copy())
            self._waiting += len(samples)
        if self.ready and not was_ready:
            _notify(self.on_ready)

    def _clear(self) -> None:
        self._chunks.clear()
        self._waiting = 0
        self._converter = RateConverter(RATE)


# The audio section of an offer, and its part of the answer. Only a section in the camera's BUNDLE
# group can be used, because it shares the camera's transport. Sources: RFC 9429 (JSEP), RFC 7587
# (Opus in SDP), RFC 6464 (audio levels).

LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
# Preferences for received sound: pauses instead of packets with silence, nothing above 8 kHz, one channel
_RECEIVE = "minptime=10;maxplaybackrate=16000;stereo=0;usedtx=1"
_EXTENSION = re.compile(r"^a=extmap:(\d{1,3})(?:/\w+)? (\S+)")


@dataclass(frozen=True, slots=True)
class VoiceSection:
    """An offered audio section over which both sides can send."""

    # Index among the offer's sections, and name
    number: int
    mid: str
    # Payload type of Opus
    payload_type: int
    # Id of the header extension for audio levels; 0 if the offer has none
    level_id: int
    # Whether the client may send a microphone, and whether it plays the server's sound
    receives: bool
    sends: bool

    def lines(self, section: Section, port: str, transport: list[str], ssrc: int) -> list[str]:
        """Return this section of the answer.

        `transport`: lines of the camera's transport, connection line first; `ssrc`: of the server's stream.
        """
        lines = [
            f"m=audio {port} {section.protocol} {self.payload_type}",
            transport[0],
            f"a={self._get_direction()}",
            "a=rtcp:9 IN IP4 0.0.0.0",
            "a=rtcp-mux",
            f"a=rtpmap:{self.payload_type} opus/48000/2",
            f"a=fmtp:{self.payload_type} {_RECEIVE}",
            f"a=mid:{self.mid}",
        ]
        if self.level_id and self.receives:
            lines.append(f"a=extmap:{self.level_id} {LEVEL_URI}")
        if self.sends:
            lines += ["a=msid:voice voice", f"a=ssrc:{ssrc} cname:voice"]
        return lines + transport[1:]

    def _get_direction(self) -> str:
        if self.receives and self.sends:
            return "sendrecv"
        return "recvonly" if self.receives else "sendonly"


def find_voice(offer: Offer) -> VoiceSection | None:
    """Return the first audio section that both sides can use; None if there is none."""
    if not offer.grouped:
        return None
    videos = (one for number in offer.bundle if (one := offer.sections[number]).kind == "video")
    taken = {payload_type for section in videos for payload_type in section.formats}
    for number in offer.bundle:
        section = offer.sections[number]
        if section.kind != "audio" or section.direction == "inactive" or not section.mid:
            continue
        described = {line.lower() for line in section.lines if line.startswith("a=rtpmap:")}
        for payload_type, codec in section.codecs.items():
            stereo = f"a=rtpmap:{payload_type} opus/48000/2" in described
            possible = int(payload_type) < 128 and payload_type not in taken
            if codec == "OPUS" and stereo and possible:
                return VoiceSection(
                    number,
                    section.mid,
                    int(payload_type),
                    _find_level_id(section),
                    receives=section.direction in ("sendrecv", "sendonly"),
                    sends=section.direction in ("sendrecv", "recvonly"),
                )
    return None


def _find_level_id(section: Section) -> int:
    for line in section.lines:
        match = _EXTENSION.match(line)
        if match and match.group(2) == LEVEL_URI:
            return int(match.group(1))
    return 0


# The section in use.

FRAME_SECONDS = FRAME / RATE
# Silent packets after speech; without them the listener's decoder stretches the last sound.
SILENT_PACKETS = 10
# Delay of speech after which the schedule restarts now, instead of sending faster
LATE_SECONDS = 0.2
# Maximum gap that the listener's decoder bridges: a chunk within this time continues at the end of
# the one before. After a longer gap the time of the stream has advanced.
BRIDGED_SECONDS = 0.2
# Minimum time between two changes of the microphone's stream (SSRC)
STREAM_CHANGE_SECONDS = 3.0
_SILENCE = np.zeros(FRAME, np.int16)


class SoundSection:
    """Connects the audio section of a connection with a `VoiceLine`. Called by aiortc's router."""

    def __init__(self, section: VoiceSection, transport: RTCDtlsTransport, line: VoiceLine) -> None:
        self._section = section
        self._transport = transport
        self._line = line
        # SSRC of the sent stream; aiortc's router reads it.
        self._ssrc = random.getrandbits(32)
        self._tasks = TaskSet("sound")
        self._closed = False
        self._stream: MicrophoneStream | None = None
        self._stream_ssrc: int | None = None
        self._stream_since = 0.0
        self._budget = SoundBudget(time.monotonic())
        self._heard_at = 0.0
        self._sending = False
        self._timer = Timer()
        self._talking = False
        self._sequence = random.getrandbits(15)
        self._timestamp = random.getrandbits(32)
        # Time of `_timestamp`; None before the first packet
        self._sent_at: float | None = None
        self._encoder: OpusEncoder | None = None
        # Ends the pause before the next frame: the packet that ends the sound, and contains the end of
        # the last frame because the codec overlaps frames, is sent immediately.
        self._idle = Broadcast()

    @property
    def number(self) -> int:
        """Index among the offer's sections."""
        return self._section.number

    def lines(self, section: Section, port: str, transport: list[str]) -> list[str]:
        """Return this section of the answer, with the server's stream."""
        return self._section.lines(section, port, transport, self._ssrc)

    def open(self) -> None:
        """Receive the section's packets from now on, and connect to the line."""
        codec = RTCRtpCodecParameters(
            mimeType="audio/opus",
            clockRate=RTP_HZ,
            channels=2,
            payloadType=self._section.payload_type,
        )
        if self._section.receives:
            parameters = RTCRtpReceiveParameters(codecs=[codec], muxId=self._section.mid)
            if self._section.level_id:
                parameters.headerExtensions.append(
                    RTCRtpHeaderExtensionParameters(id=self._section.level_id, uri=LEVEL_URI)
                )
            self._transport._register_rtp_receiver(self, parameters)
        if self._section.sends:
            self._transport._register_rtp_sender(
                self, RTCRtpSendParameters(codecs=[codec], muxId=self._section.mid)
            )
        self._line.connect(self, plays=self._section.sends)
        if self._section.sends:
            self._line.player.on_ready.append(self._talk_soon)
            self._line.player.on_idle.append(self._idle.wake)
            self._talk_soon()

    async def close(self) -> None:
        """Disconnect from the line. It may be called more than once."""
        self._on_end()
        await self._tasks.close()

    # Called by aiortc

    def _handle_disconnect(self) -> None:
        self._on_end()

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        """Ignore reports: this machine's clock is used, and nothing is retransmitted."""

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        if self._closed or packet.payload_type != self._section.payload_type:
            return
        now = time.monotonic()
        self._heard_at = now
        self._set_sending(True)
        if not self._timer:
            self._timer.set(OFF_SECONDS, self._poll)
        if not self._line.wants_sound(self):
            self._stream = None
            return
        stream = self._stream_of(packet.ssrc, now)
        if stream is None:
            return
        level = packet.extensions.audio_level
        stream.packet(
            packet.sequence_number,
            packet.timestamp,
            packet.payload,
            level[1] if level is not None else None,
            now,
        )

    # Microphone

    def _stream_of(self, ssrc: int, now: float) -> MicrophoneStream | None:
        if self._stream is None or self._stream_ssrc != ssrc:
            if self._stream is not None and now - self._stream_since < STREAM_CHANGE_SECONDS:
                return None
            self._stream = MicrophoneStream(
                partial(self._line.sound, self), self._line.count_dropped, self._budget
            )
            self._stream_ssrc, self._stream_since = ssrc, now
            self._poll_at(now)
        return self._stream

    def _poll(self) -> None:
        if self._closed:
            return
        now = time.monotonic()
        due = self._heard_at + OFF_SECONDS
        if now >= due:
            self._set_sending(False)
        if self._stream is not None:
            silence = self._stream.poll(now)
            if silence is None:
                self._stream = None
            else:
                due = silence
        if self._sending:
            self._poll_at(due)

    def _poll_at(self, due: float) -> None:
        self._timer.set(max(0.001, due - time.monotonic()), self._poll)

    def _set_sending(self, sending: bool) -> None:
        if self._sending != sending:
            self._sending = sending
            self._line.set_sending(self, sending)

    # Speech

    def _talk_soon(self) -> None:
        if not self._talking and not self._closed and self._line.player.ready:
            self._talking = True
            self._tasks.spawn(self._talk(), name="talk")

    async def _talk(self) -> None:
        """Send a frame every 20 ms until there are none."""
        try:
            await self._send_all()
        except ConnectionError:
            # The end of the connection is handled elsewhere.
            return
        finally:
            self._talking = False
        self._talk_soon()

    async def _send_all(self) -> None:
        player, loop = self._line.player, asyncio.get_running_loop()
        at = loop.time()
        if self._sent_at is not None:
            pause = at - self._sent_at
            if pause > BRIDGED_SECONDS:
                self._timestamp = (self._timestamp + round(pause * RTP_HZ)) & 0xFFFFFFFF
        first, silent = True, 0
        while silent < SILENT_PACKETS and not self._closed:
            frame = player.take()
            if frame is None and not player.is_idle:
                # The rest is late: wait for a complete frame, which continues at the end of the last one.
                return
            silent = 0 if frame is not None else silent + 1
            await self._send(_SILENCE if frame is None else frame, first)
            first = False
            at += FRAME_SECONDS
            self._sent_at = at
            behind = loop.time() - at
            if behind > LATE_SECONDS:
                at += behind
            await self._idle.wait(at)

    async def _send(self, frame: NDArray[np.int16], first: bool) -> None:
        if self._encoder is None:
            self._encoder = OpusEncoder(RATE)
        for payload in self._encoder.encode(frame):
            packet = RtpPacket(
                payload_type=self._section.payload_type,
                marker=int(first),
                sequence_number=self._sequence,
                timestamp=self._timestamp,
                ssrc=self._ssrc,
                payload=payload,
            )
            self._sequence = (self._sequence + 1) & 0xFFFF
            await self._transport._send_rtp(packet.serialize())
        self._timestamp = (self._timestamp + FRAME * RTP_HZ // RATE) & 0xFFFFFFFF

    def _on_end(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        self._stream = None
        self._transport._unregister_rtp_receiver(self)
        self._transport._unregister_rtp_sender(self)
        self._line.disconnect(self)
