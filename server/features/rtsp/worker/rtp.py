"""RTP packets of a camera to whole frames: H.264 (RFC 6184) and H.265 (RFC 7798). Pure.

They come over TCP: in order, and none is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

# Largest frame; a larger one is dropped whole. A key frame of 4096×4096 at high quality has 4 MB.
MAX_FRAME_BYTES = 8 << 20
START = b"\0\0\0\1"
# NAL unit types (H.264 table 7-1, H.265 table 7-1)
_H264_IDR, _H264_SPS = 5, 7
_H264_SINGLE_TIME, _H264_FRAGMENT = 24, 28
_H265_IRAP = range(16, 24)
_H265_AGGREGATE, _H265_FRAGMENT, _H265_PACI = 48, 49, 50


@dataclass(frozen=True, slots=True)
class Unit:
    """One encoded picture. `at`: monotonic seconds at the arrival of its first packet."""

    data: bytes
    key: bool
    at: float


class Depacketizer:
    """Takes the packets of one stream; counts what it drops in `dropped`."""

    def __init__(self, codec: str, payload_type: int) -> None:
        self._h265 = codec == "H265"
        self._payload_type = payload_type
        self._parts: list[bytes] = []
        self._size = 0
        self._key = False
        self._at = 0.0
        self._timestamp: int | None = None
        self._broken = False
        # A unit of several packets; None while there is none
        self._fragment: list[bytes] | None = None
        self.dropped = 0

    def packet(self, data: bytes, now: float) -> list[Unit]:
        """Take a packet; return the frames that it completes, two at most."""
        payload = self._payload(data)
        if payload is None:
            return []
        done: list[Unit] = []
        timestamp = int.from_bytes(data[4:8], "big")
        if timestamp != self._timestamp:
            # The marker of the one before was missing.
            done += self._end()
            self._timestamp = timestamp
        if not self._parts and self._fragment is None:
            self._at = now
        try:
            self._take(payload)
        except (IndexError, ValueError):
            self._broken = True
        if data[1] & 0x80:
            done += self._end()
        return done

    def _payload(self, data: bytes) -> bytes | None:
        """Return the payload of a packet of this stream (RFC 3550, 5.1); None for any other one."""
        if len(data) < 13 or data[0] >> 6 != 2 or data[1] & 0x7F != self._payload_type:
            return None
        begin = 12 + 4 * (data[0] & 15)
        if data[0] & 0x10:
            if len(data) < begin + 4:
                return None
            begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4], "big")
        end = len(data) - (data[-1] if data[0] & 0x20 else 0)
        return data[begin:end] if begin < end else None

    def _take(self, payload: bytes) -> None:
        kind = payload[0] >> 1 & 0x3F if self._h265 else payload[0] & 0x1F
        single, fragment = (
            (_H265_AGGREGATE, _H265_FRAGMENT) if self._h265 else (_H264_SINGLE_TIME, _H264_FRAGMENT)
        )
        if kind == single:
            at = 2 if self._h265 else 1
            while at < len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                at += 2
                if not size or at + size > len(payload):
                    raise ValueError("a packet ends within a unit")
                self._add(payload[at : at + size])
                at += size
        elif kind == fragment:
            self._take_fragment(payload)
        elif (
            kind > fragment or (self._h265 and kind == _H265_PACI) or (not self._h265 and kind > 23)
        ):
            raise ValueError("a packet of a kind that was not agreed on")
        else:
            self._add(payload)

    def _take_fragment(self, payload: bytes) -> None:
        head = 2 if self._h265 else 1
        flags = payload[head]
        if flags & 0x80:
            self._fragment = [
                (
                    bytes((payload[0] & 0x81 | (flags & 0x3F) << 1, payload[1]))
                    if self._h265
                    else bytes((payload[0] & 0xE0 | flags & 0x1F,))
                )
            ]
        if self._fragment is None:
            raise ValueError("a unit without its beginning")
        self._fragment.append(payload[head + 1 :])
        self._grow(len(payload))
        if flags & 0x40:
            whole, self._fragment = b"".join(self._fragment), None
            self._size -= len(whole)
            self._add(whole)

    def _add(self, unit: bytes) -> None:
        self._grow(len(unit) + len(START))
        kind = unit[0] >> 1 & 0x3F if self._h265 else unit[0] & 0x1F
        if self._h265:
            self._key = self._key or kind in _H265_IRAP
        else:
            # Some cameras begin a group with a plain I picture behind a parameter set.
            self._key = self._key or kind in (_H264_IDR, _H264_SPS)
        self._parts += (START, unit)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_FRAME_BYTES:
            self._parts, self._fragment, self._size = [], None, 0
            self._broken = True
            raise ValueError("a frame is too large")

    def _end(self) -> list[Unit]:
        whole = bool(self._parts) and not self._broken and self._fragment is None
        done = [Unit(b"".join(self._parts), self._key, self._at)] if whole else []
        self.dropped += bool(self._parts or self._broken or self._fragment) and not whole
        self._parts, self._fragment, self._size = [], None, 0
        self._key = self._broken = False
        return done
