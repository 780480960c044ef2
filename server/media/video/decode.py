"""Decode the frames of all cameras on a few shared threads: one frame at a time per camera, in order, bounded."""

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
from dataclasses import replace
from typing import NamedTuple

import av
from av.video.codeccontext import VideoCodecContext

from server.core.aio import Bucket, Timer
from server.media.video.payload import EncodedFrame

# Limit H.264 frames (Annex B), and rewrite their sequence parameter sets before libav decodes them.
# libav keeps as many reference pictures as a set (ITU-T H.264 section 7.3.2.1.1) states, and further
# pictures for reordering: up to sixteen, also where the set states nothing and pictures arrive out of
# order. The rewritten set states that no picture is reordered, and omits all fields that
# decoding does not need. libav allocates 4 KiB for a unit of four bytes and 168 KiB for a picture
# parameter set of ten, and never frees either.

# Macroblocks of a picture of 4096×4096
MAX_PICTURE_MACROBLOCKS = 65_536
# Maximum side; panoramic cameras have one long side.
MAX_SIDE_MACROBLOCKS = 512
# Pictures in addition to the references: the current one, the one before (from which libav conceals
# damage) and the newest returned one
BESIDE_REFERENCES = 3
# Maximum macroblocks of a camera's kept pictures: five of 3840×2160
MAX_KEPT_MACROBLOCKS = 5 * 240 * 135
# Maximum parameter sets in a frame; encoders send one.
MAX_SETS = 8
# Maximum units in a frame: a slice for each of its 512 packets, and the units before them
MAX_UNITS = 600
# Maximum picture parameter sets in a stream; encoders send up to 57.
MAX_PICTURE_SETS = 64
# Bytes of a macroblock: 384 of samples, and motion vectors and other data (measured)
MACROBLOCK_BYTES = 540
# Bytes of a picture parameter set (measured)
PICTURE_SET_BYTES = 168 << 10
_START = b"\0\0\1"
_SLICES = frozenset({1, 5})
# Data partitions: a slice in three units, which libav does not support
_PARTITIONS = frozenset({2, 3, 4})
_SPS = 7
_PPS = 8
# Baseline, main, extended and high: the profiles that are always 8-bit 4:2:0
_PROFILES = frozenset({66, 77, 88, 100})
_HIGH = 100
# Bytes read of a set; they contain all needed fields, including scaling lists and colours.
_LONGEST = 1024
_MAX_REFERENCES = 16
_EXTENDED_SAR = 255


class FormatRefused(ValueError):
    """The stream is not 8-bit 4:2:0, or has slice groups, data partitions, or unordered slices.

    Not a QwenCameraError: the decoder counts it, and no client receives it.
    """


class PicturesTooLarge(ValueError):
    """The pictures are larger, or need more memory, than allowed for a camera.

    Not a QwenCameraError, like `FormatRefused`.
    """


class SequenceSet(NamedTuple):
    """The memory that a sequence parameter set requires of a decoder, and the rewritten set."""

    # Macroblocks of all kept pictures
    kept: int
    # Bytes of the unit after its header, with emulation prevention
    written: bytes


class H264Frames:
    """Checks the frames of one decoder, in decoding order; at most `most` macroblocks may be kept."""

    def __init__(self, most: int = MAX_KEPT_MACROBLOCKS) -> None:
        self._limit = most
        # Ids of the picture parameter sets so far
        self._pictures: set[int] = set()
        # Maximum kept macroblocks over all sequence parameter sets so far
        self._most = 0
        # Sequence parameter sets so far
        self._sets = 0

    @property
    def kept(self) -> int:
        """Maximum bytes that the decoder keeps for all frames so far, in addition to DECODER_BYTES."""
        return self._most * MACROBLOCK_BYTES + len(self._pictures) * PICTURE_SET_BYTES

    def check(self, data: bytes, *, after_hole: bool = False) -> bytes:
        """Return the frame to decode.

        `after_hole`: frames before it are missing, and possibly its parameter sets.
        Raises FormatRefused, PicturesTooLarge, and ValueError for a frame that is malformed or out of
        bounds.
        """
        parts: list[bytes] = []
        sets = units = 0
        begun = False
        done = 0
        at = data.find(_START)
        while at >= 0:
            units += 1
            if units > MAX_UNITS:
                raise ValueError(f"A frame has more than {MAX_UNITS} units.")
            begin = at + 3
            at = data.find(_START, begin)
            kind = data[begin] & 0x1F if begin < len(data) else 0
            if kind in _SLICES and not begun:
                begun = True
                _check_beginning(data[begin + 1 : begin + 9])
            if kind in _PARTITIONS:
                raise FormatRefused("Data partitioning is not supported.")
            if kind not in (_SPS, _PPS):
                continue
            unit = data[begin + 1 : at if at >= 0 else len(data)]
            if kind == _PPS:
                self._pictures.add(_read_picture_set(unit))
                if len(self._pictures) > MAX_PICTURE_SETS:
                    raise ValueError(
                        f"A stream has more than {MAX_PICTURE_SETS} picture parameter sets."
                    )
                continue
            sets += 1
            if sets > MAX_SETS:
                raise ValueError(f"A frame has more than {MAX_SETS} sequence parameter sets.")
            read = read_set(unit, self._limit)
            self._most = max(self._most, read.kept)
            parts += (data[done : begin + 1], read.written)
            # Bytes between this unit and the next start code are left out.
            done = at if at >= 0 else len(data)
        if after_hole and not sets and self._sets > 1:
            raise ValueError("A key frame lacks the parameter sets that its stream repeats.")
        self._sets += sets
        parts.append(data[done:])
        return b"".join(parts) if sets else data


def _check_beginning(slice_header: bytes) -> None:
    """Refuse a picture that begins with a later slice, because libav loses all slices before the first one."""
    if Bits(slice_header).read_ue():
        raise FormatRefused("A picture's slices are out of order.")


def _read_picture_set(unit: bytes) -> int:
    """Return the id of a picture parameter set (section 7.3.2.2) without its NAL header."""
    bits = Bits(unit)
    number = bits.read_ue(255)
    bits.read_ue(31)
    bits.read(2)
    if bits.read_ue():
        raise FormatRefused("Slice groups are not supported.")
    return number


class Bits:
    """Reads the bits of a NAL unit after its header; removes emulation prevention bytes."""

    def __init__(self, unit: bytes) -> None:
        data = unit[:_LONGEST].replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(data, "big")
        self._size = self._left = 8 * len(data)

    def read(self, count: int) -> int:
        if count > self._left:
            raise ValueError("A parameter set is truncated.")
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def read_ue(self, most: int = (1 << 32) - 2) -> int:
        """Read an unsigned Exp-Golomb number (section 9.1). Raises ValueError above `most`."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 31:
                raise ValueError("A number in a parameter set has more than 32 bits.")
        number = (1 << zeros) - 1 + self.read(zeros)
        if number > most:
            raise ValueError(f"A number in a parameter set is {number}; at most {most} is allowed.")
        return number

    def read_se(self) -> int:
        number = self.read_ue()
        return (number + 1) // 2 if number % 2 else -(number // 2)

    def get_bits_read(self) -> str:
        """Return all bits read so far as a string of ones and zeros."""
        count = self._size - self._left
        return f"{self._value >> self._left:0{count}b}"


def read_set(unit: bytes, most: int = MAX_KEPT_MACROBLOCKS) -> SequenceSet:
    """Parse a sequence parameter set (without its NAL header), and rewrite it; bytes after it are ignored.

    `most`: maximum macroblocks that a decoder keeps. Raises FormatRefused, PicturesTooLarge, and
    ValueError for a malformed set.
    """
    bits = Bits(unit)
    profile = bits.read(8)
    if profile not in _PROFILES:
        raise FormatRefused(
            f"Profile {profile} may have more than 8 bits per sample, or not be 4:2:0."
        )
    bits.read(16)
    bits.read_ue(31)
    if profile == _HIGH:
        _read_sample_format(bits)
    bits.read_ue(12)
    order = bits.read_ue(2)
    if order == 0:
        bits.read_ue(12)
    elif order == 1:
        bits.read(1)
        bits.read_se()
        bits.read_se()
        for _ in range(bits.read_ue(255)):
            bits.read_se()
    references = bits.read_ue(_MAX_REFERENCES)
    bits.read(1)
    width, height = bits.read_ue() + 1, bits.read_ue() + 1
    if not bits.read(1):
        height *= 2
        bits.read(1)
    bits.read(1)
    if bits.read(1):
        left, right, top, bottom = (bits.read_ue() for _ in range(4))
        if 2 * (left + right) >= 16 * width or 2 * (top + bottom) >= 16 * height:
            raise ValueError("The cropping of a sequence parameter set leaves no pixels.")
    picture = _count_macroblocks(width, height)
    kept = picture * (max(1, references) + BESIDE_REFERENCES)
    if kept > most:
        raise PicturesTooLarge(
            f"{16 * width}x{16 * height} with {kept} kept macroblocks, of at most {most}"
        )
    text = bits.get_bits_read() + "1" + _make_vui(_copy_colors(bits), references) + "1"
    text += "0" * (-len(text) % 8)
    return SequenceSet(kept, _protect(int(text, 2).to_bytes(len(text) // 8, "big")))


def _count_macroblocks(width: int, height: int) -> int:
    if max(width, height) > MAX_SIDE_MACROBLOCKS or width * height > MAX_PICTURE_MACROBLOCKS:
        raise PicturesTooLarge(f"{16 * width}x{16 * height}")
    return width * height


def _read_sample_format(bits: Bits) -> None:
    if bits.read_ue() != 1 or bits.read_ue() or bits.read_ue() or bits.read(1):
        raise FormatRefused("Pictures must be 4:2:0 with 8 bits per sample, and not lossless.")
    if not bits.read(1):
        return
    for number in range(8):
        if bits.read(1):
            last = following = 8
            for _ in range(16 if number < 6 else 64):
                if following:
                    following = (last + bits.read_se()) % 256
                last = following or last


def _copy_colors(bits: Bits) -> str:
    """Copy `video_signal_type` from the video usability information (section E.1.1); "0" if it is missing."""
    try:
        if not bits.read(1):
            return "0"
        if bits.read(1) and bits.read(8) == _EXTENDED_SAR:
            bits.read(32)
        if bits.read(1):
            bits.read(1)
        if not bits.read(1):
            return "0"
        kind = bits.read(4)
        described = bits.read(1)
        return f"1{kind:04b}{described}" + (f"{bits.read(24):024b}" if described else "")
    except ValueError:  # truncated: some encoders write this, and decoders accept it
        return "0"


def _make_vui(colors: str, references: int) -> str:
    """Return video usability information (VUI), as bits, with these colours and without picture reordering."""
    # Without aspect ratio, overscan, chroma location, timing, buffers and picture structure
    head = "00" + colors + "00000"
    # Restrictions: vectors beyond the edges, no limit of bytes and bits, the usual limit of
    # vectors, no reordered pictures, and only as many buffered pictures as references
    numbers = "".join(_encode_ue(number) for number in (0, 0, 16, 16, 0, references))
    return head + "11" + numbers


def _encode_ue(number: int) -> str:
    text = f"{number + 1:b}"
    return "0" * (len(text) - 1) + text


def _protect(rbsp: bytes) -> bytes:
    """Insert emulation prevention bytes (section 7.4.1)."""
    out = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


# Maximum memory of a decoder without its pictures: its tables, the units of a frame of 2 MiB, and
# that frame without emulation prevention (measured)
DECODER_BYTES = 14 << 20
# Pictures that a VP8 decoder keeps: the previous, golden and alternative frame, the one decoded last,
# the current one, and the newest returned one
VP8_PICTURES = 6
# 16×16 pixels of 4:2:0; the decoder's other memory is small (measured).
VP8_MACROBLOCK_BYTES = 384


class Vp8Frames:
    """Checks the frames of one decoder, each independently."""

    # Maximum bytes that the decoder keeps for all frames so far, in addition to DECODER_BYTES
    kept = 0

    def check(self, data: bytes, *, after_hole: bool = False) -> bytes:
        """Return the frame unchanged. Raises PicturesTooLarge."""
        kept = VP8_PICTURES * count_macroblocks(data) * VP8_MACROBLOCK_BYTES
        if kept > MAX_KEPT_MACROBLOCKS * MACROBLOCK_BYTES:
            raise PicturesTooLarge(f"A picture makes the decoder keep {kept} bytes.")
        self.kept = max(self.kept, kept)
        return data


def count_macroblocks(data: bytes) -> int:
    """Return the number of macroblocks of a key frame; 0 for other frames."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return 0
    # The upper two bits are a scale for display.
    width, height = ((data[at] | data[at + 1] << 8) & 0x3FFF for at in (6, 8))
    return ((width + 15) // 16) * ((height + 15) // 16)


# Checks of frames before decoding, by codec
FRAMES: dict[str, type[Vp8Frames | H264Frames]] = {"VP8": Vp8Frames, "H264": H264Frames}


log = logging.getLogger(__name__)
# libav's own decoders need half the memory of libvpx, and start no threads.
_DECODERS = {"VP8": "vp8", "H264": "h264"}
# Maximum picture and side, in pixels. libav refuses larger pictures before allocating memory for them.
MAX_PIXELS = 4096 * 4096
MAX_SIDE = 16 * MAX_SIDE_MACROBLOCKS
# Maximum number and bytes of one camera's waiting frames. Beyond either, all before the newest key
# frame are dropped.
BACKLOG = 30
BACKLOG_BYTES = 8 << 20
# Maximum processor time for decoding one camera: this fraction of each second, with this many seconds
# of credit. A flat key frame of 4096×4096 is 28 KB and takes 23 ms, a frame of 1280×720 takes 2 ms:
# a camera that sends only such key frames gets half of a thread.
SHARE = 0.5
AHEAD_S = 1.0
# Time after which a camera whose pictures were refused is asked for another key frame
REFUSED_S = 5.0


def fits(width: int, height: int) -> bool:
    """Return True if pictures of this size are accepted."""
    return 0 < max(width, height) <= MAX_SIDE and 0 < width * height <= MAX_PIXELS


def open_decoder(codec: str) -> VideoCodecContext:
    """Create a decoder that starts no threads and returns each picture immediately.

    `codec` is "VP8" or "H264". Raises KeyError for another one.
    """
    decoder = av.CodecContext.create(_DECODERS[codec], "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MAX_PIXELS), "flags": "low_delay"}
    return decoder


# Log messages of refusals
_REFUSALS = {
    "size": "a camera's pictures are too large",
    "format": "a camera sends unsupported H.264: not 8-bit 4:2:0, or with slice groups, unordered slices or data "
    "partitions",
}


class DecodeLane:
    """The queue and decoder of one camera in the decode pool.

    It calls on the event loop: `on_image(encoded, image)`; `on_error(timestamp)` with the failed
    frame's RTP timestamp, or None if frames were dropped; `on_drop(reason, count)`;
    `on_refused(reason)` ("size": see PicturesTooLarge; "format": see FormatRefused). After `close()`
    nothing is called, and the decoder is freed when its thread has finished.

    Bounds of frames to decode: 30; when full, all up to the newest key frame are dropped; half of
    a thread's time per camera.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
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
        # Used only by the decoder's thread
        self._frames = FRAMES[codec]()
        self._on_image = on_image
        self._on_error = on_error
        self._on_drop = on_drop
        self._on_refused = on_refused
        self._waiting: deque[EncodedFrame] = deque()
        self._busy = False
        # Reason for `on_drop` while only a key frame is accepted; None if any frame is
        self._need_key: str | None = None
        self._closed = False
        # Processor seconds
        self._credit = Bucket(SHARE, AHEAD_S, time.monotonic())
        # Resumes decoding; not set while there is credit
        self._pause = Timer()
        # Requests a key frame after a refusal
        self._again = Timer()

    def put(self, frame: EncodedFrame) -> None:
        if self._closed:
            return
        if self._need_key is not None and not frame.key:
            self._on_drop(self._need_key, 1)
            return
        if self._need_key is not None:
            frame = replace(frame, after_hole=True)
        self._need_key = None
        self._waiting.append(frame)
        if _has_too_many(self._waiting):
            self._drop_overflow()
        self._decode_next()

    def _drop_overflow(self) -> None:
        """Drop the frames before the newest waiting key frame; if there is none, drop all, and request a key frame."""
        keep: deque[EncodedFrame] = deque()
        for frame in reversed(self._waiting):
            keep.appendleft(frame)
            if frame.key:
                break
        else:
            keep.clear()
        if _has_too_many(keep):
            keep.clear()
        if keep:
            keep[0] = replace(keep[0], after_hole=True)
        else:
            self._need_key = "backlog"
            self._on_error(None)
        self._on_drop("backlog", len(self._waiting) - len(keep))
        self._waiting = keep

    def _lose_reference(self, reason: str) -> int:
        """Drop frames until the next key frame. Return their number."""
        count = 0
        while self._waiting and not self._waiting[0].key:
            self._waiting.popleft()
            count += 1
        if self._waiting:
            self._waiting[0] = replace(self._waiting[0], after_hole=True)
        else:
            self._need_key = reason
        return count

    def _refused(self, reason: str) -> None:
        """Drop frames until the next key frame, and request one later, which may be accepted."""
        self._on_drop(reason, 1 + self._lose_reference(reason))
        self._on_refused(reason)
        if not self._again:
            log.warning(_REFUSALS[reason])
            self._again.set(REFUSED_S, self._ask_again)

    def _ask_again(self) -> None:
        if self._need_key is not None:
            self._on_error(None)

    def _decode_next(self) -> None:
        if self._busy or not self._waiting or self._closed or self._pause:
            return
        if wait := self._credit.wait(time.monotonic()):
            self._pause.set(wait, self._decode_next)
            return
        self._busy = True
        try:
            self._pool.submit(self._decode, self._waiting.popleft())
        except RuntimeError:  # the pool is shut down, because the process ends
            self._closed = True

    def _decode(self, frame: EncodedFrame) -> None:
        """Decode a frame in a thread of the pool. The busy flag allows one thread per decoder."""
        image: av.VideoFrame | None = None
        # A reason to refuse the pictures, or "damaged"
        problem = ""
        decoder = self._decoder
        began = time.thread_time()
        try:
            if decoder is not None:
                if frame.after_hole:
                    decoder.flush_buffers()
                data = self._frames.check(frame.data, after_hole=frame.after_hole)
                images = decoder.decode(av.Packet(data))
                image = images[-1] if images else None
                if any(one.is_corrupt for one in images):
                    problem = "damaged"
        except FormatRefused:
            problem = "format"
        except PicturesTooLarge:
            problem = "size"
        except Exception as exc:  # noqa: BLE001
            # An unexpected error must not silently end this camera's decoding.
            problem = "damaged"
            if not isinstance(exc, av.FFmpegError | ValueError):
                log.warning("decoder failed", extra={"error": type(exc).__name__})
        with suppress(RuntimeError):  # the event loop ended before this thread
            spent = time.thread_time() - began
            self._loop.call_soon_threadsafe(self._on_done, frame, image, problem, spent)

    def _on_done(
        self, frame: EncodedFrame, image: av.VideoFrame | None, problem: str, spent: float
    ) -> None:
        self._busy = False
        self._credit.spend(spent)
        if self._closed:
            self._decoder = None
            return
        if problem == "damaged":
            self._on_error(frame.timestamp)
            if lost := self._lose_reference("no_key"):
                self._on_drop("no_key", lost)
        elif problem:
            self._refused(problem)
        elif image is None:
            # A hidden frame, or a frame before a picture that was already shown, such as a B picture
            self._on_drop("not_shown", 1)
        elif not fits(image.width, image.height):
            self._refused("size")
        else:
            self._on_image(frame, image)
        self._decode_next()

    def close(self) -> None:
        self._closed = True
        self._waiting.clear()
        self._pause.cancel()
        self._again.cancel()
        if not self._busy:
            self._decoder = None


def _has_too_many(frames: deque[EncodedFrame]) -> bool:
    return len(frames) > BACKLOG or sum(len(frame.data) for frame in frames) > BACKLOG_BYTES


def trim_memory() -> None:
    """Collect garbage and return free memory to the system (glibc only). Takes about 20 ms.

    A closed connection is a cycle of references, which only the garbage collector frees, and it
    rarely runs by itself.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
