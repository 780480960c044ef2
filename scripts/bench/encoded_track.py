"""A video track of ready-made frames, and what aiortc's sender lacks for such a one."""

from __future__ import annotations

import time
from collections import deque
from fractions import Fraction
from typing import Any

import av
from aiortc import MediaStreamTrack, RTCRtpSender
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtcpSrPacket

from scripts.bench.live_encoder import TIMES_KEPT, EncodedFrame, Feed

# Seconds between 1900 (NTP) and 1970 (epoch)
NTP_OFFSET = 2_208_988_800


class EncodedTrack(MediaStreamTrack):
    """A video track of ready-made frames: aiortc cuts them into packets and encodes nothing."""

    kind = "video"

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed
        self.sent = 0
        self.bytes = 0
        # When the newest were sent, monotonic seconds
        self.times: deque[float] = deque(maxlen=TIMES_KEPT)
        # For the next sender report: the capture time of the newest frame
        self.newest: EncodedFrame | None = None

    async def recv(self) -> av.Packet[Any]:
        if self.readyState != "live":
            raise MediaStreamError
        frame = await self._feed.frames.get()
        self.newest = frame
        self.sent += 1
        self.times.append(time.monotonic())
        self.bytes += len(frame.data)
        packet = av.Packet(frame.data)
        packet.pts = frame.rtp_time
        packet.time_base = Fraction(1, 90_000)
        return packet

    def drive(self, sender: RTCRtpSender) -> None:
        """Two things that aiortc's sender does not do for frames that it did not encode itself."""
        # A key frame that is asked for is the encoder's business.
        sender._send_keyframe = self._feed.request_key  # type: ignore[method-assign]
        send_rtcp = sender._send_rtcp

        async def send_with_capture_time(packets: list[Any]) -> None:
            # A sender report maps RTP time to the time of capture, as a browser's does; aiortc
            # writes the time of sending.
            for packet in packets:
                if isinstance(packet, RtcpSrPacket):
                    if self.newest is None:
                        return
                    packet.sender_info.ntp_timestamp = int(
                        (self.newest.captured + NTP_OFFSET) * 2**32
                    )
            await send_rtcp(packets)

        sender._send_rtcp = send_with_capture_time  # type: ignore[method-assign]
