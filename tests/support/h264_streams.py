"""H.264 bit by bit (ITU-T H.264 section 7.3): sets that promise anything, and pictures of few bytes
that hold to them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

# Profiles whose sets say more about the samples.
HIGH = frozenset({100, 110, 118, 122, 128, 244, 44, 144})


class Bits:
    """Writes bits, most significant first."""

    def __init__(self) -> None:
        self._text: list[str] = []

    def u(self, count: int, value: int) -> Bits:
        if count:
            self._text.append(f"{value:0{count}b}")
        return self

    def read_ue(self, *values: int) -> Bits:
        for value in values:
            length = (value + 1).bit_length()
            self.u(2 * length - 1, value + 1)
        return self

    def read_se(self, *values: int) -> Bits:
        return self.read_ue(*(2 * value - 1 if value > 0 else -2 * value for value in values))

    def text(self, ones_and_zeros: str) -> Bits:
        self._text.append(ones_and_zeros)
        return self

    def rbsp(self) -> bytes:
        """With the stop bit, on whole bytes."""
        text = "".join(self._text) + "1"
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


def unit(header: int, rbsp: bytes) -> bytes:
    """A NAL unit behind its start code, with emulation prevention."""
    out = bytearray(b"\0\0\0\1")
    out.append(header)
    zeros = 0
    for byte in rbsp:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


@dataclass(frozen=True)
class Vui:
    """Usability information, behind the fields that a decoder needs. None: the part is absent."""

    reorder: int | None = None
    buffering: int = 16
    full_range: bool | None = None
    # Colour primaries, transfer, matrix
    colors: tuple[int, int, int] | None = None
    aspect: tuple[int, int] | None = None
    timing: bool = False
    hrd: bool = False


@dataclass(frozen=True)
class Sps:
    """A sequence parameter set; sizes in macroblocks."""

    width: int = 4
    height: int = 4
    references: int = 1
    profile: int = 66
    level: int = 51
    number: int = 0
    chroma: int = 1
    planes: bool = False
    depth: int = 8
    chroma_depth: int = 8
    lossless: bool = False
    # Lists of differences (8 of them), None where the list is not there
    scaling: tuple[tuple[int, ...] | None, ...] = ()
    order: int = 2
    gaps: bool = False
    frames_only: bool = True
    # Left, right, top, bottom
    crop: tuple[int, int, int, int] | None = None
    vui: Vui | None = None

    def rbsp(self) -> bytes:
        bits = Bits().u(8, self.profile).u(8, 0).u(8, self.level).read_ue(self.number)
        if self.profile in HIGH:
            bits.read_ue(self.chroma)
            if self.chroma == 3:
                bits.u(1, self.planes)
            bits.read_ue(self.depth - 8, self.chroma_depth - 8).u(1, self.lossless)
            bits.u(1, bool(self.scaling))
            for deltas in self.scaling:
                bits.u(1, deltas is not None).read_se(*deltas or ())
        bits.read_ue(4, self.order)
        if self.order == 0:
            bits.read_ue(4)
        elif self.order == 1:
            bits.u(1, 0).read_se(0, 0).read_ue(0)
        bits.read_ue(self.references).u(1, self.gaps).read_ue(self.width - 1)
        bits.read_ue(self.height // (1 if self.frames_only else 2) - 1).u(1, self.frames_only)
        if not self.frames_only:
            bits.u(1, 0)
        bits.u(1, 1)
        bits.u(1, self.crop is not None).read_ue(*self.crop or ())
        bits.u(1, self.vui is not None)
        if self.vui is not None:
            _vui(bits, self.vui)
        return bits.rbsp()

    def unit(self, header: int = 0x67) -> bytes:
        return unit(header, self.rbsp())


def _vui(bits: Bits, vui: Vui) -> None:
    bits.u(1, vui.aspect is not None)
    if vui.aspect is not None:
        bits.u(8, 255).u(16, vui.aspect[0]).u(16, vui.aspect[1])
    bits.u(1, 0)
    bits.u(1, vui.full_range is not None)
    if vui.full_range is not None:
        bits.u(3, 5).u(1, vui.full_range).u(1, vui.colors is not None)
        for color in vui.colors or ():
            bits.u(8, color)
    bits.u(1, 0)
    bits.u(1, vui.timing)
    if vui.timing:
        bits.u(32, 1).u(32, 60).u(1, 1)
    bits.u(1, vui.hrd)
    if vui.hrd:
        bits.read_ue(0).u(8, 0).read_ue(0, 0).u(1, 0).u(5, 23).u(5, 23).u(5, 23).u(5, 24)
    bits.u(1, 0)
    if vui.hrd:
        bits.u(1, 0)
    bits.u(1, 0)
    bits.u(1, vui.reorder is not None)
    if vui.reorder is not None:
        bits.u(1, 1).read_ue(0, 0, 16, 16, vui.reorder, vui.buffering)


def pps(number: int = 0, sps: int = 0, *, groups: int = 1, kind: int = 0) -> bytes:
    """A picture parameter set: CAVLC, deblocking as the slice says.

    `groups` of slices: in turns of one macroblock (`kind` 0), scattered (1), or as a map says (6).
    """
    bits = Bits().read_ue(number, sps).u(1, 0).u(1, 0).read_ue(groups - 1)
    if groups > 1:
        bits.read_ue(kind)
        if kind == 0:
            bits.read_ue(*[0] * groups)
        elif kind == 6:
            bits.read_ue(8191)
            for at in range(8192):
                bits.u((groups - 1).bit_length(), at % groups)
    bits.read_ue(0, 0).u(1, 0).u(2, 0)
    bits.read_se(0, 0, 0).u(1, 1).u(1, 0).u(1, 0)
    return unit(0x68, bits.rbsp())


# A macroblock of 16×16 intra prediction without residual, by chroma format
GREY = {0: "0010011", 1: "00100111", 2: "00100111", 3: "001001111"}


@dataclass
class Stream:
    """Pictures of one size: grey key frames of a byte a macroblock, and skipped ones of ten bytes."""

    sps: Sps
    # The picture parameter set that slices name
    pps: int = 0
    _number: int = field(default=0, init=False)
    _idr: int = field(default=0, init=False)

    def sets(self) -> bytes:
        return self.sps.unit() + pps(self.pps, self.sps.number)

    def key(self) -> bytes:
        """An IDR picture, without sets."""
        return self.slices([0])[0]

    def slices(self, firsts: list[int]) -> list[bytes]:
        """An IDR picture without sets, in slices that begin at these macroblocks; each is its own
        unit, as ordered.
        """
        self._number = 0
        self._idr ^= 1
        whole = self.sps.width * self.sps.height
        units = []
        for first in firsts:
            bits = self._header(7, key=True, reference=True, order=0, first=first)
            end = min((other for other in firsts if other > first), default=whole)
            bits.text(GREY[self.sps.chroma] * (end - first))
            units.append(unit(0x65, bits.rbsp()))
        return units

    def skipped(self, *, reference: bool = True, order: int = 0) -> bytes:
        """The picture before once more. `order`: its place, where the set has places (type 0)."""
        self._number += 1
        bits = self._header(5, key=False, reference=reference, order=order)
        bits.read_ue(self.sps.width * self.sps.height)
        if not reference:
            self._number -= 1
        return unit(0x61 if reference else 0x01, bits.rbsp())

    def wild(self, chance: random.Random) -> bytes:
        """A picture or a field whose number, place and marking are as they come."""
        key, reference = chance.random() < 0.03, chance.random() < 0.6
        half = not self.sps.frames_only and chance.random() < 0.5
        self._number = 0 if key else self._number + chance.choice([0, 1, 1, 1, 6, 21])
        self._idr ^= key
        bits = Bits().read_ue(0, 7 if key else 5, self.pps).u(8, self._number % 256)
        if not self.sps.frames_only:
            bits.u(1, half)
            if half:
                bits.u(1, chance.randrange(2))
        if key:
            bits.read_ue(self._idr)
        if self.sps.order == 0:
            bits.u(8, chance.choice([2 * self._number % 256, chance.randrange(256)]))
        elif self.sps.order == 1:
            bits.read_se(chance.choice([0, 3, -5, 100]))
        if key:
            bits.u(2, chance.randrange(4))
        else:
            bits.u(2, 0)
            if reference:
                _marking(bits, chance)
        bits.read_se(0).read_ue(1)
        count = self.sps.width * self.sps.height // (2 if half else 1)
        if key:
            bits.text(GREY[1] * count)
        else:
            bits.read_ue(count)
        return unit(0x65 if key else 0x61 if reference else 0x01, bits.rbsp())

    def _header(self, kind: int, *, key: bool, reference: bool, order: int, first: int = 0) -> Bits:
        bits = Bits().read_ue(first, kind, self.pps).u(8, self._number % 256)
        if not self.sps.frames_only:
            bits.u(1, 0)
        if key:
            bits.read_ue(self._idr)
        if self.sps.order == 0:
            bits.u(8, order % 256)
        elif self.sps.order == 1:
            bits.read_se(0)
        if not key:
            bits.u(1, 0).u(1, 0)
        if reference:
            bits.u(2 if key else 1, 0)
        return bits.read_se(0).read_ue(1)


def _marking(bits: Bits, chance: random.Random) -> None:
    """Section 7.3.3.3: by the window, or a few operations of any kind."""
    if chance.random() < 0.7:
        bits.u(1, 0)
        return
    bits.u(1, 1)
    for _ in range(chance.randrange(4)):
        operation = chance.randint(1, 6)
        bits.read_ue(operation)
        if operation in (1, 3):
            bits.read_ue(chance.randrange(4))
        if operation in (2, 3, 6):
            bits.read_ue(chance.randrange(4))
        if operation == 4:
            bits.read_ue(chance.randrange(18))
    bits.read_ue(0)
