"""MP4 files box by box (ISO/IEC 14496-12), for what no writer would write."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tests.support.h264_streams import Sps, Stream, Vui, pps


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full(kind: bytes, *numbers: int) -> bytes:
    """A box of version 0 with 32-bit numbers."""
    return box(kind, bytes(4), struct.pack(f">{len(numbers)}I", *numbers))


def units_of(frame: bytes) -> list[bytes]:
    return frame.split(b"\0\0\0\1")[1:]


@dataclass
class File:
    """One video track; whatever is given stands there as it is."""

    sets: list[bytes]
    frames: list[bytes]
    codec: bytes = b"avc1"
    length: int = 4
    # Number of frames in the table of sizes; None: the true number.
    told: int | None = None
    # One size for all; 0: each has its own
    each: int = 0
    per_chunk: int | None = None
    more: bytes = field(default=b"")

    def data(self) -> bytes:
        head = box(b"ftyp", b"isom", bytes(4), b"isomavc1") + self.more
        size = len(head) + len(self._moov(0)) + 8
        media = b"".join(self.frames)
        return head + self._moov(size) + box(b"mdat", media)

    def _moov(self, at: int) -> bytes:
        sequence = [one for one in self.sets if one[0] & 0x1F == 7]
        picture = [one for one in self.sets if one[0] & 0x1F == 8]
        record = b"\x01\x42\x00\x33" + bytes([0xFC | self.length - 1])
        for mask, ones in ((0xE0, sequence), (0, picture)):
            record += bytes([mask | len(ones)])
            record += b"".join(struct.pack(">H", len(one)) + one for one in ones)
        entry = box(
            self.codec, bytes(24), struct.pack(">HH", 64, 64), bytes(50), box(b"avcC", record)
        )
        count = len(self.frames) if self.told is None else self.told
        sizes = () if self.each else tuple(map(len, self.frames))
        table = box(
            b"stbl",
            box(b"stsd", bytes(4), struct.pack(">I", 1), entry),
            full(b"stts", 1, count, 1),
            full(b"stsc", 1, 1, count if self.per_chunk is None else self.per_chunk, 1),
            full(b"stsz", self.each, count, *sizes),
            full(b"stco", 1, at),
        )
        media = box(
            b"mdia",
            full(b"mdhd", 0, 0, 8, len(self.frames), 0),
            box(b"hdlr", bytes(8), b"vide", bytes(13)),
            box(b"minf", table),
        )
        return box(b"moov", full(b"mvhd", *([0] * 24)), box(b"trak", media))


def sample(frame: bytes, length: int = 4) -> bytes:
    return b"".join(len(unit).to_bytes(length, "big") + unit for unit in units_of(frame))


def late(sps: Sps, count: int = 30) -> File:
    """One key frame and skipped ones, behind that set."""
    stream = Stream(sps)
    frames = [stream.key()] + [stream.skipped(order=2 * n) for n in range(1, count)]
    return File(units_of(stream.sets()), [sample(frame) for frame in frames])


LARGE = Sps(120, 68, order=0, references=1, vui=Vui(reorder=16))
DEEP = Sps(120, 68, 1, 244, order=0, chroma=3, depth=14, chroma_depth=14, vui=Vui(reorder=16))


def second_set() -> File:
    """An honest set in front, and the other one in the first frame."""
    file = late(DEEP)
    file.frames[0] = sample(DEEP.unit() + pps()) + file.frames[0]
    file.sets = units_of(Stream(Sps()).sets())
    return file


# Malicious videos by name
HARM = {
    "deep": lambda: late(DEEP).data(),
    "second set": lambda: second_set().data(),
    "large": lambda: late(Sps(256, 256, order=0, vui=Vui(reorder=16))).data(),
    "index": lambda: File(units_of(Stream(Sps()).sets()), [b"x"], told=1 << 25, each=1).data(),
}
