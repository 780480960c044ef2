"""The ways to a camera's frames: RTSP over TCP, HTTP with JPEGs, a device of this machine.

Each `read_*` opens a camera, calls `begin` once it plays, hands each frame to `take`, and only
returns by raising SourceFailed.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import av

from server.features.rtsp.worker import rtsp
from server.features.rtsp.worker.auth import Credentials
from server.features.rtsp.worker.connection import CONNECT_SECONDS, SILENT_SECONDS, Connection
from server.features.rtsp.worker.mjpeg import Chunks, Parts, read_boundary
from server.features.rtsp.worker.rtp import Depacketizer, Unit
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

    def __init__(self, address: Address) -> None:
        self._url = address.url
        self._connection = address.connect()
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

    def close(self) -> None:
        self._connection.close()


def read_rtsp(address: Address, begin: Begin, take: Take) -> None:
    session = _Rtsp(address)
    try:
        session.play(begin, take)
    finally:
        session.close()


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
