"""Replace aiortc 1.16.0's RTP receiver for camera video.

`CameraReceiver` replaces `aiortc.rtcpeerconnection.RTCRtpReceiver` (looked up by name when a
transceiver is created) for video with an attached sink. `install` also extends the lists of codecs
and of header extensions. Nothing else is changed; `tests/project/test_dependencies.py` fails if the
replaced parts change.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import aiortc.rtcpeerconnection
from aiortc.codecs import CODECS, HEADER_EXTENSIONS, is_rtx
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import (
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpParameters,
    RTCRtpReceiveParameters,
)
from aiortc.rtcrtpreceiver import RTCRtpReceiver, StreamStatistics
from aiortc.rtp import (
    RTCP_PSFB_APP,
    AnyRtcpPacket,
    HeaderExtensions,
    HeaderExtensionsMap,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSrPacket,
    RtpPacket,
    pack_remb_fci,
    unpack_header_extensions,
    unwrap_rtx,
)

from server.core.aio import TaskSet, Timer
from server.media.patches import datagrams
from server.media.path_rate import Announcements, PathRate
from server.media.video.payload import COLOR_SPACE_URI
from server.media.video.video_stream import FrameSink, VideoStream

log = logging.getLogger(__name__)
# Silence of a stream (SSRC) after which another one may replace it: simulcast layers come together.
STREAM_CHANGE_SECONDS = 2.0
# Minimum time between two changes of a stream's codec
CODEC_CHANGE_SECONDS = 0.5
# Maximum SSRCs with receiver reports
MAX_SSRCS = 8


class CameraReceiver(RTCRtpReceiver):
    """Receives video for a `FrameSink`, and anything else as aiortc's receiver does.

    Owns the current stream, and the bandwidth estimate sent to the sender (REMB).
    """

    def __init__(self, kind: str, transport: RTCDtlsTransport) -> None:
        super().__init__(kind, transport)
        self._sink: FrameSink | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._rtcp_ssrc: int | None = None
        self._codecs: dict[int, RTCRtpCodecParameters] = {}
        # RTX SSRC to media SSRC, from the offer. A peer without them has only one media stream.
        self._rtx: dict[int, int] = {}
        self._stream: VideoStream | None = None
        self._stream_since = 0.0
        # Arrival of the stream's newest packet
        self._stream_heard = 0.0
        self._path = PathRate()
        self._announcements = Announcements(self._path)
        self._reports = ReceiverReports(self._send_reports)
        self._tasks = TaskSet("receiver")
        self._running = False
        self._failed = False

    def attach(self, sink: FrameSink, pool: ThreadPoolExecutor) -> None:
        """Pass frames to `sink`. Call this before `receive`."""
        self._sink = sink
        self._pool = pool

    def request_key_frame(self) -> None:
        """Request a key frame from the sender, at most every 0.5 s."""
        if self._stream is not None:
            self._stream.request_key_frame()

    # Called by aiortc

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
            if codec.payloadType is not None:
                self._codecs[codec.payloadType] = codec
        for encoding in parameters.encodings:
            if encoding.rtx:
                self._rtx[encoding.rtx.ssrc] = encoding.ssrc
        add_color_space(self.transport)
        self.transport._register_rtp_receiver(self, parameters)
        self._reports.start()

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
            now = time.monotonic()
            self._sink.packet_received(now)
            if self._stream is not None and self._stream.ssrc == packet.ssrc:
                info = packet.sender_info
                self._stream.report(info.ntp_timestamp, info.rtp_timestamp, now)
                self._reports.sender_report_received(packet.ssrc, info.ntp_timestamp, now)
        elif isinstance(packet, RtcpByePacket) and (
            # A BYE of a replaced stream must not end the newer one.
            self._stream is None or self._stream.ssrc in packet.sources
        ):
            self._end()

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        if self._sink is None:
            await super()._handle_rtp_packet(packet, arrival_time_ms)
            return
        if not self._running:
            return
        try:
            remb = self._take(packet, time.monotonic(), self._sink)
        except Exception as exc:  # noqa: BLE001
            # An error raised here would end the connection.
            self._sink.frames_dropped("broken")
            if not self._failed:
                self._failed = True
                log.error("packet failed", extra={"error": type(exc).__name__})
            return
        if remb is not None:
            await self._send_remb(packet.ssrc, remb)

    # Packets

    def _take(self, packet: RtpPacket, now: float, sink: FrameSink) -> int | None:
        """Process a packet. Return the estimate to send as REMB (bit/s) if due, else None."""
        codec = self._codecs.get(packet.payload_type)
        if codec is None:
            return None
        self._reports.count(packet, codec)
        sink.packet_received(now)
        if is_rtx(codec):
            original = self._unwrap(packet, codec)
            if original is not None:
                self._pass_on(*original, now, retransmission=True)
            return None
        remb: int | None = None
        if self._stream is None or self._stream.ssrc == packet.ssrc:
            if self._path.packet(
                now,
                packet.extensions.abs_send_time,
                len(packet.payload) + packet.padding_size,
                packet.timestamp,
                bool(packet.marker),
                packet.sequence_number,
            ) and self._announcements.take_due_page_limits(now):
                sink.rate(self._path.cap, self._path.frame_rate)
            remb = self._announcements.take_due_remb(now)
        self._pass_on(packet, codec, now, retransmission=False)
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

    def _pass_on(
        self, packet: RtpPacket, codec: RTCRtpCodecParameters, now: float, *, retransmission: bool
    ) -> None:
        stream = self._stream_of(packet.ssrc, codec.name.upper(), now)
        if stream is not None:
            stream.packet(
                packet.sequence_number,
                packet.timestamp,
                bool(packet.marker),
                packet.payload,
                now,
                retransmission=retransmission,
                colors=get_color_space(packet),
            )

    def _stream_of(self, ssrc: int, codec: str, now: float) -> VideoStream | None:
        stream = self._stream
        if stream is not None:
            if stream.ssrc == ssrc and stream.codec == codec:
                self._stream_heard = now
                return stream
            if stream.ssrc != ssrc and now - self._stream_heard < STREAM_CHANGE_SECONDS:
                return None
            if now - self._stream_since < CODEC_CHANGE_SECONDS:
                return None
            stream.close()
        assert self._pool is not None
        assert self._sink is not None
        self._stream_since = self._stream_heard = now
        self._stream = VideoStream(ssrc, codec, sink=self._sink, feedback=self, pool=self._pool)
        return self._stream

    # RTCP out

    def send_nack(self, ssrc: int, lost: list[int]) -> None:
        self._spawn(self._send_rtcp_nack(ssrc, lost), "nack")

    def send_pli(self, ssrc: int) -> None:
        self._spawn(self._send_rtcp_pli(ssrc), "pli")

    def _spawn(self, coro: Coroutine[Any, Any, None], name: str) -> None:
        if self._running:
            self._tasks.spawn(coro, name=name)
        else:
            coro.close()

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

    def _send_reports(self, reports: list[RtcpReceiverInfo]) -> None:
        if self._rtcp_ssrc is not None:
            packet = RtcpRrPacket(ssrc=self._rtcp_ssrc, reports=reports)
            self._spawn(self._send_rtcp(packet), "report")

    def _end(self) -> None:
        """End the stream and the reports. It may be called more than once."""
        self._reports.stop()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._running and self._sink is not None:
            self._running = False
            self._sink.stream_ended()


class ReceiverReports:
    """Sends receiver reports of a connection's streams (RFC 3550 section 6.4.2), about once a second.

    Bounds of streams with reports: 8; the oldest is dropped.
    """

    def __init__(self, send: Callable[[list[RtcpReceiverInfo]], None]) -> None:
        self._send = send
        self._statistics: dict[int, StreamStatistics] = {}
        # SSRC, middle 32 bits of the NTP time, and arrival of the last sender report
        self._heard: tuple[int, int, float] | None = None
        self._timer = Timer()

    def start(self) -> None:
        # Varied over [0.5, 1.5] times the interval (RFC 3550 section 6.2).
        self._timer.set(0.5 + random.random(), self._report)

    def stop(self) -> None:
        self._timer.cancel()

    def count(self, packet: RtpPacket, codec: RTCRtpCodecParameters) -> None:
        statistics = self._statistics.get(packet.ssrc)
        if statistics is None:
            if len(self._statistics) >= MAX_SSRCS:
                self._statistics.pop(next(iter(self._statistics)))
            statistics = self._statistics[packet.ssrc] = StreamStatistics(codec.clockRate)
        statistics.add(packet)

    def sender_report_received(self, ssrc: int, ntp: int, now: float) -> None:
        """Record a sender report of the current stream."""
        self._heard = ssrc, ntp >> 16 & 0xFFFFFFFF, now

    def _report(self) -> None:
        # First, so that a failing report is not the last one.
        self.start()
        now = time.monotonic()
        reports = []
        for ssrc, statistics in self._statistics.items():
            lsr, dlsr = 0, 0
            if self._heard is not None and self._heard[0] == ssrc:
                lsr = self._heard[1]
                dlsr = min(0xFFFFFFFF, int((now - self._heard[2]) * 65536))
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
        if reports:
            self._send(reports)


def _list_more_h264() -> list[RTCRtpCodecParameters]:
    """Return H.264 codecs that libav decodes, but aiortc does not list.

    They are the profiles main, high and constrained high (RFC 6184 section 8.1), and aiortc's own
    ones for single NAL units.
    """
    video = CODECS["video"]
    known = {
        (codec.parameters.get("packetization-mode"), codec.parameters.get("profile-level-id"))
        for codec in video
    }
    stock, rtx = (next(codec for codec in video if codec.name == name) for name in ("H264", "rtx"))
    free = 1 + max(codec.payloadType or 0 for codec in video)
    more: list[RTCRtpCodecParameters] = []
    for mode in ("1", "0"):
        for profile in ("42001f", "42e01f", "4d001f", "64001f", "640c1f"):
            if (mode, profile) not in known:
                about: dict[str, int | str | None] = {
                    "packetization-mode": mode,
                    "profile-level-id": profile,
                }
                more += [
                    replace(stock, payloadType=free, parameters=stock.parameters | about),
                    replace(rtx, payloadType=free + 1, parameters={"apt": free}),
                ]
                free += 2
    return more


def _know_color_space() -> None:
    known = HEADER_EXTENSIONS["video"]
    if all(extension.uri != COLOR_SPACE_URI for extension in known):
        # An answer uses the id of the offer.
        free = 1 + max(extension.id for extension in known)
        known.append(RTCRtpHeaderExtensionParameters(id=free, uri=COLOR_SPACE_URI))


def install() -> None:
    """Install the replacements of this module and of `datagrams`. It may be called again."""
    CODECS["video"] += _list_more_h264()
    _know_color_space()
    aiortc.rtcpeerconnection.RTCRtpReceiver = CameraReceiver  # type: ignore[attr-defined]
    datagrams.install()
    datagrams.guard_transport(RTCDtlsTransport)


# Support for the RTP header extension of the color space, attached to key frames


@dataclass
class ColoredExtensions(HeaderExtensions):
    """Header extensions of a packet with a color space."""

    color_space: bytes = b""


class ColoredMap(HeaderExtensionsMap):
    """Replaces a transport's map and takes over its contents."""

    def __init__(self, known: HeaderExtensionsMap) -> None:
        vars(self).update(vars(known))
        # Id of the extension in this connection; 0 for none
        self._color_space = 0

    def configure(self, parameters: RTCRtpParameters) -> None:
        super().configure(parameters)
        for extension in parameters.headerExtensions:
            if extension.uri == COLOR_SPACE_URI:
                self._color_space = extension.id

    def get(self, extension_profile: int, extension_value: bytes) -> HeaderExtensions:
        """Parse a packet's extensions.

        Raises ValueError, struct.error and others for malformed ones, as its base class does.
        """
        values = super().get(extension_profile, extension_value)
        # Few packets have the extension: a value that is too short needs no second parsing.
        if self._color_space and len(extension_value) > 4:
            for number, value in unpack_header_extensions(extension_profile, extension_value):
                if number == self._color_space:
                    return ColoredExtensions(**vars(values), color_space=value)
        return values


def get_color_space(packet: RtpPacket) -> bytes:
    """Return the extension's value; empty if the packet has none."""
    extensions = packet.extensions
    return extensions.color_space if isinstance(extensions, ColoredExtensions) else b""


def add_color_space(transport: RTCDtlsTransport) -> None:
    """Replace a transport's map before its receivers register. It may be called again."""
    known = transport._rtp_header_extensions_map
    if not isinstance(known, ColoredMap):
        transport._rtp_header_extensions_map = ColoredMap(known)
