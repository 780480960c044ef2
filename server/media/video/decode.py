"""Decode all cameras' frames on a few shared threads: one frame at a time per camera, in order,
bounded.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import av
from av.video.codeccontext import VideoCodecContext

from server.media.video.h264 import FormatRefused, H264Frames, TooLarge
from server.media.video.payload import EncodedFrame

# Limit the memory of decoded pictures: what each frame would make a decoder keep, and what all
# cameras share. Pure.  `PictureMemory` is safe to call from several threads.

# Most memory of a decoder beside its pictures: its tables, the units of a frame of 2 MiB, and that
# frame without emulation prevention (measured).
DECODER_BYTES = 14 << 20
# Pictures that a decoder keeps: the previous, golden and alternative frame, the one decoded last,
# the present one, and the newest returned one.
VP8_PICTURES = 6
# Macroblocks of a picture of 4096×4096
VP8_MAX_MACROBLOCKS = 65_536
# 16×16 pixels of 4:2:0. The decoder's other memory is small (measured).
VP8_MACROBLOCK_BYTES = 384
# Memory guaranteed to each camera. Pictures of 1920×1088 take 18 MiB in VP8, and 29 MiB in H.264
# with four references (the most of level 4); an H.264 decoder takes 14 MiB more, and 25 picture
# parameter sets 4 MiB.
OWN_BYTES = 48 << 20
# Memory that all cameras share for what exceeds their own.
SHARED_BYTES = 512 << 20


class CheckedFrames:
    """Checks one decoder's frames before they are decoded."""

    def __init__(self, codec: str) -> None:
        self._frames = _FRAMES[codec]()

    def checked(self, data: bytes) -> tuple[bytes, int]:
        """Return the frame to decode, and the most bytes the decoder may keep from now on (0:
        unchanged).

        Raises FormatRefused, TooLarge, and ValueError for a malformed frame.
        """
        data, kept = self._frames.checked(data)
        return data, kept and kept + DECODER_BYTES


class Vp8Frames:
    """Checks one decoder's frames; each stands for itself."""

    def checked(self, data: bytes) -> tuple[bytes, int]:
        """Return the frame unchanged, and the most bytes that the decoder may keep; 0 for anything
        but a key frame.

        Raises TooLarge.
        """
        macroblocks = picture_macroblocks(data)
        if macroblocks > VP8_MAX_MACROBLOCKS:
            raise TooLarge(
                f"A picture has {macroblocks} macroblocks; at most {VP8_MAX_MACROBLOCKS} are allowed."
            )
        return data, VP8_PICTURES * macroblocks * VP8_MACROBLOCK_BYTES


def picture_macroblocks(data: bytes) -> int:
    """Return the number of a key frame's macroblocks; 0 for anything else."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return 0
    # The upper two bits ask for a scale on display.
    width, height = ((data[at] | data[at + 1] << 8) & 0x3FFF for at in (6, 8))
    return ((width + 15) // 16) * ((height + 15) // 16)


_FRAMES: dict[str, type[Vp8Frames | H264Frames]] = {"VP8": Vp8Frames, "H264": H264Frames}


class PictureMemory:
    """Tracks each decoder's part of the shared memory.

    Its largest demand counts until it is closed.

    Bounds of memory for pictures larger than 1920×1080: 512 MiB for all cameras; when full,
    larger pictures are refused until memory is free.
    """

    def __init__(self, *, own: int = OWN_BYTES, shared: int = SHARED_BYTES) -> None:
        self._own = own
        self._free = shared
        self._taken: dict[object, int] = {}
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """Free bytes of the shared memory."""
        return self._free

    def take(self, owner: object, size: int) -> bool:
        """Reserve `size` bytes in all for `owner`'s decoder.

        Returns False, and reserves nothing, when too few are left.
        """
        with self._lock:
            more = size - self._own - self._taken.get(owner, 0)
            if more > self._free:
                return False
            if more > 0:
                self._taken[owner] = self._taken.get(owner, 0) + more
                self._free -= more
            return True

    def give_back(self, owner: object) -> None:
        """Release the reservation of a closed decoder. Safe to call more than once."""
        with self._lock:
            self._free += self._taken.pop(owner, 0)


log = logging.getLogger(__name__)
# libav's own decoders: they need half the memory of libvpx and start no threads.
_DECODERS = {"VP8": "vp8", "H264": "h264"}
# Largest side of a picture in pixels. libav refuses larger ones before it allocates for them.
MAX_SIDE = 4096
# Bounds of one camera's waiting frames: their number and bytes. Beyond either, all up to the newest
# key frame are dropped.
BACKLOG = 30
BACKLOG_BYTES = 8 << 20
# Processor time of one camera's decoding: this share of each second, with this many seconds of
# credit. A flat key frame of 4096×4096 is 28 KB and takes 23 ms, a frame of 1280×720 takes 2 ms: a
# camera that sends only such key frames gets half of a thread.
SHARE = 0.5
AHEAD_S = 1.0
# Time after which a camera whose pictures were refused is asked for a key frame again.
REFUSED_S = 5.0


def open_decoder(codec: str) -> VideoCodecContext:
    """Create a decoder that starts no threads and returns each picture at once.

    Raises ValueError for a codec that is not in `server.media.offer.DECODABLE`.
    """
    name = _DECODERS.get(codec)
    if name is None:
        raise ValueError(f"no decoder for {codec}")
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MAX_SIDE * MAX_SIDE), "flags": "low_delay"}
    return decoder


# Log lines of refusals.
_REFUSALS = {
    "memory": "a camera's pictures are too large for the memory that is left",
    "size": "a camera's pictures are larger than any may be",
    "format": "a camera sends H.264 that is not decoded here: other than 4:2:0 with 8 bits, or with slice groups, slices "
    "out of order or data partitions",
}


@dataclass(frozen=True, slots=True)
class DecodePool:
    """The threads and the picture memory that all cameras' decoders share."""

    threads: ThreadPoolExecutor
    pictures: PictureMemory = field(default_factory=PictureMemory)


class DecodeLane:
    """One camera's queue and decoder in the decode pool.

    Calls on the event loop: `on_image(encoded, image)`; `on_error(timestamp)` with the failed
    frame's RTP timestamp, or None when frames were dropped; `on_drop(reason, count)`;
    `on_refused(reason)` ("memory": the pictures need more than is left; "size": more than any
    camera may have; "format": see FormatRefused). After `close()` nothing is called, and the
    decoder's memory is returned when its thread has finished.

    Bounds of frames to decode: 30; when full, all up to the newest key frame are dropped; half of
    a thread's time per camera.
    """

    def __init__(
        self,
        pool: DecodePool,
        codec: str,
        *,
        on_image: Callable[[EncodedFrame, av.VideoFrame], None],
        on_error: Callable[[int | None], None],
        on_drop: Callable[[str, int], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._decoder: VideoCodecContext | None = open_decoder(codec)
        # Used by the decoder's thread only.
        self._frames = CheckedFrames(codec)
        self._on_image = on_image
        self._on_error = on_error
        self._on_drop = on_drop
        self._on_refused = on_refused
        self._waiting: deque[EncodedFrame] = deque()
        self._busy = False
        # `on_drop` reason for which only a key frame is accepted; None when any frame is.
        self._need_key: str | None = None
        self._closed = False
        # Processor seconds left, at this monotonic time.
        self._credit = AHEAD_S
        self._credit_at = time.monotonic()
        # Resumes decoding; None while there is credit.
        self._pause: asyncio.TimerHandle | None = None
        # Requests a key frame after a refusal.
        self._again: asyncio.TimerHandle | None = None

    def put(self, frame: EncodedFrame) -> None:
        if self._closed:
            return
        if self._need_key is not None and not frame.key:
            self._on_drop(self._need_key, 1)
            return
        self._need_key = None
        self._waiting.append(frame)
        if _too_many(self._waiting):
            self._overflow()
        self._next()

    def _overflow(self) -> None:
        """Drop the frames before the newest waiting key frame; without one all, and request one."""
        keep: deque[EncodedFrame] = deque()
        for frame in reversed(self._waiting):
            keep.appendleft(frame)
            if frame.key:
                break
        else:
            keep.clear()
        if _too_many(keep):
            keep.clear()
        if not keep:
            self._need_key = "backlog"
            self._on_error(None)
        self._on_drop("backlog", len(self._waiting) - len(keep))
        self._waiting = keep

    def _refused(self, reason: str) -> None:
        """Drop frames until the next key frame, and request one later: it may fit then."""
        count = 1
        while self._waiting and not self._waiting[0].key:
            self._waiting.popleft()
            count += 1
        if not self._waiting:
            self._need_key = reason
        self._on_drop(reason, count)
        self._on_refused(reason)
        if self._again is None:
            log.warning(_REFUSALS[reason])
            self._again = self._loop.call_later(REFUSED_S, self._ask_again)

    def _ask_again(self) -> None:
        self._again = None
        if self._need_key is not None:
            self._on_error(None)

    def _next(self) -> None:
        if self._busy or not self._waiting or self._closed or self._pause is not None:
            return
        now = time.monotonic()
        self._credit = min(AHEAD_S, self._credit + (now - self._credit_at) * SHARE)
        self._credit_at = now
        if self._credit < 0:
            self._pause = self._loop.call_later(-self._credit / SHARE, self._go_on)
            return
        self._busy = True
        try:
            self._pool.threads.submit(self._decode, self._waiting.popleft())
        except RuntimeError:  # the pool is shut down: the process ends
            self._closed = True

    def _go_on(self) -> None:
        self._pause = None
        self._next()

    def _decode(self, frame: EncodedFrame) -> None:
        """Decode one frame in a pool thread. The busy flag allows one thread per decoder."""
        image: av.VideoFrame | None = None
        failed = False
        refused: str | None = None
        decoder = self._decoder
        began = time.thread_time()
        try:
            if decoder is not None:
                data, kept = self._frames.checked(frame.data)
                if self._pool.pictures.take(self, kept):
                    images = decoder.decode(av.Packet(data))
                    image = images[-1] if images else None
                else:
                    refused = "memory"
        except FormatRefused:
            refused = "format"
        except TooLarge:
            refused = "size"
        except Exception as exc:  # noqa: BLE001
            # an unexpected error must not end this camera's decoding unnoticed
            failed = True
            if not isinstance(exc, av.FFmpegError | ValueError):
                log.warning("decoder failed", extra={"error": type(exc).__name__})
        with suppress(RuntimeError):  # the loop has ended before this thread
            spent = time.thread_time() - began
            self._loop.call_soon_threadsafe(self._done, frame, image, failed, refused, spent)

    def _done(
        self,
        frame: EncodedFrame,
        image: av.VideoFrame | None,
        failed: bool,
        refused: str | None,
        spent: float,
    ) -> None:
        self._busy = False
        self._credit -= spent
        if self._closed:
            self._forget()
            return
        if failed:
            self._on_error(frame.timestamp)
        elif refused is not None:
            self._refused(refused)
        elif image is None:
            # A hidden frame, or one before a picture that was shown already, such as a B picture.
            self._on_drop("not_shown", 1)
        else:
            if image.width > MAX_SIDE or image.height > MAX_SIDE:
                self._refused("size")
            else:
                self._on_image(frame, image)
        self._next()

    def close(self) -> None:
        self._closed = True
        self._waiting.clear()
        for timer in (self._pause, self._again):
            if timer is not None:
                timer.cancel()
        self._pause = self._again = None
        if not self._busy:
            self._forget()

    def _forget(self) -> None:
        self._decoder = None
        self._pool.pictures.give_back(self)


def _too_many(frames: deque[EncodedFrame]) -> bool:
    return len(frames) > BACKLOG or sum(len(frame.data) for frame in frames) > BACKLOG_BYTES


def give_memory_back() -> None:
    """Collect garbage and return free memory to the system (glibc only). Takes about 20 ms.

    A closed connection is a cycle of references, which only the collector frees, and it seldom runs
    by itself.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
