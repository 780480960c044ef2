"""Peer connections, one per camera: offer, answer, candidates, end.

Uses aiortc; independent of sessions.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

from aiortc import RTCConfiguration, RTCIceTransport, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError, OperationError
from aiortc.sdp import candidate_from_sdp

from server.core.aio import TaskSet, Timer, log_failure
from server.core.errors import BadRequest, NotFound, QwenCameraError, UnusableOffer
from server.media.camera import Camera, CameraConnection
from server.media.patches.ice import Gathering
from server.media.patches.receiver import CameraReceiver, install
from server.media.sdp import (
    DECODABLE,
    MAX_CANDIDATES,
    Offer,
    UsedSection,
    check_offer,
    is_unreachable,
    make_whole_answer,
)
from server.media.video.decode import trim_memory

log = logging.getLogger(__name__)
# Time limit to connect, which aiortc does not have.
CONNECT_SECONDS = 15.0
# Delay after the end of a connection until free memory is returned to the system.
TRIM_SECONDS = 2.0
# Time limit at shutdown for connections that are already closing.
CLOSE_SECONDS = 3.0


class OpenSection(UsedSection, Protocol):
    """A section used in addition to the camera's."""

    def open(self) -> None:
        """Start using the section, because the answer was created."""
        ...

    async def close(self) -> None:
        """Stop using the section. Safe to call more than once."""
        ...


class Line(Protocol):
    """Uses an additional section of a session's offers, for the lifetime of the session."""

    def section(self, offer: Offer, transport: Any) -> OpenSection | None:
        """Choose a section of an offer; None if it uses none of them. `transport`: the camera's DTLS transport."""
        ...

    def close(self) -> None:
        """Release all resources, because the session ends."""
        ...


class PeerConnection:
    """One camera's connection. `closed` is called once, at its end for any reason."""

    def __init__(
        self,
        key: str,
        offer: Offer,
        feed: CameraConnection,
        closed: Callable[[PeerConnection], None],
        gathering: Gathering,
        connect_seconds: float = CONNECT_SECONDS,
        lines: Sequence[Line] = (),
    ) -> None:
        self._key = key
        self.offer = offer
        self._feed = feed
        self._closed = closed
        self.gathering = gathering
        self.connect_seconds = connect_seconds
        self.candidates = offer.candidates
        # The default configuration would ask a public STUN server.
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._pc.on("connectionstatechange", self._on_state_change)
        self._deadline = Timer()
        self._over = False
        # Id of this connection in URLs
        self.name = secrets.token_urlsafe(16)
        # Called at the end of each `close`
        self.on_closed: list[Callable[[], Awaitable[None]]] = []
        self._lines = lines
        # Sections used in addition to the camera's
        self._used: list[OpenSection] = []

    async def answer(self, pool: ThreadPoolExecutor) -> str:
        """Create the answer's SDP. Raises UnusableOffer, PortsExhausted."""
        pc = self._pc
        try:
            await pc.setRemoteDescription(RTCSessionDescription(sdp=self.offer.sdp, type="offer"))
            self._take_camera(pool)
            self.gathering.attach(self.ice._connection)
            await pc.setLocalDescription(await pc.createAnswer())
        except OperationError:
            raise UnusableOffer(
                "No offered codec is compatible with this server's. "
                f"Offer one of these: {', '.join(sorted(DECODABLE))} (H.264: baseline, main or high, 4:2:0)."
            ) from None
        except (QwenCameraError, OSError):
            raise
        except Exception as exc:  # noqa: BLE001
            # aiortc raises various errors for malformed SDP.
            log.info("unusable offer", extra={"error": type(exc).__name__})
            raise UnusableOffer(
                "The offer could not be understood. Send the SDP that RTCPeerConnection.createOffer() made, "
                "unchanged, with rtcp-mux, ICE credentials and a DTLS fingerprint."
            ) from None
        self._deadline.set(self.connect_seconds, self._on_timeout)
        transport = self._receiver.transport
        for line in self._lines:
            if (section := line.section(self.offer, transport)) is not None:
                self._used.append(section)
        return make_whole_answer(self.offer, pc.localDescription.sdp, self._used)

    def open(self) -> None:
        """Start using the other sections; the caller opens the camera's feed."""
        for section in self._used:
            section.open()

    def _take_camera(self, pool: ThreadPoolExecutor) -> None:
        """Attach the feed to the only section, so that the camera has the only transport."""
        (transceiver,) = self._pc.getTransceivers()
        receiver = transceiver.receiver
        names = [codec.name.upper() for codec in transceiver._codecs]
        if not DECODABLE.intersection(names):
            raise OperationError("no codec that can be decoded")
        assert isinstance(receiver, CameraReceiver)
        transceiver.direction = "recvonly"
        receiver.attach(self._feed, pool)
        self._feed.codec = next(name for name in names if name in DECODABLE)
        self._receiver = receiver
        if receiver.transport._role == "auto":
            # aiortc's DTLS client offers only ECDSA, so a peer with an RSA certificate must be
            # the client if possible.
            receiver.transport._set_role("client" if self.offer.passive else "server")

    async def add_candidates(self, candidates: list[dict[str, Any]]) -> int:
        """Add trickled candidates. Return the number of used ones.

        Late, foreign, mDNS and empty ones are ignored.

        Raises BadRequest for malformed ones, and for more than 64.
        """
        used = 0
        for entry in candidates:
            text = str(entry.get("candidate") or "").removeprefix("a=").removeprefix("candidate:")
            if not text.strip() or is_unreachable(text):
                continue
            self.candidates += 1
            if self.candidates > MAX_CANDIDATES:
                raise BadRequest(f"More than {MAX_CANDIDATES} candidates for one offer.")
            try:
                candidate = candidate_from_sdp(text)
            except (ValueError, IndexError, AssertionError, KeyError):
                raise BadRequest(
                    'A candidate is malformed. Send RTCIceCandidate\'s own "candidate" string.'
                ) from None
            if candidate.component != 1 or candidate.protocol.lower() != "udp" or self._over:
                continue
            if not self.offer.carries(entry.get("sdpMid"), entry.get("sdpMLineIndex")):
                continue
            # Not through the peer connection, whose description would keep those of all ICE sessions
            try:
                await self.ice.addRemoteCandidate(candidate)
            except (ValueError, InvalidStateError):
                continue
            used += 1
        return used

    @property
    def ice(self) -> RTCIceTransport:
        return self._receiver.transport.transport

    @property
    def is_up(self) -> bool:
        return self.ice.state == "completed" and not self._over

    def _on_state_change(self) -> None:
        state = self._pc.connectionState
        log.info("connection state changed", extra={"session": self._key, "state": state})
        if state == "connected" and self._deadline:
            self._deadline.cancel()
            self._feed.connection_made()
        elif state in ("failed", "closed"):
            # aiortc reports a path lost after connecting as "closed": treat it like "failed".
            self._end()

    def _on_timeout(self) -> None:
        log.info("connection state changed", extra={"session": self._key, "state": "timeout"})
        self._end()

    def _end(self) -> None:
        self._deadline.cancel()
        if not self._over:
            self._over = True
            self._feed.stream_ended()
            self._closed(self)

    async def close(self) -> None:
        """Close the connection. Safe to call more than once, and while connecting."""
        self._end()
        for section in self._used:
            await section.close()
        await self._pc.close()
        for listener in self.on_closed:
            await listener()


class WebRTCServer:
    """Owner of all peer connections.

    Bounds of peer connections: one per camera; a new offer replaces it.
    """

    def __init__(
        self,
        *,
        decode_pool: ThreadPoolExecutor,
        trim_pool: ThreadPoolExecutor,
        gathering: Gathering | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        trim_seconds: float = TRIM_SECONDS,
    ) -> None:
        install()
        self.gathering = gathering or Gathering()
        self._connect_seconds = connect_seconds
        self._trim_seconds = trim_seconds
        self._decode_pool = decode_pool
        self._trim_pool = trim_pool
        self._connections: dict[str, PeerConnection] = {}
        self._tasks = TaskSet("webrtc")
        self._trim = Timer()

    def __len__(self) -> int:
        return len(self._connections)

    async def connect(
        self,
        key: str,
        sdp: str,
        camera: Camera,
        *,
        sender_controlled: bool = True,
        lines: Sequence[Line] = (),
        check: Callable[[], None] = lambda: None,
    ) -> str:
        """Answer an offer for the camera `key`, and replace its older connection.

        `sender_controlled`: True if the page sends, which obeys our limits and uses the page's clock.
        `lines`: each uses a different additional section of the offer.
        `check` is called before the replacement, and raises to refuse it.

        Raises TooLarge, UnusableOffer, PortsExhausted and the errors of `check`; then an older
        connection is kept.
        """
        offer = check_offer(sdp)
        feed = camera.new_connection(sender_controlled=sender_controlled)

        def closed(connection: PeerConnection) -> None:
            if self._connections.get(key) is connection:
                del self._connections[key]
            self._tasks.spawn(self._close(connection), name="close")

        connection = PeerConnection(
            key, offer, feed, closed, self.gathering, self._connect_seconds, lines
        )
        try:
            answer = await connection.answer(self._decode_pool)
            check()
        except BaseException:
            # `closed` is for a connection that was in use.
            connection._over = True
            await connection.close()
            raise
        camera.open_connection(feed, connection._receiver.request_key_frame)
        connection.open()
        old = self._connections.pop(key, None)
        self._connections[key] = connection
        if old is not None:
            self._tasks.spawn(self._close(old), name="replaced")
        return answer

    async def _close(self, connection: PeerConnection) -> None:
        await connection.close()
        self.trim_soon()

    def trim_soon(self) -> None:
        """Return free memory to the system soon, once for all calls until then."""
        if not self._trim:
            self._trim.set(self._trim_seconds, self._trim_pool.submit, trim_memory)

    def get(self, key: str) -> PeerConnection:
        """Return the camera's connection. Raises NotFound."""
        connection = self._connections.get(key)
        if connection is None:
            raise NotFound("This session has no camera connection. Send an offer first.")
        return connection

    async def disconnect(self, key: str) -> bool:
        """End the connection. Return False if there was none."""
        connection = self._connections.pop(key, None)
        if connection is None:
            return False
        await connection.close()
        return True

    async def close(self) -> None:
        connections = list(self._connections.values())
        self._connections.clear()
        for connection in connections:
            connection._over = True
            connection._feed.stream_ended()
        ends = await asyncio.gather(
            *(connection.close() for connection in connections), return_exceptions=True
        )
        for end in ends:
            if isinstance(end, Exception):
                log_failure("connection", end, "closing failed")
        # Connections that are already closing end soon.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._tasks:
                    await asyncio.sleep(0.01)
        await self._tasks.close()
        self._trim.cancel()
