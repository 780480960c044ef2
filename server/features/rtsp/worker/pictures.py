"""Decode one camera: on demand, and only the newest picture."""

from __future__ import annotations

import resource
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, VideoReformatter

from server.features.rtsp.worker.rtsp import EncodedPicture, FailureReason, SourceFailed
from server.media.video.decode import (
    MAX_PIXELS,
    Bits,
    FormatRefused,
    H264Frames,
    PicturesTooLarge,
    fits,
)

# Maximum frames since the last key frame kept undecoded while no picture is needed (20 s at 30 frames/s),
# and their bytes. Beyond, they are dropped until the next key frame.
KEPT_UNITS = 600
KEPT_BYTES = 16 << 20
# Maximum delay of decoding while pictures are needed; beyond, it skips to the next key frame.
LATE_SECONDS = 1.0
# Time limit for one frame: a progressive JPEG within the size limit can take minutes.
DECODE_SECONDS = 5.0
# Maximum macroblocks of all pictures that an H.264 decoder keeps: the references of level 5.2 (table
# A-1), and three of 4096×4096. 196 MiB.
KEPT_MACROBLOCKS = 184_320 + 3 * 65_536
_DECODERS = {"H264": "h264", "H265": "hevc", "JPEG": "mjpeg"}
# Seconds after a first failed frame, without any good one, after which the next failure ends the
# connection. A count would not do: after a failed frame only key frames are decoded.
FAILING_SECONDS = 10.0
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """Decoded picture: 8-bit planar 4:2:0 with even sides, planes without padding. `at`: see `EncodedPicture`."""

    data: bytes
    width: int
    height: int
    at: float
    # libav's numbers of colour space and range
    colorspace: int
    color_range: int


class PictureDecoder:
    """Decoder of one camera's frames. Thread-safe.

    `send(picture)` is called on the decoding thread, at most `rate` times a second, and not again before
    `taken`. With the rate 0 nothing is decoded; the frames since the last key frame are kept, so that
    a question gets a picture at once.
    """

    def __init__(self, codec: str, send: Callable[[DecodedPicture], None]) -> None:
        self._send = send
        # True if every frame is a key frame
        self._alone = codec == "JPEG"
        # Validates H.264 frames
        self._checks = H264Frames(KEPT_MACROBLOCKS) if codec == "H264" else None
        self._codec = codec
        # None after a gap: the next frames must not refer to pictures before it
        self._decoder: VideoCodecContext | None = None
        self._format = VideoReformatter()
        self._change = threading.Condition()
        # The following attributes are guarded by the condition's lock.
        self._units: deque[EncodedPicture] = deque()
        self._bytes = 0
        self._need_key = True
        self._rate = 0.0
        self._free = True
        self._due = 0.0
        # Start of the current decoding, monotonic seconds; None while idle
        self._busy: float | None = None
        self._closed = False
        self._failed: SourceFailed | None = None
        # Arrival of the first of consecutive failed frames, monotonic seconds; None if there is none
        self._failing: float | None = None
        self.decoded = self.dropped = 0

    def _open(self) -> VideoCodecContext:
        decoder = av.CodecContext.create(_DECODERS[self._codec], "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.thread_count = 1
        decoder.options = {"max_pixels": str(MAX_PIXELS), "flags": "low_delay"}
        return decoder

    def put(self, unit: EncodedPicture) -> None:
        """Add the next frame. Raises SourceFailed if decoding of earlier ones failed or takes too long."""
        with self._change:
            if self._failed is not None:
                raise self._failed
            if self._busy is not None and time.monotonic() > self._busy + DECODE_SECONDS:
                raise SourceFailed(FailureReason.MALFORMED)
            if not unit.data:
                self._need_key = True
            if not unit.key and self._need_key:
                self.dropped += 1
                return
            late = bool(self._units) and unit.at - self._units[0].at > LATE_SECONDS
            if unit.key and (self._alone or not self._rate or late):
                # Earlier frames are no longer needed.
                self._drop_all()
            self._units.append(replace(unit, after_hole=self._need_key or self._alone))
            self._need_key = False
            self._bytes += len(unit.data)
            if len(self._units) > KEPT_UNITS or self._bytes > KEPT_BYTES:
                self._drop_all()
            self._change.notify()

    def _drop_all(self) -> None:
        self.dropped += len(self._units)
        self._need_key = self._need_key or bool(self._units)
        self._units.clear()
        self._bytes = 0

    def set_rate(self, rate: float) -> None:
        """Set the wanted pictures per second; 0: stop decoding."""
        with self._change:
            self._rate = rate
            self._due = 0.0
            self._change.notify()

    def allow_next(self) -> None:
        """Allow the next picture: the server has taken the last one."""
        with self._change:
            self._free = True
            self._change.notify()

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify()

    def run(self) -> None:
        """Decode until `close`. The next `put` raises a failure."""
        try:
            newest: av.VideoFrame | None = None
            while True:
                unit, send = self._wait_next(newest is not None)
                if unit is not None:
                    newest = self._decode(unit) or newest
                elif send and newest is not None:
                    picture = self._to_picture(newest)
                    newest = None
                    self._send(picture)
                else:
                    return
        except (SourceFailed, MemoryError) as error:
            failed = SourceFailed(FailureReason.MEMORY) if isinstance(error, MemoryError) else error
            with self._change:
                self._failed = failed

    def _wait_next(self, waits: bool) -> tuple[EncodedPicture | None, bool]:
        """Wait for work. Return a frame to decode, or True to send the picture (`waits`: one is ready).

        Returns (None, False) after `close`.
        """
        with self._change:
            self._busy = None
            while not self._closed:
                now = time.monotonic()
                ready = self._free and now >= self._due
                if self._rate and self._units and (not self._alone or ready):
                    unit = self._units.popleft()
                    self._bytes -= len(unit.data)
                    self._busy = now
                    return unit, False
                if self._rate and waits and ready:
                    self._free = False
                    self._due = now + 0.9 / self._rate
                    return None, True
                pending = self._rate and self._free and (waits or self._units)
                self._change.wait(max(0.001, self._due - now) if pending else None)
            return None, False

    def _decode(self, unit: EncodedPicture) -> av.VideoFrame | None:
        """Decode a frame. Return the newest picture, its pts the time of its frame; None without a good one."""
        if self._decoder is None or unit.after_hole:
            self._decoder = self._open()
        try:
            data = unit.data
            if self._codec == "H265":
                check_h265(data)
            elif self._checks is not None:
                data = self._checks.check(data)
            packet = av.Packet(data)
            # A decoder may return pictures in a different order than their frames.
            packet.pts = round(unit.at * MICROSECONDS)
            found = self._decoder.decode(packet)
            if any(one.is_corrupt for one in found):
                raise ValueError("a picture was completed from others")
        except FormatRefused:
            raise SourceFailed(FailureReason.FORMAT) from None
        except PicturesTooLarge as error:
            raise SourceFailed(FailureReason.SIZE, str(error).partition(" ")[0]) from None
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            if self._failing is None:
                self._failing = unit.at
            if unit.at > self._failing + FAILING_SECONDS:
                raise SourceFailed(FailureReason.MALFORMED) from None
            self._drop_dependents()
            return None
        self._failing = None
        self.decoded += 1
        return found[-1] if found else None

    def _drop_dependents(self) -> None:
        """Drop a failed frame and those that depend on it."""
        self._decoder = None
        with self._change:
            self.dropped += 1
            while self._units and not self._units[0].key:
                self._bytes -= len(self._units.popleft().data)
                self.dropped += 1
            self._need_key = self._need_key or not self._units

    def _to_picture(self, image: av.VideoFrame) -> DecodedPicture:
        assert image.pts is not None
        at = image.pts / MICROSECONDS
        width, height = image.width // 2 * 2, image.height // 2 * 2
        if not fits(width, height):
            raise SourceFailed(FailureReason.SIZE, f"{image.width}x{image.height}")
        known = image.format.name in ("yuv420p", "yuvj420p")
        if not known or (width, height) != (image.width, image.height):
            # JPEGs are often 4:2:2 with full range.
            space = image.colorspace
            image = self._format.reformat(
                image, width, height, "yuv420p", dst_color_range=ColorRange.MPEG, threads=1
            )
            image.colorspace, image.color_range = space, ColorRange.MPEG
        data = np.ascontiguousarray(image.to_ndarray()).tobytes()
        return DecodedPicture(
            data, width, height, at, int(image.colorspace), int(image.color_range)
        )


# Validate H.265 frames (Annex B) before libav decodes them. Pure. The pictures kept by the decoder are
# bounded by the memory of the process; see `limit_memory`.

# Maximum NAL units of a frame; cameras send one for each slice and a few others.
MAX_UNITS = 1024
_START = b"\0\0\1"
_SPS = 33


def check_h265(data: bytes) -> None:
    """Validate an H.265 frame, as `H264Frames` does for H.264.

    Raises FormatRefused, PicturesTooLarge, and ValueError for a malformed frame.
    """
    at = data.find(_START)
    units = 0
    while at >= 0:
        units += 1
        if units > MAX_UNITS:
            raise ValueError(f"A frame has more than {MAX_UNITS} units.")
        begin = at + 3
        at = data.find(_START, begin)
        if begin < len(data) and data[begin] >> 1 & 0x3F == _SPS:
            check_set(data[begin + 2 : at if at >= 0 else len(data)])


def check_set(unit: bytes) -> tuple[int, int]:
    """Return width and height in a sequence parameter set (H.265 section 7.3.2.2.1).

    `unit`: without its NAL header. Raises FormatRefused, PicturesTooLarge, and ValueError for a malformed set.
    """
    bits = Bits(unit)
    bits.read(4)
    layers = bits.read(3)
    bits.read(1)
    if layers > 6:
        raise ValueError("A sequence parameter set has more than seven layers.")
    _skip_profile(bits, layers)
    bits.read_ue(15)
    if bits.read_ue(3) != 1:
        raise FormatRefused("Pictures are not 4:2:0.")
    width, height = bits.read_ue(), bits.read_ue()
    if bits.read(1):
        for _ in range(4):
            bits.read_ue()
    if bits.read_ue() or bits.read_ue():
        raise FormatRefused("Pictures have more than 8 bits per sample.")
    if not fits(width, height):
        raise PicturesTooLarge(f"{width}x{height}")
    return width, height


def _skip_profile(bits: Bits, layers: int) -> None:
    """Skip `profile_tier_level` (section 7.3.3)."""
    bits.read(88)
    bits.read(8)
    if not layers:
        return
    there = [(bits.read(1), bits.read(1)) for _ in range(8)][:layers]
    for profile, level in there:
        bits.read(88 * profile + 8 * level)


# Memory limit of a camera's process.

# Memory for a camera's stream beyond that of the program itself: the pictures kept by a decoder for
# 3840×2160 (17 of 20 MB in H.265), two copies of one, and the queued frames.
STREAM_BYTES = 640 << 20


def limit_memory(extra: int = STREAM_BYTES) -> None:
    """Limit the process to `extra` bytes more memory than it has now.

    A hostile stream that needs more fails only in this process. Linux only: macOS does not enforce
    the limit.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except FileNotFoundError:
        return
    most = pages * resource.getpagesize() + extra
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
