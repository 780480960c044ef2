"""Sources of a camera's frames: RTSP over TCP, HTTP with JPEGs, a local device.

Each `read_*` opens a camera, calls `begin` once it plays, passes each frame to `take`, and ends only
by raising SourceFailed. Connections go only to the host in the settings; all reads are bounded.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import av

from server.features.rtsp.worker import rtsp
from server.features.rtsp.worker.rtsp import (
    MAX_FRAME_BYTES,
    MAX_HEAD_BYTES,
    Depacketizer,
    EncodedPicture,
    FailureReason,
    Head,
    SourceFailed,
)

# Time limit for a connection and for each response, seconds
CONNECT_SECONDS = 10.0
# Seconds without data after which a camera counts as disconnected
SILENT_SECONDS = 10.0
# Interval between two requests for a single picture, seconds
ASK_SECONDS = 1.0
# Maximum addresses of a host name that are tried
MAX_ADDRESSES = 4
_READ_BYTES = 64 * 1024
# Socket receive buffer, for the bursts of cameras
_RECEIVE_BYTES = 1 << 20


class Connection:
    """Connection to one camera. Every method may raise SourceFailed.

    It connects only to `host`: nothing that the camera sends leads to another address.
    """

    def __init__(self, host: str, port: int, *, tls: bool, ca: str = "") -> None:
        """`ca`: PEM file with the certificate authority; "" for the system's."""
        self._held = bytearray()
        self._socket = _connect(host, port)
        if tls:
            self._socket = _encrypt(self._socket, host, ca)
        self._socket.settimeout(SILENT_SECONDS)

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise SourceFailed(FailureReason.SILENT) from None
        except OSError:
            raise SourceFailed(FailureReason.ENDED) from None

    def read_head(self) -> bytes:
        """Return the head of the next message, without its empty line."""
        end = time.monotonic() + CONNECT_SECONDS
        while True:
            for mark in (b"\r\n\r\n", b"\n\n"):
                at = self._held.find(mark)
                if 0 <= at <= MAX_HEAD_BYTES:
                    data = bytes(self._held[:at])
                    del self._held[: at + len(mark)]
                    return data
            if len(self._held) > MAX_HEAD_BYTES:
                raise SourceFailed(FailureReason.MALFORMED)
            self._fill(end)

    def read_exactly(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        end = time.monotonic() + CONNECT_SECONDS
        while len(self._held) < count:
            self._fill(end)
        data = bytes(self._held[:count])
        del self._held[:count]
        return data

    def peek(self, count: int = 1, *, wait: bool = True) -> bytes:
        """Return the next `count` bytes without consuming them; possibly fewer unless `wait`."""
        while wait and len(self._held) < count:
            self._fill()
        return bytes(self._held[:count])

    def skip_to(self, pattern: re.Pattern[bytes]) -> None:
        """Skip to the next match, of at most 16 bytes. Raises SourceFailed if there is none within 16 KiB."""
        skipped = 0
        while (found := pattern.search(self._held, 1)) is None:
            useless = len(self._held) - 16
            if useless > 0:
                skipped += useless
                del self._held[:useless]
            if skipped > MAX_HEAD_BYTES:
                raise SourceFailed(FailureReason.MALFORMED)
            self._fill()
        del self._held[: found.start()]

    def read_available(self) -> bytes:
        """Return the available bytes, at least one."""
        if not self._held:
            self._fill()
        data = bytes(self._held)
        self._held.clear()
        return data

    def _fill(self, end: float = math.inf) -> None:
        if time.monotonic() > end:
            raise SourceFailed(FailureReason.SILENT)
        try:
            data = self._socket.recv(_READ_BYTES)
        except TimeoutError:
            raise SourceFailed(FailureReason.SILENT) from None
        except OSError:
            raise SourceFailed(FailureReason.ENDED) from None
        if not data:
            raise SourceFailed(FailureReason.ENDED)
        self._held += data

    def close(self) -> None:
        self._socket.close()


def _connect(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceFailed(FailureReason.UNREACHABLE) from None
    for family, kind, protocol, _, address in found[:MAX_ADDRESSES]:
        one = socket.socket(family, kind, protocol)
        one.settimeout(CONNECT_SECONDS)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.connect(address)
        except OSError:
            one.close()
            continue
        return one
    raise SourceFailed(FailureReason.UNREACHABLE)


def _encrypt(plain: socket.socket, host: str, ca: str) -> ssl.SSLSocket:
    try:
        context = ssl.create_default_context(cafile=ca or None)
        return context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError:
        plain.close()
        raise SourceFailed(FailureReason.CERTIFICATE) from None
    except (OSError, ValueError):
        plain.close()
        raise SourceFailed(FailureReason.UNREACHABLE) from None


# Authentication with a camera: HTTP Digest (RFC 7616) and Basic. Pure.

_PART = re.compile(r'([A-Za-z-]{1,32})\s*=\s*(?:"((?:[^"\\]|\\.){0,1024})"|([^\s,"]{1,256}))')
# In order of preference. Without an algorithm in the challenge it is MD5.
_HASHES: dict[str, Callable[[bytes], str]] = {
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
}


class Credentials:
    """Credentials of one connection, for its challenges.

    `clear`: the password may be sent unhashed (Basic), because the connection is encrypted or the
    operator allowed it.
    """

    def __init__(self, user: str, password: str, *, clear: bool) -> None:
        self._user = user
        self._password = password
        self._clear = clear
        # The accepted challenge; None before the first
        self._challenge: dict[str, str] | None = None
        self._count = 0

    def choose_challenge(self, headers: Sequence[str]) -> None:
        """Choose the best of the `WWW-Authenticate` headers of a 401.

        Raises SourceFailed if a challenge was answered before (so that user or password are wrong), if
        no user is set, and if only clear text is offered but not allowed.
        """
        stale = self._challenge is not None and any("stale=true" in h.lower() for h in headers)
        if not self._user or (self._challenge is not None and not (stale and self._count < 8)):
            raise SourceFailed(FailureReason.CREDENTIALS)
        digests = [_parse_parts(one) for one in headers if one.lower().startswith("digest ")]
        for name in _HASHES:
            for parts in digests:
                if parts.get("algorithm", "MD5").upper() == name and parts.get("nonce"):
                    self._challenge = {**parts, "algorithm": name}
                    return
        if any(one.lower().startswith("basic") for one in headers):
            if not self._clear:
                raise SourceFailed(FailureReason.CLEAR_PASSWORD)
            self._challenge = {}
            return
        raise SourceFailed(FailureReason.CREDENTIALS)

    def make_header(self, method: str, address: str) -> str:
        """Return the value of `Authorization` for a request; "" before a challenge."""
        if self._challenge is None:
            return ""
        self._count += 1
        if not self._challenge:
            pair = f"{self._user}:{self._password}".encode()
            return f"Basic {base64.b64encode(pair).decode()}"
        return self._make_digest(self._challenge, method, address)

    def _make_digest(self, given: dict[str, str], method: str, address: str) -> str:
        hashed = _HASHES[given["algorithm"]]
        realm, nonce = given.get("realm", ""), given["nonce"]
        plain = re.sub(r"\\(.)", r"\1", realm)
        first = hashed(f"{self._user}:{plain}:{self._password}".encode())
        second = hashed(f"{method}:{address}".encode())
        escaped = re.sub(r'(["\\])', r"\\\1", self._user)
        fields = [
            f'username="{escaped}"',
            f'realm="{realm}"',
            f'nonce="{nonce}"',
            f'uri="{address}"',
        ]
        if "auth" in re.split(r"[,\s]+", given.get("qop", "")):
            count, own = f"{self._count:08x}", hashed(f"{nonce}:{self._count}".encode())[:16]
            answer = hashed(f"{first}:{nonce}:{count}:{own}:auth:{second}".encode())
            fields += ["qop=auth", f"nc={count}", f'cnonce="{own}"']
        else:
            answer = hashed(f"{first}:{nonce}:{second}".encode())
        fields.append(f'response="{answer}"')
        if "opaque" in given:
            fields.append(f'opaque="{given["opaque"]}"')
        if given["algorithm"] != "MD5":
            fields.append(f"algorithm={given['algorithm']}")
        return "Digest " + ", ".join(fields)


def _parse_parts(header: str) -> dict[str, str]:
    """Parse the fields of a challenge; escapes in quoted values are kept."""
    return {
        name.lower(): quoted or bare
        for name, quoted, bare in _PART.findall(header.partition(" ")[2])
    }


_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """Camera of the settings. `clear_password`: the password may be sent unencrypted."""

    url: str
    user: str
    password: str
    ca: str
    clear_password: bool

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or _PORTS[self.scheme]

    @property
    def encrypted(self) -> bool:
        return self.scheme in ("rtsps", "https")

    def connect(self) -> Connection:
        """Connect to the camera. Raises SourceFailed."""
        host = urlsplit(self.url).hostname or ""
        return Connection(host, self.port, tls=self.encrypted, ca=self.ca)

    def credentials(self) -> Credentials:
        clear = self.encrypted or self.clear_password
        return Credentials(self.user, self.password, clear=clear)


# Called with the codec
Begin = Callable[[str], None]
Take = Callable[[EncodedPicture], None]


class _Rtsp:
    """RTSP session over one connection, with RTP packets interleaved."""

    def __init__(self, address: SourceAddress, connection: Connection) -> None:
        self._url = address.url
        self._connection = connection
        self._credentials = address.credentials()
        self._number = 0
        self._session = ""
        self._every = rtsp.SESSION_SECONDS / 2

    def ask(self, method: str, address: str, **headers: str) -> tuple[rtsp.Head, bytes]:
        """Send a request and return its response. Raises SourceFailed for an error status."""
        while True:
            self._send(method, address, **headers)
            while True:
                if self._connection.peek() == b"$":
                    self._read_packet()
                    continue
                head, body = self._read_message()
                if head.status:
                    break
            if head.status != 401:
                rtsp.check_status(head)
                return head, body
            self._credentials.choose_challenge(head.all("www-authenticate"))

    def _send(self, method: str, address: str, **headers: str) -> None:
        self._number += 1
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields["Session"] = self._session
        fields["Authorization"] = self._credentials.make_header(method, address)
        self._connection.send(rtsp.format_request(method, address, self._number, fields))

    def _read_message(self) -> tuple[rtsp.Head, bytes]:
        head = rtsp.read_head(self._connection.read_head().lstrip(b"\r\n"))
        return head, self._connection.read_exactly(head.body_bytes)

    def _read_packet(self) -> tuple[int, bytes]:
        head = self._connection.read_exactly(4)
        return head[1], self._connection.read_exactly(int.from_bytes(head[2:4], "big"))

    def play(self, begin: Begin, take: Take) -> None:
        head, body = self.ask("DESCRIBE", self._url, Accept="application/sdp")
        base = head.get("content-base") or head.get("content-location")
        track = rtsp.read_description(body, base if base.startswith("rtsp") else self._url)
        channels = f"{rtsp.ASKED_CHANNEL}-{rtsp.ASKED_CHANNEL + 1}"
        asked = f"RTP/AVP/TCP;unicast;interleaved={channels}"
        head, _ = self.ask("SETUP", track.address, Transport=asked)
        channel = rtsp.read_channel(head.get("transport"))
        self._session, seconds = rtsp.read_session(head.get("session"))
        self._every = seconds / 2
        whole = base.strip() if base.startswith("rtsp") else self._url
        self.ask("PLAY", rtsp.resolve(whole, "*"), Range="npt=0.000-")
        begin(track.codec)
        frames = Depacketizer(track.codec, track.payload_type, track.sets)
        self._read(
            channel, whole, frames, rtsp.make_packet_pattern(channel, track.payload_type), take
        )

    def _read(
        self,
        channel: int,
        address: str,
        frames: Depacketizer,
        following: re.Pattern[bytes],
        take: Take,
    ) -> None:
        due = time.monotonic() + self._every
        # Time of the last frame, and True if packets since then produced none
        heard, rubbish = time.monotonic(), False
        # True if other bytes follow the last packet, which may be part of it
        odd = False
        while True:
            now = time.monotonic()
            if now >= due:
                # Keeps the session alive; the response arrives among the packets.
                self._send("OPTIONS", address)
                due = now + self._every
            if now - heard > SILENT_SECONDS:
                raise SourceFailed(FailureReason.MALFORMED if rubbish else FailureReason.SILENT)
            begin = self._connection.peek(5)
            if rtsp.is_message_begin(begin):
                head, _ = self._read_message()
                if head.status == 401:
                    # A new nonce
                    self._credentials.choose_challenge(head.all("www-authenticate"))
                elif head.status == 454:
                    raise SourceFailed(FailureReason.ENDED)
                continue
            if not rtsp.is_packet_begin(begin):
                # Some cameras send other bytes between packets, or a wrong length.
                if not odd:
                    frames.mark_loss()
                rubbish, odd = True, False
                self._connection.skip_to(following)
                continue
            number, packet = self._read_packet()
            if number != channel:
                continue
            rubbish = True
            now = time.monotonic()
            begin = self._connection.peek(5, wait=False)
            odd = bool(begin) and not (rtsp.is_packet_begin(begin) or rtsp.is_message_begin(begin))
            for unit in frames.packet(packet, now, whole=not odd):
                if unit.data:
                    heard, rubbish = now, False
                take(unit)


def read_rtsp(address: SourceAddress, begin: Begin, take: Take) -> None:
    with closing(address.connect()) as connection:
        _Rtsp(address, connection).play(begin, take)


def read_http(address: SourceAddress, begin: Begin, take: Take) -> None:
    """Read a stream of JPEGs, or request a single JPEG each second."""
    credentials = address.credentials()
    parts = urlsplit(address.url)
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    begun = False
    while True:
        asked = time.monotonic()
        with closing(address.connect()) as connection:
            fields = {
                "Host": parts.netloc,
                "User-Agent": "qwen-camera",
                "Accept": "multipart/x-mixed-replace, image/jpeg",
                "Authorization": credentials.make_header("GET", path),
            }
            lines = [f"{name}: {value}" for name, value in fields.items() if value]
            connection.send("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
            head = rtsp.read_head(connection.read_head())
            if head.status == 401:
                credentials.choose_challenge(head.all("www-authenticate"))
                continue
            rtsp.check_status(head)
            kind = head.get("content-type").partition(";")[0].strip().lower()
            if kind in ("text/html", "application/xhtml+xml"):
                raise SourceFailed(FailureReason.WEB_PAGE)
            if kind not in ("image/jpeg", "image/jpg"):
                _read_parts(connection, head, begin, take)
            picture = _read_picture(connection, head)
        if not begun:
            begin("JPEG")
        begun = True
        # Captured after the request, unless the camera caches pictures.
        take(EncodedPicture(picture, True, asked))
        credentials = address.credentials()
        time.sleep(max(0.0, asked + ASK_SECONDS - time.monotonic()))


def _read_picture(connection: Connection, head: rtsp.Head) -> bytes:
    """Return the body, which must be one JPEG."""
    end = time.monotonic() + SILENT_SECONDS
    text = head.get("content-length")
    size = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None
    chunks = ChunkDecoder() if "chunked" in head.get("transfer-encoding").lower() else None
    body = bytearray()
    while size is None or len(body) < size:
        try:
            data = connection.read_available()
            body += chunks.feed(data) if chunks is not None else data
            if chunks is not None:
                # `feed` raises ENDED after the last chunk.
                chunks.feed(b"")
        except SourceFailed as error:
            if error.trouble is FailureReason.ENDED and size is None:
                break
            raise
        if len(body) > MAX_FRAME_BYTES:
            raise SourceFailed(FailureReason.SIZE)
        if time.monotonic() > end:
            raise SourceFailed(FailureReason.SILENT)
    picture = bytes(body[:size])
    if not _is_jpeg(picture):
        raise SourceFailed(FailureReason.MALFORMED)
    return picture


def _read_parts(connection: Connection, head: rtsp.Head, begin: Begin, take: Take) -> None:
    parts = MultipartParser(read_boundary(head))
    chunks = ChunkDecoder() if "chunked" in head.get("transfer-encoding").lower() else None
    begin("JPEG")
    heard = time.monotonic()
    while True:
        data = connection.read_available()
        now = time.monotonic()
        for picture, at in parts.feed(chunks.feed(data) if chunks is not None else data, now):
            heard = now
            take(EncodedPicture(picture, True, at))
        if now - heard > SILENT_SECONDS:
            raise SourceFailed(FailureReason.SILENT)


def read_device(path: str, begin: Begin, take: Take) -> None:
    """Read JPEGs from a Video4Linux device. `path`: such as /dev/video0."""
    try:
        container = av.open(
            path,
            format="v4l2",
            options={"input_format": "mjpeg"},
            timeout=(CONNECT_SECONDS, SILENT_SECONDS),
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SourceFailed(_classify_device_error(error)) from None
    with container:
        stream = container.streams.video[0]
        if stream.codec_context.name != "mjpeg":
            raise SourceFailed(FailureReason.CODEC, stream.codec_context.name[:16].upper())
        begin("JPEG")
        try:
            for packet in container.demux(stream):
                if packet.size:
                    take(EncodedPicture(bytes(packet), True, time.monotonic()))
        except av.FFmpegError:
            pass
    raise SourceFailed(FailureReason.ENDED)


def _classify_device_error(error: Exception) -> FailureReason:
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return FailureReason.DEVICE_MISSING
    if code in (errno.EACCES, errno.EPERM):
        return FailureReason.DEVICE_FORBIDDEN
    return FailureReason.DEVICE_BUSY if code == errno.EBUSY else FailureReason.DEVICE_OTHER


def read(address: SourceAddress, begin: Begin, take: Take) -> None:
    """Read a camera until it fails. Raises SourceFailed."""
    if address.url.startswith("/"):
        read_device(address.url, begin, take)
    elif address.scheme in ("rtsp", "rtsps"):
        read_rtsp(address, begin, take)
    else:
        read_http(address, begin, take)


# JPEGs in an HTTP response of type `multipart/x-mixed-replace`, as cameras send it. Pure.

_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"


def _is_jpeg(data: bytes) -> bool:
    return data.startswith(_BEGIN) and data.rstrip(b"\0\r\n").endswith(_END)


_BOUNDARY = re.compile(
    r"multipart/x-mixed-replace\s*;.{0,200}?boundary\s*=\s*\"?([^\s\";]{1,100})", re.I
)


def read_boundary(head: Head) -> bytes:
    """Return the delimiter between two parts. Raises SourceFailed for other content types."""
    kind = head.get("content-type")
    found = _BOUNDARY.match(kind)
    if found is None:
        raise SourceFailed(
            FailureReason.CODEC, re.sub(r"[^A-Z0-9-]", "", kind.partition(";")[0].upper())[:16]
        )
    # Some cameras include the delimiter's dashes in the boundary.
    return b"--" + found[1].removeprefix("--").encode("latin-1")


class MultipartParser:
    """Parser of a multipart body, in pieces of any size. It buffers at most one JPEG."""

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._held = bytearray()
        # Length of the current part; None before its head, or if unknown
        self._left: int | None = None
        self._inside = False
        # Arrival of the current part's first byte, monotonic seconds; infinite before
        self._at = math.inf
        # Bytes of `_held` already searched: each byte is searched once.
        self._looked = 0

    def feed(self, data: bytes, now: float) -> list[tuple[bytes, float]]:
        """Add data. Return the complete JPEGs, each with the arrival of its first byte.

        Other parts are dropped. Raises SourceFailed if one is too large.
        """
        self._held += data
        found: list[tuple[bytes, float]] = []
        while (part := self._find_next_part(now)) is not None:
            if _is_jpeg(part):
                found.append((part, self._at))
        if len(self._held) > MAX_FRAME_BYTES + MAX_HEAD_BYTES:
            raise SourceFailed(FailureReason.SIZE)
        return found

    def _find_next_part(self, now: float) -> bytes | None:
        """Return the next part; None if it is incomplete."""
        if not self._inside and not self._parse_part_headers():
            return None
        if self._held:
            self._at = min(self._at, now)
        if self._left is not None:
            if len(self._held) < self._left:
                return None
            part = bytes(self._held[: self._left])
            del self._held[: self._left]
        else:
            at = self._held.find(self._boundary, self._looked)
            if at < 0:
                self._looked = max(0, len(self._held) - len(self._boundary) + 1)
                return None
            part = bytes(self._held[:at]).rstrip(b"\r\n")
            del self._held[:at]
        self._inside, self._left, self._looked = False, None, 0
        return part

    def _parse_part_headers(self) -> bool:
        """Parse the headers of the next part. Return False if they are incomplete. Raises SourceFailed."""
        at = self._held.find(self._boundary)
        if at < 0:
            # Keep only what may be the beginning of a delimiter.
            del self._held[: max(0, len(self._held) - len(self._boundary))]
            return False
        end, skip = self._held.find(b"\r\n\r\n", at), 4
        if end < 0:
            end, skip = self._held.find(b"\n\n", at), 2
        if end < 0:
            if len(self._held) - at > MAX_HEAD_BYTES:
                raise SourceFailed(FailureReason.MALFORMED)
            return False
        found = re.search(rb"content-length\s*:\s*(\d{1,9})", self._held[at:end], re.I)
        del self._held[: end + skip]
        if found is not None:
            self._left = int(found[1])
            if self._left > MAX_FRAME_BYTES:
                raise SourceFailed(FailureReason.SIZE)
        self._inside, self._at = True, math.inf
        return True


class ChunkDecoder:
    """Decoder of HTTP/1.1's chunked transfer coding (RFC 9112, 7.1)."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """Add data and return the decoded body. Raises SourceFailed at its end and for malformed chunks."""
        self._held += data
        out = bytearray()
        while self._held:
            if self._left:
                piece = self._held[: self._left]
                out += piece
                del self._held[: len(piece)]
                self._left -= len(piece)
                continue
            if self._held.startswith(b"\r\n"):
                del self._held[:2]
                continue
            line, end, _ = bytes(self._held[:256]).partition(b"\r\n")
            if not end:
                if len(self._held) > 64:
                    raise SourceFailed(FailureReason.MALFORMED)
                break
            text = line.partition(b";")[0].strip()
            if re.fullmatch(rb"[0-9A-Fa-f]{1,8}", text) is None:
                raise SourceFailed(FailureReason.MALFORMED)
            self._left = int(text, 16)
            if not self._left:
                if out:
                    # The next call raises ENDED.
                    break
                raise SourceFailed(FailureReason.ENDED)
            del self._held[: len(line) + 2]
        return bytes(out)
