"""The ways to a camera's frames: RTSP over TCP, HTTP with JPEGs, a device of this machine.

Each `read_*` opens a camera, calls `begin` once it plays, hands each frame to `take`, and only
returns by raising SourceFailed.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import av

from server.features.rtsp.worker import rtsp
from server.features.rtsp.worker.connection import (
    CONNECT_SECONDS,
    SILENT_SECONDS,
    Connection,
    Credentials,
)
from server.features.rtsp.worker.rtp import MAX_FRAME_BYTES, Depacketizer, Unit
from server.features.rtsp.worker.rtsp import MAX_HEAD_BYTES, Head
from server.features.rtsp.worker.trouble import SourceFailed, Trouble

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_INTERLEAVED = ord("$")


@dataclass(frozen=True, slots=True)
class Address:
    """A camera of the settings. `clear_password`: it may have the password unencrypted."""

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
        """Raises SourceFailed."""
        host = urlsplit(self.url).hostname or ""
        return Connection(host, self.port, tls=self.encrypted, ca=self.ca)

    def credentials(self) -> Credentials:
        clear = self.encrypted or self.clear_password
        return Credentials(self.user, self.password, clear=clear)


# Called with the codec and its parameter sets
Begin = Callable[[str, tuple[bytes, ...]], None]
Take = Callable[[Unit], None]


class _Rtsp:
    """One RTSP session over one connection, its packets interleaved with its answers."""

    def __init__(self, address: Address, connection: Connection) -> None:
        self._url = address.url
        self._connection = connection
        self._credentials = address.credentials()
        self._number = 0
        self._session = ""
        self._every = rtsp.SESSION_SECONDS / 2

    def ask(self, method: str, address: str, **headers: str) -> tuple[rtsp.Head, bytes]:
        """Send a request and return its answer. Raises SourceFailed for any but a good one."""
        while True:
            self._send(method, address, **headers)
            while True:
                if self._connection.peek() == _INTERLEAVED:
                    self._packet()
                    continue
                head, body = self._message()
                if head.status:
                    break
            if head.status != 401:
                rtsp.check_status(head)
                return head, body
            self._credentials.challenged(head.all("www-authenticate"))

    def _send(self, method: str, address: str, **headers: str) -> None:
        self._number += 1
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields["Session"] = self._session
        fields["Authorization"] = self._credentials.header(method, address)
        self._connection.send(rtsp.request(method, address, self._number, fields))

    def _message(self) -> tuple[rtsp.Head, bytes]:
        head = rtsp.read_head(self._connection.head().lstrip(b"\r\n"))
        return head, self._connection.exactly(head.body_bytes)

    def _packet(self) -> tuple[int, bytes]:
        head = self._connection.exactly(4)
        return head[1], self._connection.exactly(int.from_bytes(head[2:4], "big"))

    def play(self, begin: Begin, take: Take) -> None:
        head, body = self.ask("DESCRIBE", self._url, Accept="application/sdp")
        base = head.get("content-base") or head.get("content-location")
        track = rtsp.read_description(body, base if base.startswith("rtsp") else self._url)
        head, _ = self.ask("SETUP", track.address, Transport="RTP/AVP/TCP;unicast;interleaved=0-1")
        channel = rtsp.read_channel(head.get("transport"))
        self._session, seconds = rtsp.read_session(head.get("session"))
        self._every = seconds / 2
        whole = base.strip() if base.startswith("rtsp") else self._url
        self.ask("PLAY", rtsp.resolve(whole, "*"), Range="npt=0.000-")
        begin(track.codec, track.sets)
        self._read(channel, whole, Depacketizer(track.codec, track.payload_type), take)

    def _read(self, channel: int, address: str, frames: Depacketizer, take: Take) -> None:
        due = time.monotonic() + self._every
        # The last frame, and True when packets have come since that made none
        heard, rubbish = time.monotonic(), False
        while True:
            now = time.monotonic()
            if now >= due:
                # It keeps the session alive; the answer comes among the packets.
                self._send("OPTIONS", address)
                due = now + self._every
            if now - heard > SILENT_SECONDS:
                raise SourceFailed(Trouble.MALFORMED if rubbish else Trouble.SILENT)
            if self._connection.peek() != _INTERLEAVED:
                head, _ = self._message()
                if head.status == 401:
                    # A new nonce
                    self._credentials.challenged(head.all("www-authenticate"))
                elif head.status == 454:
                    raise SourceFailed(Trouble.ENDED)
                continue
            number, packet = self._packet()
            if number != channel:
                continue
            rubbish = True
            now = time.monotonic()
            for unit in frames.packet(packet, now):
                heard, rubbish = now, False
                take(unit)


def read_rtsp(address: Address, begin: Begin, take: Take) -> None:
    connection = address.connect()
    try:
        _Rtsp(address, connection).play(begin, take)
    finally:
        connection.close()


def read_http(address: Address, begin: Begin, take: Take) -> None:
    credentials = address.credentials()
    parts = urlsplit(address.url)
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    while True:
        connection = address.connect()
        try:
            fields = {
                "Host": parts.netloc,
                "User-Agent": "qwen-camera",
                "Accept": "multipart/x-mixed-replace",
                "Authorization": credentials.header("GET", path),
            }
            lines = [f"{name}: {value}" for name, value in fields.items() if value]
            connection.send("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
            head = rtsp.read_head(connection.head())
            if head.status == 401:
                credentials.challenged(head.all("www-authenticate"))
                continue
            rtsp.check_status(head)
            _read_parts(connection, head, begin, take)
        finally:
            connection.close()


def _read_parts(connection: Connection, head: rtsp.Head, begin: Begin, take: Take) -> None:
    parts = Parts(read_boundary(head))
    chunks = Chunks() if "chunked" in head.get("transfer-encoding").lower() else None
    begin("JPEG", ())
    heard = time.monotonic()
    while True:
        data = connection.some()
        now = time.monotonic()
        for picture in parts.feed(chunks.feed(data) if chunks is not None else data):
            heard = now
            take(Unit(picture, True, now))
        if now - heard > SILENT_SECONDS:
            raise SourceFailed(Trouble.SILENT)


def read_device(path: str, begin: Begin, take: Take) -> None:
    """`path`: a device of Video4Linux, like /dev/video0, which sends JPEGs."""
    try:
        container = av.open(
            path,
            format="v4l2",
            options={"input_format": "mjpeg"},
            timeout=(CONNECT_SECONDS, SILENT_SECONDS),
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SourceFailed(_device_trouble(error)) from None
    with container:
        stream = container.streams.video[0]
        if stream.codec_context.name != "mjpeg":
            raise SourceFailed(Trouble.CODEC, stream.codec_context.name[:16].upper())
        begin("JPEG", ())
        try:
            for packet in container.demux(stream):
                if packet.size:
                    take(Unit(bytes(packet), True, time.monotonic()))
        except av.FFmpegError:
            pass
    raise SourceFailed(Trouble.ENDED)


def _device_trouble(error: Exception) -> Trouble:
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return Trouble.DEVICE_MISSING
    if code in (errno.EACCES, errno.EPERM):
        return Trouble.DEVICE_FORBIDDEN
    return Trouble.DEVICE_BUSY if code == errno.EBUSY else Trouble.DEVICE_OTHER


def read(address: Address, begin: Begin, take: Take) -> None:
    """Read a camera until it fails. Raises SourceFailed."""
    if address.url.startswith("/"):
        read_device(address.url, begin, take)
    elif address.scheme in ("rtsp", "rtsps"):
        read_rtsp(address, begin, take)
    else:
        read_http(address, begin, take)


# JPEGs out of an HTTP answer: `multipart/x-mixed-replace`, as cameras send it. Pure.

_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"

_BOUNDARY = re.compile(
    r"multipart/x-mixed-replace\s*;.{0,200}?boundary\s*=\s*\"?([^\s\";]{1,100})", re.I
)


def read_boundary(head: Head) -> bytes:
    """Return the line between two parts. Raises SourceFailed for any other kind of answer."""
    kind = head.get("content-type")
    found = _BOUNDARY.match(kind)
    if found is None:
        raise SourceFailed(
            Trouble.CODEC, re.sub(r"[^A-Z0-9-]", "", kind.partition(";")[0].upper())[:16]
        )
    # Some write the dashes of the line into the name.
    return b"--" + found[1].removeprefix("--").encode("latin-1")


class Parts:
    """Takes the body in pieces of any size. It holds one JPEG at most."""

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._held = bytearray()
        # Bytes of the present part that are still to come; None: before its head, or unknown
        self._left: int | None = None
        self._inside = False
        # Bytes of `_held` in which the present search has found nothing: each byte is looked at once.
        self._looked = 0
        self.dropped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the JPEGs that are complete. Raises SourceFailed when there is no end of one."""
        self._held += data
        found: list[bytes] = []
        while (part := self._next()) is not None:
            if part.startswith(_BEGIN) and part.rstrip(b"\0\r\n").endswith(_END):
                found.append(part)
            elif part:
                self.dropped += 1
        if len(self._held) > MAX_FRAME_BYTES + MAX_HEAD_BYTES:
            raise SourceFailed(Trouble.SIZE)
        return found

    def _next(self) -> bytes | None:
        """Return the next part; None when it is not there yet."""
        if not self._inside and not self._open():
            return None
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

    def _open(self) -> bool:
        """Read a part's head, if it is there."""
        at = self._held.find(self._boundary)
        if at < 0:
            # Nothing but the beginning of the line may be missing.
            del self._held[: max(0, len(self._held) - len(self._boundary))]
            return False
        end, skip = self._held.find(b"\r\n\r\n", at), 4
        if end < 0:
            end, skip = self._held.find(b"\n\n", at), 2
        if end < 0:
            if len(self._held) - at > MAX_HEAD_BYTES:
                raise SourceFailed(Trouble.MALFORMED)
            return False
        found = re.search(rb"content-length\s*:\s*(\d{1,9})", self._held[at:end], re.I)
        del self._held[: end + skip]
        if found is not None:
            self._left = int(found[1])
            if self._left > MAX_FRAME_BYTES:
                raise SourceFailed(Trouble.SIZE)
        self._inside = True
        return True


class Chunks:
    """Takes HTTP/1.1's chunks apart (RFC 9112, 7.1)."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """Return what the chunks hold. Raises SourceFailed at their end and for malformed ones."""
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
                    raise SourceFailed(Trouble.MALFORMED)
                break
            text = line.partition(b";")[0].strip()
            if re.fullmatch(rb"[0-9A-Fa-f]{1,8}", text) is None:
                raise SourceFailed(Trouble.MALFORMED)
            self._left = int(text, 16)
            del self._held[: len(line) + 2]
            if not self._left:
                raise SourceFailed(Trouble.ENDED)
        return bytes(out)
