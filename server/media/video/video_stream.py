"""A video stream (one SSRC): packets in, frames out, with repair. Uses the event loop, but not aiortc."""

from __future__ import annotations

import math
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import av

from server.core.aio import Timer
from server.core.frames import READABLE, Frame
from server.media.path_rate import to_signed_difference
from server.media.video import payload
from server.media.video.assemble import Assembler
from server.media.video.camera_state import Silence
from server.media.video.capture_clock import CaptureClock
from server.media.video.decode import DecodeLane
from server.media.video.payload import ColorSpace, EncodedFrame, Packet


class FrameSink(Protocol):
    """Receives the frames and events of a camera on the event loop (see `server.media.camera.CameraConnection`)."""

    def frame(self, frame: Frame) -> None: ...
    def packet_received(self, now: float) -> None: ...
    def rate(self, cap: int, frame_rate: int) -> None: ...
    def frames_dropped(self, reason: str, count: int = 1) -> None: ...
    def pictures_refused(self, reason: str) -> None: ...
    def key_frame_requested(self) -> None: ...
    def stream_ended(self) -> None: ...


class Feedback(Protocol):
    """Sends the requests of a stream to its sender, without waiting."""

    def send_nack(self, ssrc: int, lost: list[int]) -> None: ...
    def send_pli(self, ssrc: int) -> None: ...


class VideoStream:
    """Assembles, repairs, times and decodes the packets of one SSRC; another SSRC is another stream."""

    def __init__(
        self,
        ssrc: int,
        codec: str,
        *,
        sink: FrameSink,
        feedback: Feedback,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.ssrc = ssrc
        self.codec = codec
        self._sink = sink
        self._feedback = feedback
        self._assembler = Assembler()
        self._silence = Silence()
        self._clock = CaptureClock()
        # Colour space of the pictures; None until the sender states one
        self._colors: ColorSpace | None = None
        # A new colour space with the RTP timestamp from which it applies; None once it does
        self._new_colors: tuple[int, ColorSpace] | None = None
        self._lane = DecodeLane(
            pool,
            codec,
            on_image=self._decoded,
            on_error=self._decode_failed,
            on_drop=sink.frames_dropped,
            on_refused=sink.pictures_refused,
        )
        self._timer = Timer()
        # Deadline of the timer; infinite if none is set
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
        """Process a media packet. `data`: the RTP payload; `colors`: value of the color space extension, or empty."""
        if self._closed:
            return
        try:
            part = payload.parse(self.codec, data)
        except ValueError:
            self._sink.frames_dropped("broken")
            return
        self._silence.packet_received(now)
        if colors:
            self._learn_colors(colors, timestamp)
        packet = Packet(
            sequence, timestamp, marker, part.data, part.start, part.key, picture=part.picture
        )
        for frame in self._assembler.add(packet, now, retransmission):
            self._lane.put(frame)
        # A timer may fire early, so that most packets need no new one.
        if self._get_deadline() < self._timer_at:
            self._repair(now)

    def report(self, ntp: int, rtp: int, now: float) -> None:
        """Process a sender report: 64-bit NTP time by the sender's clock, and its RTP time."""
        self._clock.report(ntp / (1 << 32) - NTP_TO_UNIX, rtp, now)
        if self._closed:
            return
        if self._silence.asks:
            # The link is back; requests sent during the silence may be lost.
            self._feedback.send_pli(self.ssrc)
        self._silence.packet_received(now)

    def request_key_frame(self) -> None:
        """Request a key frame, at most every 0.5 s."""
        if not self._closed:
            self._assembler.decode_failed()
            self._repair(time.monotonic())

    def close(self) -> None:
        self._closed = True
        self._lane.close()
        self._timer.cancel()

    def _learn_colors(self, value: bytes, timestamp: int) -> None:
        colors = payload.parse_color_space(value)
        coming = self._new_colors
        # Most key frames repeat the known colour space.
        if colors and colors != (coming[1] if coming else self._colors):
            self._new_colors = timestamp, colors

    def _decoded(self, encoded: EncodedFrame, image: av.VideoFrame) -> None:
        # H.264 in other formats is refused before decoding.
        if image.format.name not in READABLE:
            self._sink.frames_dropped("format")
            return
        if self._new_colors and to_signed_difference(encoded.timestamp - self._new_colors[0]) >= 0:
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
            self._sink.frames_dropped("decode_error")
        if not self._closed:
            self._assembler.decode_failed(timestamp)
            self._repair(time.monotonic())

    def _get_deadline(self) -> float:
        """Return the time of the next work without a new packet; infinite for never."""
        return min(self._assembler.deadline(), self._silence.due)

    def _repair(self, now: float) -> None:
        """Send the due requests (NACK, PLI), and set the timer for the next ones."""
        assembler = self._assembler
        lost = assembler.take_nacks(now)
        if lost:
            self._feedback.send_nack(self.ssrc, lost)
        silent = self._silence.ask(now)
        if assembler.take_key_frame_request(now) or silent:
            self._feedback.send_pli(self.ssrc)
            # Once per silence, because a WebSocket message is delayed by an outage, but not lost.
            if self._silence.asks <= 1:
                self._sink.key_frame_requested()
        for reason in [*assembler.dropped]:
            self._sink.frames_dropped(reason, assembler.dropped.pop(reason))
        deadline = self._get_deadline()
        self._timer.cancel()
        self._timer_at = math.inf
        if deadline < math.inf and not self._closed:
            self._timer_at = deadline
            self._timer.set(max(0.0, deadline - now), self._on_timer, deadline)

    def _on_timer(self, deadline: float) -> None:
        self._timer_at = math.inf
        # The loop's timer may fire slightly early, but the methods compare with the exact deadline.
        now = max(time.monotonic(), deadline)
        for frame in self._assembler.poll(now):
            self._lane.put(frame)
        self._repair(now)


# Seconds from 1900 to 1970, RFC 5905 section 6.
NTP_TO_UNIX = 2_208_988_800
