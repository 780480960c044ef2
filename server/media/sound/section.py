"""The audio section of one connection: receives the microphone, and sends speech.

It uses the camera's DTLS transport beside aiortc, which knows nothing of it. aiortc's own receiver
delays sound by up to 290 ms after one lost packet, and its sender runs always; both cost more.
"""

from __future__ import annotations

import asyncio
import random
import time
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

from server.core.aio import Pulse, TaskSet, Timer
from server.media.sdp import LEVEL_URI, VoiceSection
from server.media.sound.line import FRAME, RATE, VoiceLine
from server.media.sound.microphone import (
    OFF_SECONDS,
    RTP_HZ,
    MicrophoneStream,
    OpusEncoder,
    SoundBudget,
)

FRAME_SECONDS = FRAME / RATE
# Silent packets behind speech: without them the listener's decoder stretches its last sound.
SILENT_PACKETS = 10
# Speech that is this late is sent from now on, not faster.
LATE_SECONDS = 0.2
# A chunk that comes within this time goes on where the one before ended: the listener's decoder
# bridges the gap. After a longer one the stream's time has gone on.
BRIDGED_SECONDS = 0.2
# Least time between two changes of the microphone's stream (SSRC)
STREAM_CHANGE_SECONDS = 3.0
_SILENCE = np.zeros(FRAME, np.int16)


class SoundSection:
    """Joins a connection's audio section with a `VoiceLine`. aiortc's router calls it."""

    def __init__(self, section: VoiceSection, transport: RTCDtlsTransport, line: VoiceLine) -> None:
        self._section = section
        self._transport = transport
        self._line = line
        # Of the stream that is sent; aiortc's router reads it.
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
        # Time for which `_timestamp` is; None before the first packet
        self._sent_at: float | None = None
        self._encoder: OpusEncoder | None = None
        # Ends the pause before the next frame: the packet that ends the sound need not wait for its
        # turn. The end of the last frame is in it, since the codec overlaps them.
        self._hush = Pulse()

    @property
    def ssrc(self) -> int:
        return self._ssrc

    def open(self) -> None:
        """Take the section's packets from now on, and put the connection on the line."""
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
            self._line.player.on_ready = self._talk_soon
            self._line.player.on_hush = self._hush.wake
            self._talk_soon()

    async def close(self) -> None:
        """Take the connection off the line. Safe to call more than once."""
        self._end()
        await self._tasks.close()

    # Called by aiortc

    def _handle_disconnect(self) -> None:
        self._end()

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        """Ignore reports: the clock is this machine's, and nothing is sent again."""

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
                partial(self._line.sound, self), self._line.dropped, self._budget
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
            self._line.sends(self, sending)

    # Speech

    def _talk_soon(self) -> None:
        if not self._talking and not self._closed and self._line.player.ready:
            self._talking = True
            self._tasks.spawn(self._talk(), name="talk")

    async def _talk(self) -> None:
        """Send frames, one each 20 ms, until there are none."""
        try:
            await self._send_all()
        except ConnectionError:
            # The connection's end has its own way.
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
            if frame is None and not player.resting:
                # The rest is late: nothing is sent until a whole frame is there, which goes on
                # where the last one ended.
                return
            silent = 0 if frame is not None else silent + 1
            await self._send(_SILENCE if frame is None else frame, first)
            first = False
            at += FRAME_SECONDS
            self._sent_at = at
            behind = loop.time() - at
            if behind > LATE_SECONDS:
                at += behind
            await self._hush.wait(at)

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

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        self._stream = None
        self._transport._unregister_rtp_receiver(self)
        self._transport._unregister_rtp_sender(self)
        self._line.disconnect(self)
