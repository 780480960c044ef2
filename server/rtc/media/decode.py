"""Decoding on a few shared threads: one frame in flight a camera, order kept, nothing unbounded."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import av
from av.video.codeccontext import VideoCodecContext

from server.rtc.media.h264_sps import FormatRefused
from server.rtc.media.h264_units import H264Frames
from server.rtc.media.packet import EncodedFrame
from server.rtc.media.picture_memory import PictureMemory
from server.rtc.media.vp8_header import Vp8Frames

log = logging.getLogger(__name__)

# libav's own decoders: half the memory of libvpx and no threads of their own.
_DECODERS = {"VP8": "vp8", "H264": "h264"}
_FRAMES: dict[str, type[Vp8Frames | H264Frames]] = {"VP8": Vp8Frames, "H264": H264Frames}
# What a decoder takes at most whatever its pictures: its own tables, the units of a frame of 2 MiB, and that frame without
# its emulation prevention (measured).
DECODER_BYTES = 14 << 20
# Pictures beyond it are refused inside libav, before anything is allocated for them.
MAX_SIDE = 4096
# Encoded frames that may wait for one camera, and their bytes; beyond either everything up to the next key frame goes.
BACKLOG = 30
BACKLOG_BYTES = 8 << 20
# Processor time that one camera's decoding may take: so much of each second, and so many seconds ahead. A flat key frame
# of 4096×4096 is 28 KB and takes 23 ms, a frame of 1280×720 takes 2: a camera that sends nothing but such key frames has
# half of a thread and no more.
SHARE = 0.5
AHEAD_S = 1.0
# A camera whose pictures were refused, for their format or for the memory that was left, is asked for a key frame again
# after this time.
REFUSED_S = 5.0


def open_decoder(codec: str) -> VideoCodecContext:
    """A decoder with no threads and no delay of its own.

    Raises ValueError for a codec that is not one of `server.rtc.offer.DECODABLE`.
    """
    name = _DECODERS.get(codec)
    if name is None:
        raise ValueError(f"no decoder for {codec}")
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MAX_SIDE * MAX_SIDE), "flags": "low_delay"}
    return decoder


# What the log says of a refusal.
_REFUSALS = {
    "memory": "a camera's pictures are too large for the memory that is left",
    "format": "a camera sends H.264 that is not 4:2:0 with 8 bits",
}


class CheckedFrames:
    """The frames of one decoder, checked before it gets them."""

    def __init__(self, codec: str) -> None:
        self._frames = _FRAMES[codec]()

    def checked(self, data: bytes) -> tuple[bytes, int]:
        """The frame as the decoder may have it, and the most bytes that it may have kept from now on; 0 for no news.

        Raises FormatRefused, and ValueError for nonsense and for more than any camera may have.
        """
        data, kept = self._frames.checked(data)
        return data, kept and kept + DECODER_BYTES


@dataclass(frozen=True, slots=True)
class DecodePool:
    """What all cameras' decoders share."""

    threads: ThreadPoolExecutor
    pictures: PictureMemory = field(default_factory=PictureMemory)


class DecodeLane:
    """One camera's way through the decode pool.

    `on_image(encoded, image)`, `on_error(timestamp)` (of the frame that failed; None when frames were let go), `on_drop(reason, count)` and `on_refused(reason)`
    ("memory": its pictures need more than is left; "format": they are not 4:2:0 with 8 bits) are called on the event loop. After `close()` nothing is called any more,
    and the decoder's memory is given back once its thread let go of it.
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
        # Belongs to the decoder's thread, as the decoder does.
        self._frames = CheckedFrames(codec)
        self._on_image = on_image
        self._on_error = on_error
        self._on_drop = on_drop
        self._on_refused = on_refused
        self._waiting: deque[EncodedFrame] = deque()
        self._busy = False
        # Why only a key frame may go in, as `on_drop` tells it; None when anything may.
        self._need_key: str | None = None
        self._closed = False
        # Processor seconds that it may still take, and when that was true (monotonic seconds).
        self._credit = AHEAD_S
        self._credit_at = time.monotonic()
        # Decoding goes on when it fires; None while there is credit.
        self._pause: asyncio.TimerHandle | None = None
        # Whoever was refused is asked for a key frame when it fires.
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
        """Drop to the newest key frame that waits; without one everything, and ask for one."""
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
        """Nothing goes in before another key frame, which is asked for in a while: there may be room by then, or another
        format."""
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
        """In a pool thread; the busy flag keeps it the only one at this decoder."""
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
        except Exception as exc:  # noqa: BLE001
            # anything else would end this camera's decoding in silence
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
            # Hidden, or behind a picture that was shown already, as B pictures are.
            self._on_drop("not_shown", 1)
        else:
            if image.width > MAX_SIDE or image.height > MAX_SIDE:
                self._on_drop("size", 1)
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
    """Hand free memory back to the system (glibc; elsewhere it is only freed). Takes about 20 ms.

    A closed connection is a knot of references that only the collector undoes, and it comes seldom by itself.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
