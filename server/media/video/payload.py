"""Parse RTP payloads of VP8 (RFC 7741) and H.264 (RFC 6184), and the colour space extension. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

_START_CODE = b"\0\0\0\1"
# H.264 NAL unit types: ITU-T H.264 table 7-1, and RFC 6184 table 1 for the last two.
_SLICES = range(1, 6)
_IDR = 5
_SEI = 6
_SPS = 7
_ACCESS_UNIT_DELIMITER = 9
# A message of supplemental information (section D.1)
_RECOVERY_POINT = 6
_STAP_A = 24
_FU_A = 28


class Payload(NamedTuple):
    """The part of a frame in one RTP packet."""

    # Bytes for the decoder, to be joined in order; empty for padding
    data: bytes
    # True: certainly the first packet of a frame; False: unknown
    start: bool
    # True: the frame is certainly a key frame, or decoding can begin at it; False: unknown
    key: bool
    # False: parameter sets and other units that belong to the following picture
    picture: bool = True


_EMPTY = Payload(b"", False, False)


def parse(codec: str, payload: bytes) -> Payload:
    """Remove the header of the payload format, in time linear in the length.

    `codec` is "VP8" or "H264". H.264 is returned in Annex B format. An empty payload is padding.
    Raises ValueError for a malformed payload, KeyError for another codec.
    """
    if not payload:
        return _EMPTY
    return _PARSERS[codec](payload)


def _parse_vp8(payload: bytes) -> Payload:
    """Parse RFC 7741 section 4.2: X R N S R PID, then I L T K and the fields that they announce."""
    first = payload[0]
    size = 1
    if first & 0x80:
        if len(payload) < 2:
            raise ValueError("The VP8 descriptor ends before its extension bits.")
        extension = payload[1]
        size = 2
        if extension & 0x80:
            if len(payload) < 3:
                raise ValueError("The VP8 descriptor ends before its picture id.")
            size += 2 if payload[2] & 0x80 else 1
        if extension & 0x40:
            size += 1
        if extension & 0x30:
            size += 1
        if len(payload) < size:
            raise ValueError(f"The VP8 descriptor needs {size} bytes, got {len(payload)}.")
    data = payload[size:]
    # S = 1 and PID = 0, and not empty
    start = first & 0x1F == 0x10 and len(data) > 0
    # Bit 0 of the frame header (RFC 6386 section 9.1) is 0 in a key frame.
    return Payload(data, start, start and not data[0] & 1)


def _parse_h264(payload: bytes) -> Payload:
    """Parse RFC 6184 sections 5.6 (single NAL unit), 5.7.1 (STAP-A) and 5.8 (FU-A)."""
    if len(payload) < 2:
        raise ValueError(f"An H.264 payload needs 2 bytes, got {len(payload)}.")
    header = payload[0]
    kind = header & 0x1F
    if 1 <= kind < _STAP_A:
        data = _START_CODE + payload
        return Payload(data, _starts_frame(kind), _is_key(payload), kind in _SLICES)
    if kind == _FU_A:
        kind = payload[1] & 0x1F
        if not payload[1] & 0x80:
            return Payload(payload[2:], False, False, kind in _SLICES)
        data = b"%b%c%b" % (_START_CODE, header & 0xE0 | kind, payload[2:])
        return Payload(data, _starts_frame(kind), kind in (_IDR, _SPS), kind in _SLICES)
    if kind == _STAP_A:
        return _parse_stap_a(payload)
    raise ValueError(f"H.264 payloads of type {kind} are not supported; 1 to 24 and 28 are.")


def _parse_stap_a(payload: bytes) -> Payload:
    parts: list[bytes] = []
    start = key = picture = False
    position, end = 1, len(payload)
    while position < end:
        unit = position + 2
        if unit > end:
            raise ValueError("A STAP-A payload ends within a length field.")
        position = unit + (payload[position] << 8 | payload[position + 1])
        if position > end:
            raise ValueError("A STAP-A payload ends within a NAL unit.")
        parts.append(_START_CODE)
        if position > unit:
            parts.append(payload[unit:position])
            kind = payload[unit] & 0x1F
            start = start or _starts_frame(kind)
            key = key or _is_key(payload[unit:position])
            picture = picture or kind in _SLICES
    return Payload(b"".join(parts), start, key, picture)


def _is_key(unit: bytes) -> bool:
    """Return True if decoding can begin at the frame of this unit."""
    kind = unit[0] & 0x1F
    return kind in (_IDR, _SPS) or (kind == _SEI and _has_recovery_point(unit))


def _has_recovery_point(unit: bytes) -> bool:
    """Return True if the unit has a recovery point message (ITU-T H.264 section D.1.8).

    Encoders that refresh a picture gradually send no IDR picture, and the decoder returns nothing before the picture
    is complete.
    """
    at = 1
    while at + 1 < len(unit):
        kind, size = unit[at : at + 2]
        if kind == _RECOVERY_POINT:
            return True
        if 255 in (kind, size):
            # Longer messages come after it.
            return False
        at += 2 + size
    return False


def _starts_frame(kind: int) -> bool:
    """Return True if a unit of this type begins a frame, so that decoding needs nothing before it."""
    return kind in (_SPS, _ACCESS_UNIT_DELIMITER)


_PARSERS = {"VP8": _parse_vp8, "H264": _parse_h264}


@dataclass(slots=True, eq=False)
class Packet:
    """A depacketised RTP packet. It belongs to the assembler once added."""

    sequence: int
    timestamp: int
    marker: bool
    # Empty for padding
    data: bytes
    # See `Payload`: True is certain, False means unknown.
    start: bool
    key: bool
    # Monotonic seconds, set by the assembler
    arrived: float = 0.0
    picture: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFrame:
    """A whole frame for the decoder."""

    data: bytes
    # RTP timestamp, 32 bits as on the wire
    timestamp: int
    key: bool
    # Arrival of its earliest packet, monotonic seconds
    first_arrival: float
    # Frames before it are missing.
    after_hole: bool = False


# WebRTC's colour space header extension: the matrix and range of a sender's pictures.
# Browsers that convert pictures themselves state the colour space there (Chromium: BT.709 at full
# range for a canvas and for many cameras), because VP8 has no field for it and their H.264 omits it.
# A wrong matrix shifts the colours.
# Source: webrtc.org/experiments/rtp-hdrext/color-space; the numbers are those of ITU-T H.273.

COLOR_SPACE_URI = "http://www.webrtc.org/experiments/rtp-hdrext/color-space"
# Bytes: primaries, transfer, matrix, range with chroma siting; the longer one adds HDR metadata.
_SIZES = (4, 28)
# YCbCr matrices of libav's scaler (MatrixCoefficients, H.273 table 4): BT.709, FCC, BT.601 twice,
# SMPTE 240M, BT.2020; without GBR, YCgCo and "unspecified"
MATRICES = frozenset({1, 4, 5, 6, 7, 9})
LIMITED, FULL = 1, 2


@dataclass(frozen=True, slots=True)
class ColorSpace:
    """A colour space in libav's numbers.

    `matrix`: one of `MATRICES`; `range`: `LIMITED` (luma 16 to 235) or `FULL` (0 to 255).
    """

    matrix: int
    range: int


def parse_color_space(value: bytes) -> ColorSpace | None:
    """Parse the extension's value; None if it is malformed or has no usable colour space."""
    if len(value) not in _SIZES:
        return None
    matrix, extent = value[2], value[3] >> 4 & 3
    if matrix not in MATRICES or extent not in (LIMITED, FULL):
        return None
    return ColorSpace(matrix, extent)
