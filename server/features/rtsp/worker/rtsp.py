"""Subset of RTSP 1.0 (RFC 2326) for cameras: messages, SDP, addresses, packets of H.264 and H.265; and the reasons for
failures. Pure.
"""

from __future__ import annotations

import base64
import re
from binascii import Error as NotBase64
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urljoin, urlsplit

from server.media.video.decode import Bits


class FailureReason(StrEnum):
    """Reason why a camera cannot be read: a bounded set, for states, log lines and metrics."""

    # No response from its address, or its host name cannot be resolved.
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    # User or password wrong or missing.
    CREDENTIALS = "credentials"
    # It requests the password in clear text over an unencrypted connection.
    CLEAR_PASSWORD = "clear_password"
    # It redirects to another address.
    REDIRECT = "redirect"
    # The path of its URL is wrong.
    NOT_FOUND = "not_found"
    # Another error status, for example because it is busy.
    REFUSED = "refused"
    # It sends RTP over UDP only, not over the connection.
    UDP_ONLY = "udp_only"
    # It does not send H.264, H.265 or JPEGs.
    CODEC = "codec"
    # It answers with a web page.
    WEB_PAGE = "web_page"
    # Unsupported pictures of a known codec.
    FORMAT = "format"
    SIZE = "size"
    MEMORY = "memory"
    SILENT = "silent"
    ENDED = "ended"
    MALFORMED = "malformed"
    # A local device: not found, no permission, not a supported camera, in use by another program.
    DEVICE_MISSING = "device_missing"
    DEVICE_FORBIDDEN = "device_forbidden"
    DEVICE_OTHER = "device_other"
    DEVICE_BUSY = "device_busy"
    # The process that reads it ended unexpectedly.
    CRASHED = "crashed"


class SourceFailed(Exception):
    """Raised when the camera cannot be read.

    Not a QwenCameraError: it never leaves the worker's process. `detail`: a codec's name, from a
    bounded alphabet; never other text from the camera.
    """

    def __init__(self, trouble: FailureReason, detail: str = "") -> None:
        super().__init__(trouble.value)
        self.trouble = trouble
        self.detail = detail


# Maximum bytes of a message's head, and of its body (an SDP has 1 to 2 KiB)
MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
# Default session timeout (RFC 2326, 12.37)
SESSION_SECONDS = 60
_CODECS = {"H264": "H264", "H265": "H265", "HEVC": "H265"}
# Characters allowed in a request line: a camera chooses the address of its stream.
_ADDRESS = re.compile(r"rtsps?://[\x21-\x7e]{1,1024}")
_SESSION = re.compile(r"[\x21-\x3a\x3c-\x7e]{1,256}")


@dataclass(frozen=True, slots=True)
class Head:
    """Head of a message. `status` is 0 for a request from the camera, which is not answered."""

    status: int
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """Return the first header of this name (in lower case); "" if there is none."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def body_bytes(self) -> int:
        """Length of the body, bytes. Raises SourceFailed if it is malformed or too large."""
        text = self.get("content-length") or "0"
        number = text.isascii() and text.isdigit() and len(text) < 9
        if not number or int(text) > MAX_BODY_BYTES:
            raise SourceFailed(FailureReason.MALFORMED)
        return int(text)


@dataclass(frozen=True, slots=True)
class Track:
    """Stream to play. `sets`: the parameter sets in its description, as NAL units."""

    codec: str
    address: str
    payload_type: int
    sets: tuple[bytes, ...]


def format_request(method: str, address: str, number: int, headers: dict[str, str]) -> bytes:
    """Return a request's bytes. Headers with empty values are omitted."""
    lines = [f"{method} {address} RTSP/1.0", f"CSeq: {number}", "User-Agent: qwen-camera"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_head(data: bytes) -> Head:
    """Parse the head of a message; `data`: without its empty line.

    Raises SourceFailed if it is neither RTSP nor HTTP.
    """
    lines = data.decode("latin-1").split("\n")
    first = lines[0].strip()
    found = re.match(r"(?:RTSP|HTTP)/\d\.\d (\d{3})(?: |$)", first)
    if found is None and not re.fullmatch(r"[A-Z_]{3,20} \S{1,2048} RTSP/\d\.\d", first):
        raise SourceFailed(FailureReason.MALFORMED)
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip().lower(), value.strip()))
    return Head(int(found[1]) if found else 0, tuple(headers))


def check_status(head: Head) -> None:
    """Raise SourceFailed unless the status is 2xx. The caller handles 401 before.

    Redirects are not followed: connections go only to the host in the settings.
    """
    if 300 <= head.status < 400:
        raise SourceFailed(FailureReason.REDIRECT)
    if head.status == 404:
        raise SourceFailed(FailureReason.NOT_FOUND)
    if head.status in (401, 403):
        raise SourceFailed(FailureReason.CREDENTIALS)
    if head.status == 461:
        raise SourceFailed(FailureReason.UDP_ONLY)
    if not 200 <= head.status < 300:
        raise SourceFailed(FailureReason.REFUSED)


@dataclass(slots=True)
class _Media:
    """Media section of an SDP."""

    kind: str
    formats: list[str]
    # Names and parameters of its formats, by payload type
    names: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    # The last name; None if there is none
    last: str | None = None
    control: str = ""

    def take(self, attribute: str) -> None:
        name, colon, value = attribute.partition(":")
        number, _, text = value.partition(" ")
        match name + colon:
            case "rtpmap:":
                self.names[number] = self.last = text.partition("/")[0].upper()
            case "fmtp:":
                self.details[number] = text
            case "control:":
                self.control = value.strip()

    def track(self, base: str) -> Track | None:
        """Return the first supported format; None if there is none. Raises SourceFailed for a bad address."""
        for number in self.formats[:16]:
            codec = _CODECS.get(self.names.get(number, ""))
            if codec is not None and number.isdigit() and int(number) < 128:
                address = resolve(base, self.control)
                return Track(
                    codec,
                    address,
                    int(number),
                    _parse_parameter_sets(codec, self.details.get(number, "")),
                )
        return None


def read_description(body: bytes, base: str) -> Track:
    """Return the first supported video stream of an SDP (RFC 8866).

    `base`: base address of its control addresses. Raises SourceFailed.
    """
    sections: list[_Media] = []
    for line in body.decode("utf-8", "replace").splitlines()[:1000]:
        key, _, value = line.strip().partition("=")
        if key == "m":
            kind, _, rest = value.partition(" ")
            sections.append(_Media(kind, rest.split()[2:]))
        elif key == "a" and sections:
            sections[-1].take(value)
    videos = [one for one in sections if one.kind == "video"]
    found = [track for one in videos if (track := one.track(base)) is not None]
    if not found:
        other = ""
        for one in videos:
            other = one.last if one.last is not None else other or _get_static_codec(one.formats)
        raise SourceFailed(FailureReason.CODEC, re.sub(r"[^A-Z0-9-]", "", other)[:16])
    return found[0]


def _get_static_codec(formats: list[str]) -> str:
    """Return the codec of a static payload type (RFC 3551); "" for others."""
    return {"26": "JPEG", "31": "H261", "32": "MPV"}.get("".join(formats[:1]), "")


def resolve(base: str, control: str) -> str:
    """Return a stream's address. Raises SourceFailed for characters not allowed in a request.

    It is sent to the camera only as text: the connection stays the same.
    """
    if control in ("", "*"):
        address = base
    elif control.lower().startswith(("rtsp://", "rtsps://")):
        address = control
    elif urlsplit(base).query:
        # With a query, cameras append the control to the whole address.
        address = f"{base.rstrip('/')}/{control}"
    else:
        address = urljoin(base if base.endswith("/") else f"{base}/", control)
        if not address.startswith("rtsp"):
            address = f"{base.rstrip('/')}/{control}"
    if _ADDRESS.fullmatch(address) is None:
        raise SourceFailed(FailureReason.MALFORMED)
    return address


def _parse_parameter_sets(codec: str, details: str) -> tuple[bytes, ...]:
    """Return the parameter sets in an `fmtp` line (RFC 6184, 8.1; RFC 7798, 7.1)."""
    names = (
        ("sprop-parameter-sets",) if codec == "H264" else ("sprop-vps", "sprop-sps", "sprop-pps")
    )
    fields = {}
    for part in details.split(";"):
        name, _, value = part.strip().partition("=")
        fields[name.lower()] = value
    sets: list[bytes] = []
    for name in names:
        for text in fields.get(name, "").split(",")[:8]:
            try:
                unit = base64.b64decode(text, validate=True)
            except (NotBase64, ValueError):
                continue
            if unit:
                sets.append(unit)
    return tuple(sets)


def read_session(value: str) -> tuple[str, int]:
    """Parse a `Session` header. Return the id and the timeout, seconds.

    Raises SourceFailed for characters not allowed in a request.
    """
    name, _, rest = value.partition(";")
    if _SESSION.fullmatch(name.strip()) is None:
        raise SourceFailed(FailureReason.MALFORMED)
    found = re.search(r"timeout\s*=\s*(\d{1,5})", rest)
    return name.strip(), max(5, int(found[1])) if found else SESSION_SECONDS


# First bytes of a response, and of the requests that a camera may send
_MESSAGES = b"RTSP/", b"OPTIO", b"GET_P", b"SET_P", b"ANNOU", b"REDIR", b"TEARD", b"PLAY_"


def is_packet_begin(data: bytes) -> bool:
    """Return True if an interleaved packet (RFC 2326, 10.12) may begin with `data`, at most five bytes."""
    if data[:1] != b"$" or len(data) < 5:
        return data[:1] == b"$"
    # RTP and RTCP have version 2; an empty packet has neither.
    return data[4] >> 6 == 2 or data[2:4] == b"\0\0"


def is_message_begin(data: bytes) -> bool:
    """Return True if a message may begin with `data`, at most five bytes, possibly after a line end."""
    rest = data.lstrip(b"\r\n")
    return bool(rest) and any(one.startswith(rest) for one in _MESSAGES)


def make_packet_pattern(channel: int, payload_type: int) -> re.Pattern[bytes]:
    """Return a pattern for the beginning of the stream's next packet, or of a response."""
    kinds = re.escape(bytes((payload_type, payload_type | 0x80)))
    head = re.escape(bytes((ord("$"), channel)))
    return re.compile(rb"%b..[\x80-\xbf][%b]|RTSP/1" % (head, kinds), re.DOTALL)


# Requested channel of the RTP packets; RTCP uses the next one.
ASKED_CHANNEL = 0


def read_channel(transport: str) -> int:
    """Return the channel of the RTP packets; the requested channel if `transport` names none.

    Raises SourceFailed if the camera does not send over this connection.
    """
    found = re.search(r"interleaved\s*=\s*(\d{1,3})", transport)
    channel = int(found[1]) if found is not None else ASKED_CHANNEL
    if (found is None and transport and "/TCP" not in transport.upper()) or channel > 254:
        raise SourceFailed(FailureReason.UDP_ONLY)
    return channel


# Depacketizing of H.264 (RFC 6184) and H.265 (RFC 7798). Packets arrive over TCP in order, but a camera
# may omit some on a slow connection.

# Maximum size of a frame; larger ones are dropped. A key frame of 4096×4096 at high quality has 4 MB.
MAX_FRAME_BYTES = 8 << 20
# Maximum number of parameter sets, and bytes of one
MAX_SETS, MAX_SET_BYTES = 32, 1024
# Consecutive sequence numbers before a gap counts: some cameras do not number their packets.
SURE_NUMBERS = 8
START = b"\0\0\0\1"
# NAL unit types (H.264 table 7-1, H.265 table 7-1)
_H264_SLICES, _H265_SLICES = range(1, 6), range(32)
_H264_IDR, _H264_SPS, _H264_SETS = 5, 7, range(7, 9)
_SPS, _PPS = {7, 33}, {8, 34}
_H264_SINGLE_TIME, _H264_FRAGMENT = 24, 28
_H265_IRAP, _H265_SETS = range(16, 24), range(32, 35)
_H265_AGGREGATE, _H265_FRAGMENT, _H265_PACI = 48, 49, 50


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """Encoded picture. `at`: arrival of its first slice or byte, monotonic seconds.

    Empty `data` marks a lost picture: later ones need a key frame.
    """

    data: bytes
    key: bool
    at: float
    # True if earlier pictures are missing: decode without references
    after_hole: bool = False


def _get_payload(data: bytes) -> bytes | None:
    """Return a packet's payload (RFC 3550, 5.1); None if there is none."""
    begin = 12 + 4 * (data[0] & 15)
    if data[0] & 0x10:
        if len(data) < begin + 4:
            return None
        begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4], "big")
    end = len(data) - (data[-1] if data[0] & 0x20 else 0)
    return data[begin:end] if begin < end else None


class Depacketizer:
    """Depacketizer of one stream. It puts the newest parameter sets in front of key frames.

    Incomplete frames, and key frames without parameter sets, are lost.

    Bounds of parameter sets: 32 of 1 KiB; more are dropped.
    """

    def __init__(self, codec: str, payload_type: int, sets: Iterable[bytes] = ()) -> None:
        """Take the parameter sets `sets` in the stream's description."""
        self._h265 = codec == "H265"
        self._payload_type = payload_type
        # Parameter sets by type and id
        self._sets: dict[tuple[int, int], bytes] = {}
        for unit in sets:
            self._keep_set(unit)
        # True after the first whole frame, and after parameter sets inside the stream
        self._begun = self._repeats_sets = False
        # Types of the parameter sets since the last frame
        self._new_sets: set[int] = set()
        # False once a frame continued after its marker: frames then end at the next timestamp
        self._markers = True
        # Parts, key flag and time of the frame of this timestamp that a marker ended
        self._closed: tuple[list[bytes], bool, float] | None = None
        # Last sequence number, and count of consecutive ones
        self._sequence = self._followed = 0
        self._parts: list[bytes] = []
        self._size = 0
        # True once the frame has a slice; earlier parts belong to the next picture
        self._picture = False
        self._key = False
        self._at = 0.0
        self._timestamp: int | None = None
        self._broken = False
        # Parts of a fragmented unit; None if there is none
        self._fragment: list[bytes] | None = None

    def packet(self, data: bytes, now: float, *, whole: bool = True) -> list[EncodedPicture]:
        """Add a packet. Return the frames that it completes, at most two.

        `whole`: False if its end is known to be missing.
        """
        if len(data) < 12 or data[0] >> 6 != 2 or data[1] & 0x7F != self._payload_type:
            return []
        if self._has_gap(int.from_bytes(data[2:4], "big")):
            self.mark_loss()
        payload = _get_payload(data)
        if payload is None:
            return []
        done: list[EncodedPicture] = []
        timestamp = int.from_bytes(data[4:8], "big")
        if timestamp != self._timestamp:
            # The marker of the previous frame was missing.
            done += self._end()
            self._timestamp, self._closed = timestamp, None
        if not self._picture and self._fragment is None:
            self._at = now
        try:
            self._take(payload)
        except (IndexError, ValueError):
            self._broken = True
        if not whole:
            self.mark_loss()
        if data[1] & 0x80 and self._markers:
            done += self._end()
        return done

    def mark_loss(self) -> None:
        """Mark packets as missing before the next one."""
        self._broken = True
        if self._repeats_sets:
            # The missing packets may contain newer parameter sets.
            self._sets.clear()

    def _has_gap(self, sequence: int) -> bool:
        step, self._sequence = (sequence - self._sequence) & 0xFFFF, sequence
        sure = self._followed >= SURE_NUMBERS
        self._followed += step == 1
        return sure and 1 < step < 0x8000

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
            raise ValueError("a packet has an unexpected type")
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
            raise ValueError("the first fragment of a unit is missing")
        self._fragment.append(payload[head + 1 :])
        self._grow(len(payload))
        if flags & 0x40:
            whole, self._fragment = b"".join(self._fragment), None
            self._size -= len(whole)
            self._add(whole)

    def _add(self, unit: bytes) -> None:
        kind = unit[0] >> 1 & 0x3F if self._h265 else unit[0] & 0x1F
        if kind in (_H265_SETS if self._h265 else _H264_SETS):
            self._repeats_sets = self._repeats_sets or self._begun
            self._new_sets.add(kind)
            self._keep_set(unit)
            return
        if kind in (_H265_SLICES if self._h265 else _H264_SLICES):
            # The first bit after the header is set in the first slice of a picture.
            if not unit[2 if self._h265 else 1] & 0x80 and not self._picture:
                self._resume()
            self._picture = True
            self._key = self._key or kind in (_H265_IRAP if self._h265 else (_H264_IDR,))
        self._grow(len(unit) + len(START))
        self._parts += (START, unit)

    def _keep_set(self, unit: bytes) -> None:
        """Store a parameter set, replacing the one with its id; drop a malformed one."""
        kind = unit[0] >> 1 & 0x3F if self._h265 else unit[0] & 0x1F
        try:
            if not self._h265:
                number = Bits(unit[4 if kind in _SPS else 1 :]).read_ue(255)
            else:
                # The id of a VPS or SPS is further inside; cameras have one of each.
                number = Bits(unit[2:]).read_ue(63) if kind in _PPS else 0
        except ValueError:
            return
        known = (kind, number) in self._sets
        if len(unit) <= MAX_SET_BYTES and (known or len(self._sets) < MAX_SETS):
            self._sets[kind, number] = unit

    def _resume(self) -> None:
        """Continue the frame that a marker ended. Raises ValueError if there is none."""
        if self._closed is None:
            raise ValueError("the first packet of a frame is missing")
        self._markers = False
        parts, self._key, self._at = self._closed
        if not self._key:
            raise ValueError("a frame that is not a key frame continued after it had been returned")
        self._parts = parts + self._parts
        self._size += sum(map(len, parts))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_FRAME_BYTES:
            self._parts, self._fragment, self._size = [], None, 0
            self._broken = True
            raise ValueError("a frame is too large")

    def _end(self) -> list[EncodedPicture]:
        """Return the frame, or an EncodedPicture without data if it was lost; [] without a picture."""
        if not (self._picture or self._broken or self._fragment):
            return []
        parts, at = self._parts, self._at
        # Some cameras begin a group with a non-IDR I picture after a parameter set.
        key = self._key or _H264_SPS in self._new_sets
        whole = self._picture and not self._broken and self._fragment is None
        sets: list[bytes] = []
        if key or self._new_sets:
            kinds = {kind for kind, _ in self._sets}
            whole = whole and not kinds.isdisjoint(_SPS) and not kinds.isdisjoint(_PPS)
            sets = [piece for _, unit in sorted(self._sets.items()) for piece in (START, unit)]
        self._closed = (parts, key and whole, at)
        self._begun = self._begun or whole
        self._parts, self._fragment, self._size = [], None, 0
        self._key = self._broken = self._picture = False
        self._new_sets.clear()
        return [
            EncodedPicture(b"".join(sets + parts), key, at)
            if whole
            else EncodedPicture(b"", False, at)
        ]
