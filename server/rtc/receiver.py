"""What replaces parts of aiortc 1.16.0 and aioice 0.13.0; `tests/test_receiver.py` fails when those change underneath.

Replaced are one class, `aiortc.rtcpeerconnection.RTCRtpReceiver` (looked up by name when a transceiver is
made), for video that somebody attached a sink to, and one method, `aioice.ice.StunProtocol.datagram_received`.
Nothing else of either package is touched.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import aioice.ice
import aiortc.rtcpeerconnection
import av
from aiortc.codecs import is_rtx
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import RTCRtpReceiver, StreamStatistics
from aiortc.rtp import (
    RTCP_PSFB_APP,
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSrPacket,
    RtpPacket,
    pack_remb_fci,
    unwrap_rtx,
)

from server.aio import TaskSet
from server.frames import Frame
from server.rtc import payload
from server.rtc.assemble import Assembler, EncodedFrame, Packet
from server.rtc.capture_clock import CaptureClock
from server.rtc.decode import DecodeLane
from server.rtc.rate import PathRate

log = logging.getLogger(__name__)

NTP_EPOCH_OFFSET = 2_208_988_800  # seconds from 1900 to 1970, RFC 5905 section 6
# A new stream (SSRC) may replace the old one this often; a peer that jumps about is not followed faster.
STREAM_CHANGE_SECONDS = 0.5


class FrameSink(Protocol):
    """Who takes a camera's frames; called on the event loop (see `server.camera.Feed`)."""

    def frame(self, frame: Frame) -> None: ...
    def packet(self, now: float) -> None: ...
    def report(self, now: float) -> None: ...
    def rate(self, cap: int, frame_rate: int) -> None: ...
    def dropped(self, reason: str, count: int = 1) -> None: ...
    def ended(self) -> None: ...


class _Stream:
    """Everything that belongs to one SSRC; a new one starts with nothing of the old."""

    def __init__(self, ssrc: int, codec: str, lane: DecodeLane) -> None:
        self.ssrc = ssrc
        self.codec = codec
        self.lane = lane
        self.assembler = Assembler()
        self.clock = CaptureClock()
        self.dropped: dict[str, int] = {}
        # The middle 32 bits of the last sender report's NTP time, and when it came (RFC 3550 section 6.4.1).
        self.report: tuple[int, float] | None = None


class CameraReceiver(RTCRtpReceiver):
    """Receives video for a `FrameSink`; anything else as aiortc does.

    It owns assembly, repair (NACK, PLI), the estimate told to the sender (REMB) and decoding, and has one timer.
    """

    def __init__(self, kind: str, transport: RTCDtlsTransport) -> None:
        super().__init__(kind, transport)
        self._sink: FrameSink | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._rtcp_ssrc: int | None = None
        self._codecs: dict[int, RTCRtpCodecParameters] = {}
        # RTX SSRC to media SSRC, as the offer said; a peer that says nothing has one media stream anyway.
        self._rtx: dict[int, int] = {}
        self._stream: _Stream | None = None
        self._stream_since = 0.0
        self._statistics: dict[int, StreamStatistics] = {}
        self._path = PathRate()
        self._timer: asyncio.TimerHandle | None = None
        self._report_timer: asyncio.TimerHandle | None = None
        self._tasks = TaskSet("receiver")
        self._running = False
        self._failures = 0

    def attach(self, sink: FrameSink, pool: ThreadPoolExecutor) -> None:
        """Frames go to `sink` from now on; before `receive` only."""
        self._sink = sink
        self._pool = pool

    def request_key_frame(self) -> None:
        """Ask the sender for a key frame, at the rate that repair allows."""
        if self._stream is not None and self._running:
            self._stream.assembler.decode_failed()
            self._repair(time.monotonic())

    # What aiortc calls

    def _set_rtcp_ssrc(self, ssrc: int) -> None:
        super()._set_rtcp_ssrc(ssrc)
        self._rtcp_ssrc = ssrc

    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        if self._sink is None:
            await super().receive(parameters)
            return
        if self._running:
            return
        self._running = True
        for codec in parameters.codecs:
            self._codecs[codec.payloadType] = codec
        for encoding in parameters.encodings:
            if encoding.rtx:
                self._rtx[encoding.rtx.ssrc] = encoding.ssrc
        self.transport._register_rtp_receiver(self, parameters)
        self._report_later()

    async def stop(self) -> None:
        if self._sink is None:
            await super().stop()
            return
        if self._running:
            self.transport._unregister_rtp_receiver(self)
        self._end()
        await self._tasks.close()

    def _handle_disconnect(self) -> None:
        if self._sink is None:
            super()._handle_disconnect()
        else:
            self._end()

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        if self._sink is None:
            await super()._handle_rtcp_packet(packet)
        elif isinstance(packet, RtcpSrPacket):
            self._sender_report(packet)
        elif isinstance(packet, RtcpByePacket):
            self._end()

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        if self._sink is None:
            await super()._handle_rtp_packet(packet, arrival_time_ms)
            return
        if not self._running:
            return
        try:
            remb = self._take(packet, time.monotonic())
        except Exception as exc:  # noqa: BLE001
            # Raised from here it would end the whole connection.
            self._failures += 1
            self._sink.dropped("broken")
            if self._failures == 1:
                log.error("packet failed", extra={"error": type(exc).__name__})
            return
        if remb is not None:
            await self._send_remb(packet.ssrc, remb)

    # Packets

    def _take(self, packet: RtpPacket, now: float) -> int | None:
        """Returns the estimate to tell the sender (bit/s), when it is time to."""
        codec = self._codecs.get(packet.payload_type)
        sink = self._sink
        if codec is None or sink is None:
            return None
        statistics = self._statistics.get(packet.ssrc)
        if statistics is None:
            if len(self._statistics) >= 8:
                self._statistics.pop(next(iter(self._statistics)))
            statistics = self._statistics[packet.ssrc] = StreamStatistics(codec.clockRate)
        statistics.add(packet)
        sink.packet(now)
        retransmission = is_rtx(codec)
        if retransmission:
            original = self._unwrap(packet, codec)
            if original is None:
                return None
            packet, codec = original
        stream = self._stream_of(packet, codec, now)
        if stream is None:
            return None
        remb: int | None = None
        if not retransmission:
            size = len(packet.payload) + packet.padding_size
            if self._path.packet(
                now,
                packet.extensions.abs_send_time,
                size,
                packet.timestamp,
                bool(packet.marker),
            ):
                self._tell_rate(now)
            remb = self._path.remb_due(now)
        try:
            part = payload.parse(stream.codec, packet.payload)
        except ValueError:
            sink.dropped("broken")
            return remb
        frames = stream.assembler.add(
            Packet(
                packet.sequence_number,
                packet.timestamp,
                bool(packet.marker),
                part.data,
                part.start,
                part.key,
            ),
            now,
            retransmission,
        )
        for frame in frames:
            stream.lane.put(frame)
        deadline = stream.assembler.deadline()
        if deadline is not None:
            self._repair(now)
        return remb

    def _unwrap(
        self, packet: RtpPacket, codec: RTCRtpCodecParameters
    ) -> tuple[RtpPacket, RTCRtpCodecParameters] | None:
        apt = codec.parameters.get("apt")
        ssrc = self._rtx.get(packet.ssrc)
        if ssrc is None and self._stream is not None:
            ssrc = self._stream.ssrc
        if ssrc is None or len(packet.payload) < 2 or not isinstance(apt, int):
            return None
        original = self._codecs.get(apt)
        if original is None:
            return None
        return unwrap_rtx(packet, payload_type=apt, ssrc=ssrc), original

    def _stream_of(
        self, packet: RtpPacket, codec: RTCRtpCodecParameters, now: float
    ) -> _Stream | None:
        stream = self._stream
        name = codec.name.upper()
        if stream is not None and stream.ssrc == packet.ssrc and stream.codec == name:
            return stream
        if stream is not None and now - self._stream_since < STREAM_CHANGE_SECONDS:
            return None
        if stream is not None:
            stream.lane.close()
        assert self._pool is not None
        self._stream_since = now
        self._stream = stream = _Stream(
            packet.ssrc,
            name,
            DecodeLane(
                self._pool,
                name,
                on_image=self._decoded,
                on_error=self._decode_failed,
                on_drop=self._backlogged,
            ),
        )
        return stream

    def _sender_report(self, packet: RtcpSrPacket) -> None:
        now = time.monotonic()
        stream = self._stream
        if self._sink is None:
            return
        self._sink.report(now)
        if stream is not None and packet.ssrc == stream.ssrc:
            ntp = packet.sender_info.ntp_timestamp
            stream.report = ((ntp >> 16) & 0xFFFFFFFF, now)
            stream.clock.report(
                ntp / (1 << 32) - NTP_EPOCH_OFFSET, packet.sender_info.rtp_timestamp
            )

    # Frames

    def _decoded(self, encoded: EncodedFrame, image: av.VideoFrame) -> None:
        stream, sink = self._stream, self._sink
        if stream is None or sink is None or not self._running:
            return
        capture = stream.clock.frame(encoded.timestamp, encoded.first_arrival)
        sink.frame(
            Frame(
                id=uuid.uuid4().hex[:12],
                image=image,
                width=image.width,
                height=image.height,
                captured=capture.local,
                captured_sender=capture.sender,
                arrived=encoded.first_arrival,
                rtp_time=capture.rtp_time,
            )
        )

    def _decode_failed(self) -> None:
        if self._sink is not None:
            self._sink.dropped("decode_error")
        self.request_key_frame()

    def _backlogged(self, count: int) -> None:
        if self._sink is not None:
            self._sink.dropped("backlog", count)

    # Repair

    def _repair(self, now: float) -> None:
        """Send what is due (NACK, PLI), and come back when the next thing is."""
        stream = self._stream
        if stream is None or not self._running:
            return
        assembler = stream.assembler
        lost = assembler.nacks(now)
        if lost:
            self._spawn(self._send_rtcp_nack(stream.ssrc, lost), "nack")
        if assembler.key_frame_wanted(now):
            self._spawn(self._send_rtcp_pli(stream.ssrc), "pli")
        self._count_drops(stream)
        deadline = assembler.deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_later(
                max(0.0, deadline - now), self._timer_fired, stream, deadline
            )

    def _timer_fired(self, stream: _Stream, deadline: float) -> None:
        self._timer = None
        if stream is not self._stream or not self._running:
            return
        # The loop's timer may fire a tick early; the assembler compares with the number it gave.
        now = max(time.monotonic(), deadline)
        for frame in stream.assembler.poll(now):
            stream.lane.put(frame)
        self._repair(now)

    def _count_drops(self, stream: _Stream) -> None:
        for reason, count in stream.assembler.dropped.items():
            more = count - stream.dropped.get(reason, 0)
            if more and self._sink is not None:
                self._sink.dropped(reason, more)
                stream.dropped[reason] = count

    # RTCP out

    def _spawn(self, coro: Any, name: str) -> None:
        if self._running:
            self._tasks.spawn(coro, name=name)
        else:
            coro.close()

    def _tell_rate(self, now: float) -> None:
        told = self._path.plan_due(now)
        if told is not None and self._sink is not None:
            self._sink.rate(*told)

    async def _send_remb(self, media_ssrc: int, bitrate: int) -> None:
        if self._rtcp_ssrc is not None:
            await self._send_rtcp(
                RtcpPsfbPacket(
                    fmt=RTCP_PSFB_APP,
                    ssrc=self._rtcp_ssrc,
                    media_ssrc=0,
                    fci=pack_remb_fci(bitrate, [media_ssrc]),
                )
            )

    def _report_later(self) -> None:
        # Varied over [0.5, 1.5] times the interval, RFC 3550 section 6.2.
        self._report_timer = asyncio.get_running_loop().call_later(
            0.5 + random.random(), self._report
        )

    def _report(self) -> None:
        now = time.monotonic()
        stream = self._stream
        reports = []
        for ssrc, statistics in self._statistics.items():
            lsr, dlsr = 0, 0
            if stream is not None and stream.ssrc == ssrc and stream.report is not None:
                lsr = stream.report[0]
                dlsr = min(0xFFFFFFFF, int((now - stream.report[1]) * 65536))
            reports.append(
                RtcpReceiverInfo(
                    ssrc=ssrc,
                    fraction_lost=statistics.fraction_lost,
                    packets_lost=statistics.packets_lost,
                    highest_sequence=(statistics.cycles + (statistics.max_seq or 0)) & 0xFFFFFFFF,
                    jitter=statistics.jitter & 0xFFFFFFFF,
                    lsr=lsr,
                    dlsr=dlsr,
                )
            )
        if reports and self._rtcp_ssrc is not None:
            packet = RtcpRrPacket(ssrc=self._rtcp_ssrc, reports=reports)
            self._spawn(self._send_rtcp(packet), "report")
        if self._running:
            self._report_later()

    def _end(self) -> None:
        """No more frames. Safe to call more than once."""
        if not self._running and self._stream is None:
            return
        self._running = False
        for timer in (self._timer, self._report_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._report_timer = None
        if self._stream is not None:
            self._stream.lane.close()
            self._stream = None
        if self._sink is not None:
            self._sink.ended()


def _checked_datagram_received(
    stock: Callable[[aioice.ice.StunProtocol, bytes, tuple[Any, ...]], None],
) -> Callable[[aioice.ice.StunProtocol, bytes, tuple[Any, ...]], None]:
    """aioice hands every datagram that is not STUN to DTLS, whoever sent it; a stranger can end a session so.

    Only those from an address that proved itself go on (OWASP ASVS 5, 17.2.6): our check of it has succeeded, or
    it has sent an authenticated check that nominates the pair, which may be a moment earlier.
    """

    def datagram_received(
        self: aioice.ice.StunProtocol, data: bytes, addr: tuple[Any, ...]
    ) -> None:
        # RFC 7983: STUN begins with 0 to 3. An empty datagram would break DTLS's look at the first byte.
        if not data:
            return
        if data[0] > 3:
            remote = (addr[0], addr[1])
            if not any(
                pair.protocol is self
                and pair.remote_addr == remote
                and (
                    pair.state is aioice.ice.CandidatePair.State.SUCCEEDED or pair.remote_nominated
                )
                for pair in self.receiver._check_list
            ):
                return
        stock(self, data, addr)

    return datagram_received


# Kept for the guard test, which has to see aiortc's own after `install`.
STOCK_DATAGRAM_RECEIVED = aioice.ice.StunProtocol.datagram_received
_installed = False


def install() -> None:
    """Put the replacements in place, once a process."""
    global _installed
    if not _installed:
        aiortc.rtcpeerconnection.RTCRtpReceiver = CameraReceiver  # type: ignore[misc]
        aioice.ice.StunProtocol.datagram_received = _checked_datagram_received(
            STOCK_DATAGRAM_RECEIVED
        )
        _installed = True
