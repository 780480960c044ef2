"""Find the H.264 frames of an MP4 (ISO/IEC 14496-12 and -15) before a decoder sees any of them.

Pure.

libavformat decodes while it opens a file, and fills an index as long as the file says: a kilobyte
may ask for gigabytes. Files in fragments and other codecs than H.264 are not taken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

# Boxes of a file; one of a video has about thirty.
MAX_BOXES = 1000
# A frame of 1920×1088 without any compression is 3 MiB.
MAX_SAMPLE_BYTES = 8 << 20

_START_CODE = b"\0\0\0\1"
# Bytes before the boxes of a VisualSampleEntry, and before the sets of an avcC
_ENTRY_BYTES = 78
_SIZES = {1: ">B", 2: ">H", 4: ">I"}


class Video(NamedTuple):
    """The first video track."""

    seconds: float
    # Parameter sets that stand before the frames, in Annex B form
    sets: bytes
    # Each frame as it lies in the file
    samples: list[memoryview]
    # Bytes of a unit's length
    length: int

    def frames(self) -> Iterator[bytes]:
        """Each frame in Annex B form, the sets before the first.

        Raises ValueError for one that is malformed.
        """
        sets = self.sets
        for sample in self.samples:
            yield sets + _annex_b(sample, self.length)
            sets = b""


class _Walk:
    """Boxes within a part of a file, by their types, as many as may be looked at."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._left = MAX_BOXES

    def boxes(self, part: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        at = 0
        while at + 8 <= len(part):
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"A file has more than {MAX_BOXES} boxes.")
            size, head = struct.unpack_from(">I", part, at)[0], 8
            if size == 1:
                size, head = _read(">Q", part, at + 8)[0], 16
            elif size == 0:
                size = len(part) - at
            if size < head or at + size > len(part):
                raise ValueError("A box ends outside of what holds it.")
            yield bytes(part[at + 4 : at + 8]), part[at + head : at + size]
            at += size

    def first(self, part: memoryview, *path: bytes) -> memoryview:
        for name in path:
            part = next((body for kind, body in self.boxes(part) if kind == name), part[:0])
        return part


def read_video(data: bytes, most_frames: int) -> Video:
    """Take an MP4 apart.

    Raises ValueError for what is none, has no H.264, or more frames than that.
    """
    whole = memoryview(data)
    walk = _Walk(whole)
    for kind, track in walk.boxes(walk.first(whole, b"moov")):
        media = walk.first(track, b"mdia") if kind == b"trak" else whole[:0]
        if bytes(walk.first(media, b"hdlr")[8:12]) == b"vide":
            table = walk.first(media, b"minf", b"stbl")
            length, sets = _configuration(walk, walk.first(table, b"stsd"))
            spans = _samples(walk, table, most_frames)
            samples = [whole[at : at + size] for at, size in spans]
            return Video(_seconds(walk.first(media, b"mdhd")), sets, samples, length)
    raise ValueError("A file has no video.")


def _read(form: str, part: memoryview, at: int) -> tuple[int, ...]:
    try:
        found: tuple[int, ...] = struct.unpack_from(form, part, at)
    except struct.error:
        raise ValueError("A box ends before its fields do.") from None
    return found


def _seconds(header: memoryview) -> float:
    """Return the seconds of a media header, version 0 or 1."""
    (version,) = _read(">B", header, 0)
    scale, duration = _read(">IQ", header, 20) if version else _read(">II", header, 12)
    if not scale:
        raise ValueError("A track has no time scale.")
    return duration / scale


def _configuration(walk: _Walk, descriptions: memoryview) -> tuple[int, bytes]:
    """Bytes of a unit's length, and the parameter sets."""
    entry = next(walk.boxes(descriptions[8:]), (b"", descriptions[:0]))
    if entry[0] not in (b"avc1", b"avc3"):
        raise ValueError("A video is no H.264.")
    record = walk.first(entry[1][_ENTRY_BYTES:], b"avcC")
    (length,) = _read(">B", record, 4)
    sets: list[bytes | memoryview] = []
    at = 5
    for mask in (0x1F, 0xFF):
        (count,) = _read(">B", record, at)
        at += 1
        for _ in range(count & mask):
            (size,) = _read(">H", record, at)
            unit = record[at + 2 : at + 2 + size]
            at += 2 + size
            sets += [_START_CODE, unit]
    return (length & 3) + 1, b"".join(sets)


def _samples(walk: _Walk, table: memoryview, most: int) -> list[tuple[int, int]]:
    """Return the offset and the size of each sample."""
    sizes = walk.first(table, b"stsz")
    each, count = _read(">II", sizes, 4)
    if not 0 < count <= most:
        raise ValueError(f"A video has {count} frames; 1 to {most} are allowed.")
    lengths = (each,) * count if each else _read(f">{count}I", sizes, 12)
    form, chunks = ">I", walk.first(table, b"stco")
    if not chunks:
        form, chunks = ">Q", walk.first(table, b"co64")
    runs = walk.first(table, b"stsc")
    (entries,) = _read(">I", runs, 4)
    if sum(lengths) > len(walk.data):
        raise ValueError("The frames of a file are longer than it.")
    spans: list[tuple[int, int]] = []
    chunk, entry, in_chunk = 0, -1, 0
    while len(spans) < count:
        while entry + 1 < min(entries, most) and _read(">I", runs, 20 + 12 * entry)[0] == chunk + 1:
            entry += 1
            (in_chunk,) = _read(">I", runs, 12 + 12 * entry)
        if not in_chunk:
            raise ValueError("A chunk has no samples.")
        (at,) = _read(form, chunks, 8 + struct.calcsize(form) * chunk)
        for size in lengths[len(spans) : len(spans) + in_chunk]:
            if size > MAX_SAMPLE_BYTES or at + size > len(walk.data):
                raise ValueError("A frame is too large, or lies outside of its file.")
            spans.append((at, size))
            at += size
        chunk += 1
    return spans


def _annex_b(sample: memoryview, length: int) -> bytes:
    form = _SIZES.get(length)
    if form is None:
        raise ValueError(f"Lengths of units have {length} bytes; 1, 2 and 4 are allowed.")
    parts: list[bytes | memoryview] = []
    at = 0
    while at < len(sample):
        (size,) = _read(form, sample, at)
        at += length
        if at + size > len(sample):
            raise ValueError("A unit ends outside of its frame.")
        parts += (_START_CODE, sample[at : at + size])
        at += size
    return b"".join(parts)
