"""Connections to public addresses only, and the addresses that are refused."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpcore2
import pytest

from scripts.models.network import MAX_ADDRESSES, FetchError, Network, classify_refused
from tests.support.timing import AT_ONCE_SECONDS, NEVER_SECONDS


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Takes connections (in its backlog) and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        one.setblocking(False)
        yield one


def came(listening: socket.socket) -> bool:
    try:
        listening.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def but_loopback(address: str) -> str | None:
    return None if address == "127.0.0.1" else classify_refused(address)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::ffff:127.0.0.1"])
def test_this_machine_is_never_connected_to(listening: socket.socket, host: str) -> None:
    """By name or by address: refused before a packet goes out, and said."""
    with pytest.raises(FetchError, match="loopback address"):
        Network().connect_tcp(host, listening.getsockname()[1], timeout=5)
    assert not came(listening)


def test_one_private_address_among_public_ones_refuses_the_name(listening: socket.socket) -> None:
    """Whoever answers so wants one to be taken for the other."""
    network = Network(resolve=lambda host, port: ["127.0.0.1", "10.0.0.1"], refused=but_loopback)
    with pytest.raises(
        FetchError, match=r"rebinding.test \(10.0.0.1\) is refused, because it is a private address"
    ):
        network.connect_tcp("rebinding.test", listening.getsockname()[1], timeout=5)
    assert not came(listening)


def test_a_name_is_looked_up_once(listening: socket.socket) -> None:
    """The connection goes to the address that was checked, whatever a later look-up answers."""
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    network = Network(resolve=lambda host, port: answers.pop(0), refused=but_loopback)
    network.connect_tcp("rebinding.test", listening.getsockname()[1], timeout=5).close()
    assert came(listening)
    assert answers == [["10.0.0.1"]]


def test_the_other_end_is_what_counts(listening: socket.socket) -> None:
    """An address that the system takes for another (0: this machine) is found out on connecting."""
    network = Network(
        resolve=lambda host, port: ["0"],
        refused=lambda a: None if a == "0" else classify_refused(a),
    )
    with pytest.raises(FetchError, match="loopback address"):
        network.connect_tcp("zero.test", listening.getsockname()[1], timeout=5)


def test_one_that_hangs_up_at_once_is_not_connected_to(listening: socket.socket) -> None:
    """A peer that resets at once gives httpcore's own error, and its socket is closed."""

    class Gone(httpcore2.SyncBackend):
        def connect_tcp(self, *args: Any, **options: Any) -> httpcore2.NetworkStream:
            stream = super().connect_tcp(*args, **options)
            stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            # As the kernel has it once a reset came.
            with listening.dup() as other:
                peer, _ = other.accept()
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
            streams.append(stream)
            return stream

    streams: list[httpcore2.NetworkStream] = []
    network = Network(refused=lambda a: None)
    network._backend = Gone()
    with pytest.raises(httpcore2.ConnectError, match="closed the connection immediately"):
        network.connect_tcp("127.0.0.1", listening.getsockname()[1], timeout=5)
    assert streams[0].get_extra_info("socket").fileno() == -1


def test_the_next_address_is_tried(listening: socket.socket) -> None:
    """One that nobody listens at is no end, and no more than some are tried."""
    port = listening.getsockname()[1]
    two = Network(resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"], refused=lambda a: None)
    two.connect_tcp("two.test", port, timeout=5).close()
    many = ["127.0.0.2"] * MAX_ADDRESSES + ["127.0.0.1"]
    with pytest.raises(httpcore2.ConnectError):
        Network(resolve=lambda host, port: many, refused=lambda a: None).connect_tcp(
            "many.test", port, timeout=5
        )
    with pytest.raises(httpcore2.ConnectError):
        Network(resolve=lambda host, port: []).connect_tcp("none.test", port, timeout=5)


def test_a_look_up_that_hangs_ends(listening: socket.socket) -> None:
    """The system's own has no time limit."""
    over = threading.Event()
    found: list[bool] = []

    def silent(host: str, port: int) -> list[str]:
        found.append(over.wait(60))
        return []

    network = Network(seconds=0.1, resolve=silent)
    with pytest.raises(httpcore2.ConnectTimeout):
        network.connect_tcp("slow.test", 443)
    assert found == []
    over.set()


def test_the_end_holds_for_all_that_a_connection_does(listening: socket.socket) -> None:
    """However much time a single step may take."""
    network = Network(seconds=0.2, refused=lambda a: None)
    stream = network.connect_tcp("127.0.0.1", listening.getsockname()[1], timeout=NEVER_SECONDS)
    began = time.monotonic()
    with pytest.raises(httpcore2.ReadTimeout):
        stream.read(1, timeout=NEVER_SECONDS)
    with pytest.raises(httpcore2.WriteTimeout):
        stream.write(b"x", timeout=NEVER_SECONDS)
    with pytest.raises(httpcore2.ConnectTimeout):
        network.connect_tcp("127.0.0.1", 1, timeout=NEVER_SECONDS)
    assert time.monotonic() - began < AT_ONCE_SECONDS
    stream.close()


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "1.1.1.1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::101:101"],
)
def test_public_addresses_may_be_reached(address: str) -> None:
    """Also those that a network without IPv4 writes as IPv6."""
    assert classify_refused(address) is None


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.8.0.1", "loopback"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("198.18.0.1", "private"),
        ("100.64.0.1", "special"),
        ("192.0.0.192", "special"),
        ("192.88.99.1", "special"),
        ("224.0.0.251", "multicast"),
        ("239.1.1.1", "multicast"),
        ("240.0.0.1", "private"),
        ("255.255.255.255", "private"),
        ("::", "unspecified"),
        ("::127.0.0.1", "special"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::ffff:0:10.0.0.1", "special"),
        ("64:ff9b::a00:1", "private"),
        ("64:ff9b:1::a00:1", "special"),
        ("2002:7f00:1::", "loopback"),
        ("2001:0:1:2::3", "private"),
        ("2001:1::1", "private"),
        ("2001:20::1", "private"),
        ("2001:db8::1", "private"),
        ("fec0::1", "private"),
        ("ff02::1", "multicast"),
        ("100::1", "private"),
        ("4000::1", "special"),
        ("localhost", "no IP"),
        ("0x7f.1", "no IP"),
    ],
)
def test_everything_else_may_not(address: str, kind: str) -> None:
    """This machine, its networks, its cloud's secrets, however they are written.

    Python's version decides which of two names of one kind it gives. The refusal does not depend
    on it.
    """
    found = classify_refused(address)
    assert found is not None
    assert found == kind or {found, kind} <= {"private", "special"}
