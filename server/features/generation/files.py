"""Videos and sound as files in memory, and a camera's picture as a video's first frame.

An MP4 is H.264, 4:2:0, BT.709, with its index in front so that a page plays it at once. A WAV has
16-bit PCM.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

# Visually clean, about a tenth of a bit a pixel (x264's scale).
CRF = "18"
# The index: a fixed part, and what a frame's size, time, place and order take. libavformat's own
# way of putting it in front ("faststart") reads the file again by its name, which one in memory has
# not: room is kept for it instead.
_INDEX_BYTES = 4096
_INDEX_BYTES_A_FRAME = 48


@dataclass(frozen=True, slots=True)
class Made:
    """A file, in memory."""

    data: bytes
    media_type: str


class TooManyBytes(Exception):
    """The file got too large. Outside the tree of errors: its callers say what that means."""


class _Bounded(io.BytesIO):
    """Refuses to grow beyond `most` bytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.full = False

    def write(self, data: object) -> int:
        # Python before 3.12 has no name for the type of what has a buffer.
        size = memoryview(data).nbytes  # type: ignore[arg-type]
        if self.tell() + size > self._most:
            self.full = True
            raise TooManyBytes
        return super().write(data)  # type: ignore[arg-type]


class Mp4Writer:
    """One video. Belongs to one thread at a time; ends with `finish` or `discard`."""

    def __init__(self, width: int, height: int, fps: int, frames: int, most_bytes: int) -> None:
        """`width`, `height`: pixels, even; `frames`: how many, for the size of the index."""
        self._file = _Bounded(most_bytes)
        index = _INDEX_BYTES + _INDEX_BYTES_A_FRAME * frames
        self._container = av.open(
            self._file, "w", format="mp4", options={"moov_size": str(index), "fflags": "+bitexact"}
        )
        stream = self._container.add_stream("libx264", rate=fps, options={"crf": CRF})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.colorspace = Colorspace.ITU709.value
        context.color_range = ColorRange.MPEG.value
        context.color_primaries = ColorPrimaries.BT709.value
        context.color_trc = ColorTrc.BT709.value
        self._stream = stream
        self._shape = (height, width, 3)
        self._time_base = Fraction(1, fps)
        self._count = 0

    def add(self, rgb: bytes | memoryview) -> None:
        """The next frame: height * width * 3 bytes. Raises TooManyBytes, ValueError."""
        pixels = np.frombuffer(rgb, np.uint8).reshape(self._shape)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv420p",
            src_colorspace=Colorspace.DEFAULT,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = self._count, self._time_base
        self._count += 1
        self._encode(frame)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except av.FFmpegError:
            if self._file.full:
                raise TooManyBytes from None
            raise

    def finish(self) -> bytes:
        """The file. Raises TooManyBytes."""
        self._encode(None)
        try:
            self._container.close()
        except av.FFmpegError:
            if self._file.full:
                raise TooManyBytes from None
            raise
        return self._file.getvalue()

    def discard(self) -> None:
        """Give everything back; nothing is made."""
        self._file.close()


def cover(bgr: NDArray[np.uint8], width: int, height: int) -> bytes:
    """Return RGB of `width` * `height` pixels: the largest part around the middle of that ratio."""
    rows, columns = bgr.shape[:2]
    part_rows = min(rows, max(1, round(columns * height / width)))
    part_columns = min(columns, max(1, round(rows * width / height)))
    top, left = (rows - part_rows) // 2, (columns - part_columns) // 2
    part = bgr[top : top + part_rows, left : left + part_columns]
    shrinks = width * height < part_rows * part_columns
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    sized = cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=how)
    return np.ascontiguousarray(sized[..., ::-1]).tobytes()
