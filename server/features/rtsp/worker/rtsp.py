"""RTSP 1.0 (RFC 2326) as far as a camera's picture needs it: messages, SDP, addresses. Pure."""

from __future__ import annotations

import base64
import re
from binascii import Error as NotBase64
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from server.features.rtsp.worker.trouble import SourceFailed, Trouble

# Bounds of a message: its lines before the body, and the body (an SDP is 1 to 2 KiB)
MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
# Seconds of a session without a word of ours where the camera names none (RFC 2326, 12.37)
SESSION_SECONDS = 60
_CODECS = {"H264": "H264", "H265": "H265", "HEVC": "H265"}
# The characters that a request's line may have; a camera chooses the address of its stream.
_ADDRESS = re.compile(r"rtsps?://[\x21-\x7e]{1,1024}")
_SESSION = re.compile(r"[\x21-\x3a\x3c-\x7e]{1,256}")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer. `status` is 0 for a request of the camera, which is not answered."""

    status: int
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """Return the first header of this name (lower case); "" without one."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def body_bytes(self) -> int:
        """Bytes of the body. Raises SourceFailed for no number and for too many."""
        text = self.get("content-length") or "0"
        if not (text.isascii() and text.isdigit() and len(text) < 9):
            raise SourceFailed(Trouble.MALFORMED)
        if int(text) > MAX_BODY_BYTES:
            raise SourceFailed(Trouble.MALFORMED)
        return int(text)


@dataclass(frozen=True, slots=True)
class Track:
    """The stream to play. `sets`: the parameter sets of its description, as NAL units."""

    codec: str
    address: str
    payload_type: int
    sets: tuple[bytes, ...]


def request(method: str, address: str, number: int, headers: dict[str, str]) -> bytes:
    """Write a request. Headers without a value are left out."""
    lines = [f"{method} {address} RTSP/1.0", f"CSeq: {number}", "User-Agent: qwen-camera"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_head(data: bytes) -> Head:
    """Read the head of a message, without its empty line.

    Raises SourceFailed when it is none of RTSP or HTTP.
    """
    lines = data.decode("latin-1").split("\n")
    first = lines[0].strip()
    found = re.match(r"(?:RTSP|HTTP)/\d\.\d (\d{3})(?: |$)", first)
    if found is None and not re.fullmatch(r"[A-Z_]{3,20} \S{1,2048} RTSP/\d\.\d", first):
        raise SourceFailed(Trouble.MALFORMED)
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip().lower(), value.strip()))
    return Head(int(found[1]) if found else 0, tuple(headers))


def check_status(head: Head) -> None:
    """Raise SourceFailed for any answer but a good one; a 401 is the caller's.

    A camera that names another address is not followed: only the host of the settings is spoken to.
    """
    if 300 <= head.status < 400:
        raise SourceFailed(Trouble.REDIRECT)
    if head.status == 404:
        raise SourceFailed(Trouble.NOT_FOUND)
    if head.status in (401, 403):
        raise SourceFailed(Trouble.CREDENTIALS)
    if not 200 <= head.status < 300:
        raise SourceFailed(Trouble.REFUSED)


@dataclass(slots=True)
class _Media:
    """One media section of an SDP."""

    kind: str
    formats: list[str]
    # The names and the parameters of its formats, by number
    names: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    # The name that came last; None for no name
    last: str | None = None
    control: str = ""

    def take(self, attribute: str) -> None:
        """Read an attribute of it."""
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
        """Return its first format that can be decoded. Raises SourceFailed for a wrong address."""
        for number in self.formats[:16]:
            codec = _CODECS.get(self.names.get(number, ""))
            if codec is not None and number.isdigit() and int(number) < 128:
                address = resolve(base, self.control)
                return Track(
                    codec, address, int(number), _sets(codec, self.details.get(number, ""))
                )
        return None


def read_description(body: bytes, base: str) -> Track:
    """Find the first video stream of an SDP (RFC 8866) that can be decoded.

    `base`: the address that its control addresses are relative to. Raises SourceFailed.
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
            other = one.last if one.last is not None else other or _static(one.formats)
        raise SourceFailed(Trouble.CODEC, re.sub(r"[^A-Z0-9-]", "", other)[:16])
    return found[0]


def _static(formats: list[str]) -> str:
    """Name the codec of a payload type that needs no `rtpmap` (RFC 3551); "" for another one."""
    return {"26": "JPEG", "31": "H261", "32": "MPV"}.get("".join(formats[:1]), "")


def resolve(base: str, control: str) -> str:
    """Return a stream's address. Raises SourceFailed for one that cannot stand in a request.

    It is only text for the camera: the connection stays the same.
    """
    if control in ("", "*"):
        address = base
    elif control.lower().startswith(("rtsp://", "rtsps://")):
        address = control
    elif urlsplit(base).query:
        # Cameras append the control to the whole address.
        address = f"{base.rstrip('/')}/{control}"
    else:
        address = urljoin(base if base.endswith("/") else f"{base}/", control)
        if not address.startswith("rtsp"):
            address = f"{base.rstrip('/')}/{control}"
    if _ADDRESS.fullmatch(address) is None:
        raise SourceFailed(Trouble.MALFORMED)
    return address


def _sets(codec: str, details: str) -> tuple[bytes, ...]:
    """Read the parameter sets of an `fmtp` line (RFC 6184, 8.1; RFC 7798, 7.1)."""
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
    """Read a `Session` header: the id, and the seconds until it ends without a word of ours.

    Raises SourceFailed for one that cannot stand in a request.
    """
    name, _, rest = value.partition(";")
    if _SESSION.fullmatch(name.strip()) is None:
        raise SourceFailed(Trouble.MALFORMED)
    found = re.search(r"timeout\s*=\s*(\d{1,5})", rest)
    return name.strip(), max(5, int(found[1])) if found else SESSION_SECONDS


def read_channel(transport: str) -> int:
    """Return the channel of the pictures' packets on our connection.

    Raises SourceFailed when the camera did not agree to send them there.
    """
    found = re.search(r"interleaved\s*=\s*(\d{1,3})", transport)
    if found is None or int(found[1]) > 254:
        raise SourceFailed(Trouble.REFUSED)
    return int(found[1])
