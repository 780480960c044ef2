"""One video stream (one SSRC): from its packets to frames, with repair. Knows the event loop, not aiortc."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from typing import Protocol

import av

from server.core.frames import Frame
from server.rtc.media import color_space, payload
from server.rtc.media.assemble import Assembler
from server.rtc.media.capture_clock import CaptureClock
from server.rtc.media.color_space import ColorSpace
from server.rtc.media.decode import DecodeLane, DecodePool
from server.rtc.media.packet import EncodedFrame, Packet, newer
from server.rtc.media.silence import Silence

# Pixel formats that the rest of the program reads: planar, 8 bits, 4:2:0. Others of H.264 are refused before they are decoded.
READABLE = frozenset({"yuv420p", "yuvj420p"})


class FrameSink(Protocol):
    """Who takes a camera's frames; called on the event loop (see `server.camera.camera.Feed`)."""

    def frame(self, frame: Frame) -> None: ...
    def packet(self, now: float) -> None: ...
    def report(self, now: float) -> None: ...
    def rate(self, cap: int, frame_rate: int) -> None: ...
    def dropped(self, reason: str, count: int = 1) -> None: ...
    def refused(self, reason: str) -> None: ...
    def key_frame_asked(self) -> None: ...
    def ended(self) -> None: ...


class Feedback(Protocol):
    """How a stream asks its sender for something; neither call waits."""

    def send_nack(self, ssrc: int, lost: list[int]) -> None: ...
    def send_pli(self, ssrc: int) -> None: ...


class VideoStream:
    """Owns assembly, repair by time, capture times and decoding of one SSRC. A new SSRC gets a new one."""

    def __init__(
        self,
        ssrc: int,
        codec: str,
        *,
        sink: FrameSink,
        feedback: Feedback,
        pool: DecodePool,
    ) -> None:
        self.ssrc = ssrc
        self.codec = codec
        # The middle 32 bits of the last sender report's NTP time, and when it came (RFC 3550 section 6.4.1).
        self.last_report: tuple[int, float] | None = None
        self._sink = sink
        self._feedback = feedback
        self._assembler = Assembler()
        self._silence = Silence()
        self._clock = CaptureClock()
        # How pictures stand for colours; None until the sender said so.
        self._colors: ColorSpace | None = None
        # How they do from this RTP timestamp on; None once that has come.
        self._new_colors: tuple[int, ColorSpace] | None = None
        self._lane = DecodeLane(
            pool,
            codec,
            on_image=self._decoded,
            on_error=self._decode_failed,
            on_drop=sink.dropped,
            on_refused=sink.refused,
        )
        # What of the assembler's drops was told to the sink already.
        self._told_drops: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        # The deadline that it was set for; infinite without it.
        self._timer_at = math.inf
        self._closed = False

    def packet(
        self,
        sequence: int,
        timestamp: int,
        marker: bool,
        data: bytes,
        now: float,
        *,
        retransmission: bool,
        colors: bytes = b"",
    ) -> None:
        """`data`: the RTP payload, as it came; `colors`: the color space extension's value, if it has one."""
        if self._closed:
            return
        try:
            part = payload.parse(self.codec, data)
        except ValueError:
            self._sink.dropped("broken")
            return
        self._silence.heard(now)
        if colors:
            self._learn_colors(colors, timestamp)
        packet = Packet(sequence, timestamp, marker, part.data, part.start, part.key)
        for frame in self._assembler.add(packet, now, retransmission):
            self._lane.put(frame)
        # A timer that is early does no harm, and most packets need no other.
        if self._deadline() < self._timer_at:
            self._repair(now)

    def report(self, ntp: int, rtp: int, now: float) -> None:
        """A sender report: 64-bit NTP time by the sender's clock, and the RTP time that goes with it."""
        self.last_report = ((ntp >> 16) & 0xFFFFFFFF, now)
        self._clock.report(ntp / (1 << 32) - NTP_TO_UNIX, rtp, now)
        if self._closed:
            return
        if self._silence.asks:
            # The link is there again, and what was asked for meanwhile may be lost.
            self._feedback.send_pli(self.ssrc)
        self._silence.heard(now)

    def request_key_frame(self) -> None:
        """Ask for a key frame, at the rate that repair allows."""
        if not self._closed:
            self._assembler.decode_failed()
            self._repair(time.monotonic())

    def close(self) -> None:
        self._closed = True
        self._lane.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _learn_colors(self, value: bytes, timestamp: int) -> None:
        colors = color_space.parse(value)
        coming = self._new_colors
        # Most key frames say what is known.
        if colors and colors != (coming[1] if coming else self._colors):
            self._new_colors = timestamp, colors

    def _decoded(self, encoded: EncodedFrame, image: av.VideoFrame) -> None:
        if image.format.name not in READABLE:
            self._sink.dropped("format")
            return
        if self._new_colors and newer(encoded.timestamp, self._new_colors[0]) >= 0:
            self._colors, self._new_colors = self._new_colors[1], None
        if self._colors:
            image.colorspace, image.color_range = self._colors.matrix, self._colors.range
        capture = self._clock.frame(encoded.timestamp, encoded.first_arrival)
        self._sink.frame(
            Frame(
                id=uuid.uuid4().hex[:12],
                image=image,
                width=image.width,
                height=image.height,
                captured=capture.local,
                captured_sender=capture.sender,
                arrived=encoded.first_arrival,
                rtp_time=capture.rtp_time,
                clock_doubted=capture.doubted,
            )
        )

    def _decode_failed(self, timestamp: int | None) -> None:
        if timestamp is not None:
            self._sink.dropped("decode_error")
        if not self._closed:
            self._assembler.decode_failed(timestamp)
            self._repair(time.monotonic())

    def _deadline(self) -> float:
        """When there is something to do without a further packet; infinite for never."""
        due = self._assembler.deadline()
        silent = self._silence.deadline()
        return silent if due is None or silent < due else due

    def _repair(self, now: float) -> None:
        """Send what is due (NACK, PLI), and come back when the next thing is."""
        assembler = self._assembler
        lost = assembler.nacks(now)
        if lost:
            self._feedback.send_nack(self.ssrc, lost)
        silent = self._silence.ask(now)
        if assembler.key_frame_wanted(now) or silent:
            self._feedback.send_pli(self.ssrc)
            # Once in a silence: what goes over a WebSocket is late behind a cut, but not lost.
            if self._silence.asks <= 1:
                self._sink.key_frame_asked()
        for reason, count in assembler.dropped.items():
            more = count - self._told_drops.get(reason, 0)
            if more:
                self._told_drops[reason] = count
                self._sink.dropped(reason, more)
        deadline = self._deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = math.inf
        if deadline < math.inf and not self._closed:
            self._timer_at = deadline
            self._timer = asyncio.get_running_loop().call_later(
                max(0.0, deadline - now), self._timer_fired, deadline
            )

    def _timer_fired(self, deadline: float) -> None:
        self._timer = None
        self._timer_at = math.inf
        # The loop's timer may fire a tick early; whoever gave the number compares with it.
        now = max(time.monotonic(), deadline)
        for frame in self._assembler.poll(now):
            self._lane.put(frame)
        self._repair(now)


# Seconds from 1900 to 1970, RFC 5905 section 6.
NTP_TO_UNIX = 2_208_988_800
