"""The check in front of aioice: who may send what."""

from __future__ import annotations

import asyncio
import gc
import itertools
import struct
import time
from types import SimpleNamespace
from typing import Any

import aioice.ice
import aioice.stun
import pylibsrtp
import pytest
from aioice.candidate import Candidate
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from server.media.patches import datagrams
from server.media.patches.datagrams import (
    MAX_ADDRESSES,
    MAX_DATAGRAM,
    MAX_EARLY_CHECKS,
    MAX_ROLE_CONFLICTS,
    MAX_STREAMS,
    MAX_WAITING,
    BoundedSession,
    DrainedTls,
    check_datagrams,
    install,
)
from server.media.patches.receiver import MAX_SSRCS
from server.media.video.assemble import MAX_PACKETS
from tests.support import hostile
from tests.support.children import memory_mib
from tests.support.fakes_rtc import camera_peer, live_encoder, webrtc_side
from tests.support.timing import NEVER_SECONDS, at_once

State = aioice.ice.CandidatePair.State


CLIENT = ("192.0.2.1", 5000)


class Ice:
    """One connection's socket, without a network: what the check lets through is in `passed`."""

    def __init__(self) -> None:
        self.connection = aioice.ice.Connection(ice_controlling=False)
        self.connection.remote_username = "peer"
        self.passed: list[bytes] = []
        self.protocol = SimpleNamespace(receiver=self.connection, transactions={})
        self._handler = check_datagrams(lambda protocol, data, addr: self.passed.append(data))

    def checks(self, state: Any, *, nominated: bool = False) -> None:
        """Have one pair of addresses, to the client, in this state."""
        pair = SimpleNamespace(
            protocol=self.protocol, remote_addr=CLIENT, state=state, remote_nominated=nominated
        )
        self.connection._check_list = [pair]  # type: ignore[list-item]

    def knows(self, addr: tuple[str, int], kind: str) -> None:
        """Add a candidate of the peer."""
        candidate = Candidate("1", 1, "udp", 1, *addr, kind)
        candidate._network_host = addr[0]
        self.connection._remote_candidates.append(candidate)

    def gets(self, data: bytes, addr: tuple[Any, ...] = CLIENT) -> bool:
        """Return True when a datagram passes."""
        before = len(self.passed)
        self._handler(self.protocol, data, addr)
        return len(self.passed) > before

    def refuses(self, data: bytes, reason: str, addr: tuple[str, int] = CLIENT) -> bool:
        """Return True when a datagram does not pass, and is counted for this reason."""
        before = datagrams.refused[reason]
        return not self.gets(data, addr) and datagrams.refused[reason] == before + 1

    def request(self, **changes: Any) -> bytes:
        """A check of this connection's peer; a change to ... takes the attribute away."""
        attributes = {
            "USERNAME": f"{self.connection.local_username}:peer",
            "PRIORITY": 1,
            "ICE-CONTROLLING": 1,
        } | changes
        message = aioice.stun.Message(
            aioice.stun.Method.BINDING,
            aioice.stun.Class.REQUEST,
            attributes={name: value for name, value in attributes.items() if value is not ...},
        )
        message.add_message_integrity(self.connection.local_password.encode())
        return bytes(message)


@pytest.fixture
async def ice() -> Ice:
    return Ice()


@pytest.mark.parametrize(
    ("data", "addr", "state", "passes"),
    [
        (b"\x16dtls", ("192.0.2.1", 5000), "nominated", True),
        (b"\x16dtls", ("192.0.2.1", 5000), State.SUCCEEDED, True),
        (b"\x80rtp", ("192.0.2.1", 5000, 0, 0), State.SUCCEEDED, True),
        (b"\x16dtls", ("192.0.2.1", 5001), State.SUCCEEDED, False),
        (b"\x16dtls", ("192.0.2.9", 5000), State.SUCCEEDED, False),
        (b"\x15alert", ("192.0.2.1", 5000), State.IN_PROGRESS, False),
        (b"\x80" + bytes(1499), ("192.0.2.1", 5000), State.SUCCEEDED, True),
        (b"\x80" + bytes(1500), ("192.0.2.1", 5000), State.SUCCEEDED, False),
        (b"", ("192.0.2.1", 5000), State.SUCCEEDED, False),
    ],
)
async def test_only_checked_addresses_may_send_anything_but_stun(
    ice: Ice, data: bytes, addr: tuple[Any, ...], state: Any, passes: bool
) -> None:
    """A datagram that is not STUN goes on only from an address whose connectivity check succeeded, or that nominates."""
    nominated = state == "nominated"
    ice.checks(State.IN_PROGRESS if nominated else state, nominated=nominated)
    assert ice.gets(data, addr) is passes
    assert ice.passed == [data] * passes


@pytest.mark.parametrize(("port", "passes"), [(5000, True), (5001, False)])
async def test_the_side_that_nominates_takes_any_candidate_that_was_told(
    ice: Ice, port: int, passes: bool
) -> None:
    """It has stopped checking, and the other may send on an unfinished pair; no stranger may."""
    ice.checks(State.IN_PROGRESS)
    ice.connection.ice_controlling = True
    assert ice.gets(b"\x16dtls", ("192.0.2.1", port)) is passes


async def test_a_closed_connection_asks_for_nothing_more() -> None:
    """Consent begins when the checks succeed, which may be after the connection was closed."""
    install()
    connection = aioice.ice.Connection(ice_controlling=True)
    await connection.close()
    async with at_once():
        await connection.query_consent()


# STUN


def with_attribute(message: bytes, kind: int, value: bytes) -> bytes:
    """One attribute more, behind the header; nothing is signed anew."""
    more = struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)
    length = struct.pack("!H", len(message) - 20 + len(more))
    return message[:2] + length + message[4:20] + more + message[20:]


async def test_a_check_of_the_peer_goes_on(ice: Ice) -> None:
    """The requests refused below are refused for what was changed."""
    assert ice.gets(ice.request())
    assert ice.gets(with_attribute(ice.request(FINGERPRINT=...), 0xC057, bytes(4))) is False
    assert ice.gets(ice.request(), ("192.0.2.9", 1))


async def test_stun_that_is_not_meant_for_this_connection_gets_no_answer(ice: Ice) -> None:
    """Wrong user names, other methods, indications, responses that nobody waits for do not go on."""
    ours = ice.connection.local_username
    for user in (..., "", ":", ours, f"{ours}:", f"{ours}:other", "x:peer", f"{ours}x:peer", "é"):
        assert not ice.gets(ice.request(USERNAME=user)), user
    assert not ice.gets(ice.request(PRIORITY=...))
    good = ice.request()
    for kind in (0x0011, 0x0101, 0x0111, 0x0003, 0x0004, 0x0008, 0x0009, 0x3FFF, 0x0002):
        assert not ice.gets(struct.pack("!H", kind) + good[2:]), hex(kind)
    for damaged in (good[:19], good[:-1], good + b"x", good[:4] + bytes(4) + good[8:], bytes(20)):
        assert not ice.gets(damaged)
    assert not ice.gets(good[:-1] + bytes([good[-1] ^ 1]))


@pytest.mark.parametrize("name", ["RESPONSE", "ERROR", "INDICATION"])
async def test_whole_stun_that_nobody_waits_for_does_not_go_on(ice: Ice, name: str) -> None:
    """A well-formed response, error or indication: only one of a check of ours goes on."""
    kind = aioice.stun.Class[name]
    message = aioice.stun.Message(aioice.stun.Method.BINDING, kind)
    message.add_message_integrity(ice.connection.local_password.encode())
    assert aioice.stun.parse_message(bytes(message)).message_class is kind
    assert ice.refuses(bytes(message), "stun")
    ice.protocol.transactions[message.transaction_id] = None
    assert ice.gets(bytes(message)) is (kind is not aioice.stun.Class.INDICATION)


@pytest.mark.parametrize("kind", [0x0024, 0x8028, 0x802A, 0x0020, 0x0006, 0x0009, 0x0001])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 9])
async def test_attributes_of_a_wrong_size_are_no_error(ice: Ice, kind: int, size: int) -> None:
    """aioice raises struct.error for some, within the event loop: a log line for each datagram."""
    ice.gets(with_attribute(ice.request(), kind, b"\xff" * size))


async def test_large_stun_is_not_read(ice: Ice) -> None:
    """Thousands of attributes are thousands of steps; what fits a path's 1,500 bytes is read."""
    request = ice.request(FINGERPRINT=...)
    fits = with_attribute(request, 0xC057, bytes(MAX_DATAGRAM - len(request) - 4))
    assert len(fits) == MAX_DATAGRAM
    before = datagrams.refused["size"]
    ice.gets(fits)
    assert datagrams.refused["size"] == before
    assert ice.refuses(fits + bytes(4), "size")


@given(data=st.binary(max_size=200), first=st.integers(0, 3), cookie=st.booleans())
async def test_any_bytes_are_passed_or_dropped(data: bytes, first: int, cookie: bool) -> None:
    """Nothing is raised, and nothing that is no STUN goes on."""
    ice = Ice()
    datagram = bytes([first]) + data
    if cookie:
        datagram = datagram[:2] + struct.pack("!HL", len(data), 0x2112A442) + data
    ice.gets(datagram)
    assert ice.passed == []


async def test_addresses_of_a_peer_are_bounded(ice: Ice) -> None:
    """A peer with the right password may use so many addresses; the known ones still count."""
    for port in range(MAX_ADDRESSES):
        ice.knows(("192.0.2.1", 5000 + port), "prflx")
    assert ice.refuses(ice.request(), "addresses", ("192.0.2.1", 5000 + MAX_ADDRESSES))
    assert ice.refuses(ice.request(), "addresses", ("192.0.2.2", 5000))
    assert ice.gets(ice.request(), ("192.0.2.1", 5000 + MAX_ADDRESSES - 1))


async def test_checks_that_wait_for_an_answer_of_ours_are_bounded(ice: Ice) -> None:
    """aioice keeps those that come before the offer was looked at, and would drop the oldest."""
    assert ice.connection._early_checks.maxlen == MAX_EARLY_CHECKS
    ice.connection._early_checks.extend([None] * (MAX_EARLY_CHECKS - 1))  # type: ignore[list-item]
    assert ice.gets(ice.request())
    ice.connection._early_checks.append(None)  # type: ignore[arg-type]
    assert ice.refuses(ice.request(), "addresses")


async def test_a_known_address_may_leave_its_priority_out(ice: Ice) -> None:
    """Only an address that is new needs one; some stacks ask for consent without."""
    assert not ice.gets(ice.request(PRIORITY=...))
    ice.knows(CLIENT, "host")
    assert ice.gets(ice.request(PRIORITY=...))


async def test_role_conflicts_end(ice: Ice) -> None:
    """A peer that always says that it has our role is heard a few times."""

    def conflict(transaction: bytes) -> bytes:
        message = aioice.stun.Message(
            aioice.stun.Method.BINDING, aioice.stun.Class.ERROR, transaction_id=transaction
        )
        message.attributes["ERROR-CODE"] = (487, "Role Conflict")
        return bytes(message)

    heard = []
    for number in range(MAX_ROLE_CONFLICTS + 3):
        transaction = number.to_bytes(12, "big")
        ice.protocol.transactions[transaction] = None
        heard.append(ice.gets(conflict(transaction)))
    assert heard == [True] * MAX_ROLE_CONFLICTS + [False] * 3
    assert not ice.gets(conflict(b"nobody asked"))


async def test_what_waits_to_be_read_is_bounded(ice: Ice) -> None:
    """A checked address may send faster than DTLS reads; what does not fit is dropped and counted."""
    ice.checks(State.SUCCEEDED, nominated=True)
    for _ in range(MAX_WAITING - 1):
        ice.connection._queue.put_nowait((b"", 1))
    assert ice.gets(b"\x80rtp")
    ice.connection._queue.put_nowait((b"", 1))
    assert ice.refuses(b"\x80rtp", "waiting")


async def test_a_check_that_comes_in_sends_the_unanswered_one_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sent before the way was open, the first check is lost; the other side's brings ours again."""
    # A check does not repeat itself, which it would do after 0.5 s.
    monkeypatch.setattr(aioice.stun, "RETRY_RTO", NEVER_SECONDS)
    install()
    one, other = (aioice.ice.Connection(ice_controlling=c, use_ipv6=False) for c in (False, True))
    await asyncio.gather(one.gather_candidates(), other.gather_candidates())
    for this, that in ((one, other), (other, one)):
        for candidate in that.local_candidates[:1]:
            await this.add_remote_candidate(candidate)
        await this.add_remote_candidate(None)
        this.remote_username, this.remote_password = that.local_username, that.local_password
    lost: list[bytes] = []
    for protocol in one._protocols:
        protocol.send_stun = lambda message, _: lost.append(bytes(message))  # type: ignore[method-assign,assignment]
    connecting = asyncio.create_task(one.connect())
    while not lost:
        await asyncio.sleep(0.01)
    for protocol in one._protocols:
        del protocol.send_stun
    async with at_once():
        await asyncio.gather(connecting, other.connect())
    await asyncio.gather(one.close(), other.close())


def test_a_check_is_sent_again_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that keeps checking, or claims others' addresses, makes us send no more."""
    monkeypatch.setattr(datagrams, "STOCK_INCOMING", lambda *_: None)
    sent: list[Any] = []
    ours = SimpleNamespace(_Transaction__addr=CLIENT, _Transaction__request="check")
    protocol: Any = SimpleNamespace(
        transactions={b"1": ours}, send_stun=lambda message, addr: sent.append((message, addr))
    )
    for addr in [("192.0.2.9", 5000)] + [CLIENT] * 10:
        datagrams._check_incoming(None, None, addr, protocol)  # type: ignore[arg-type]
    assert sent == [("check", CLIENT)] * datagrams.MAX_SENT_AGAIN


# Peers with good keys: what they send is bounded, ends nothing of theirs by accident, and nobody
# else notices

# MiB that the process may gain by everything below.
GROWTH_MIB = 24.0


class _Plain:
    """An SRTP session that takes everything but what begins with an X."""

    def unprotect(self, packet: bytes) -> bytes:
        if packet.startswith(b"X"):
            raise pylibsrtp.Error("authentication failure")
        return packet

    unprotect_rtcp = unprotect


def test_streams_are_bounded_and_forged_ones_do_not_count() -> None:
    """128 streams of authentic packets; the next is refused, and forgeries use up nothing."""
    session = BoundedSession(_Plain())
    for ssrc in range(1000):
        with pytest.raises(pylibsrtp.Error):
            # Of other streams than the authentic ones below
            session.unprotect(b"X" + bytes(7) + struct.pack("!L", 10_000 + ssrc))
    for ssrc in range(MAX_STREAMS):
        if ssrc % 2:
            session.unprotect(bytes(8) + struct.pack("!L", ssrc))
        else:
            session.unprotect_rtcp(bytes(4) + struct.pack("!L", ssrc))
    for _ in range(3):
        with pytest.raises(pylibsrtp.Error, match="streams"):
            session.unprotect(bytes(8) + struct.pack("!L", MAX_STREAMS))
        session.unprotect(bytes(8) + struct.pack("!L", 0))
        session.unprotect_rtcp(bytes(4) + struct.pack("!L", 1))


class _Records:
    """A DTLS connection in which so many records wait."""

    def __init__(self, count: int) -> None:
        self.left = count

    def recv(self, size: int) -> bytes:
        if not self.left:
            raise SSL.WantReadError
        self.left -= 1
        return b"x" * min(size, 10)


def test_every_record_of_a_datagram_is_read_and_forgotten() -> None:
    """aiortc reads one; the others would wait in OpenSSL. Where somebody wants them they come singly."""
    records = _Records(50)
    with pytest.raises(SSL.WantReadError):
        DrainedTls(records, SimpleNamespace(_data_receiver=None)).recv(1500)
    assert records.left == 0
    wanted = _Records(50)
    assert DrainedTls(wanted, SimpleNamespace(_data_receiver=object())).recv(1500)
    assert wanted.left == 49


# A peer with good keys beside another


def rss() -> float:
    """MiB of this process, after the collector."""
    gc.collect()
    return memory_mib()


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_a_peer_with_good_keys_disturbs_nobody_else(codec: str) -> None:
    """Thousands of malformed packets of one camera: another's frames go on, and memory stays."""
    trouble: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    refused = datagrams.peers_refused.copy()
    async with (
        live_encoder(320, 240) as good,
        live_encoder(320, 240, codec=codec) as bad,
        webrtc_side() as side,
        camera_peer(good) as victim,
        camera_peer(bad) as attacker,
    ):
        for key, peer in (("victim", victim), ("attacker", attacker)):
            answer = await side.connect(await peer.offer(), key)
            await peer.accept(answer)
            await side.frames_of(key, 2)
        one = hostile.Attacker(attacker.sender)
        await side.frames_of("attacker")
        bad.paused = True
        payloads = hostile.vp8_payloads() if codec == "vp8" else hostile.h264_payloads()
        kind = side.server._connections["attacker"]._receiver._codecs
        payload_type = next(n for n, c in kind.items() if c.name.lower() == codec)
        assert isinstance(side.server._connections["attacker"]._receiver.transport._ssl, DrainedTls)
        before, start = rss(), time.monotonic()
        await one.everything(payload_type, payloads)
        receiver = side.server._connections["attacker"]._receiver
        assert receiver._stream is not None
        assert len(receiver.transport._rtp_router.ssrc_table) <= MAX_STREAMS
        assert len(receiver._reports._statistics) <= MAX_SSRCS
        assert receiver._stream._assembler.held <= 2 * MAX_PACKETS
        await side.frames_of("victim", 3)
        seconds = time.monotonic() - start
        arrived = [frame.arrived for frame in side.frames["victim"] if frame.arrived >= start]
        gaps = [b - a for a, b in itertools.pairwise(arrived)]
        print(
            f"{codec}: {one.sent} packets ({one.unsendable} cannot be encrypted); the other: "
            f"{len(arrived)} frames in {seconds:.1f} s, longest gap {max(gaps):.2f} s; {rss() - before:.1f} MiB"
        )
        # 15 frames a second are sent; the attacker's own work is done in this process too.
        assert max(gaps) < 1.0
        assert side.server._connections["attacker"]._pc.connectionState == "connected"
        assert rss() - before < GROWTH_MIB
    counted = datagrams.peers_refused - refused
    assert counted["malformed"] > 10
    assert counted["streams"] > 100
    assert trouble == []
