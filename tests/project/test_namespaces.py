from __future__ import annotations

import asyncio
import os
import shutil
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.namespaces import PREFIX, Namespace, Network, require


@pytest.fixture(autouse=True)
def permitted() -> None:
    require()


def left() -> list[str]:
    return [path.name for path in Path("/run/netns").glob(f"{PREFIX}-{os.getpid()}-*")]


def listener(namespace: Namespace, family: socket.AddressFamily, address: str) -> socket.socket:
    with namespace.entered():
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((address, 0))
    sock.settimeout(2)
    return sock


@pytest.mark.parametrize("version", [4, 6])
def test_packets_go_only_where_there_is_a_route(version: int) -> None:
    """Two computers with a third between them talk once it passes packets on, and this machine reaches neither."""
    near, far = ("10.99.1.{}", "10.99.2.{}") if version == 4 else ("fd99:1::{}", "fd99:2::{}")
    bits, family = ("/24", socket.AF_INET) if version == 4 else ("/64", socket.AF_INET6)
    with Network() as net:
        client, router, server = (net.namespace(name) for name in ("client", "router", "server"))
        net.cable(client, near.format(2) + bits, router, near.format(1) + bits)
        net.cable(router, far.format(1) + bits, server, far.format(2) + bits)
        one = listener(client, family, near.format(2))
        other = listener(server, family, far.format(2))
        with one, other:
            with pytest.raises(OSError, match="unreachable"):
                one.sendto(b"x", other.getsockname())
            client.route("default", via=near.format(1))
            server.route("default", via=far.format(1))
            router.forward()
            one.sendto(b"hello", other.getsockname())
            data, sender = other.recvfrom(100)
            assert (data, sender[0]) == (b"hello", near.format(2))
    assert not left()


async def test_processes_end_with_their_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process inside is there until the network is removed, also when the test fails meanwhile; and also where `ip`
    takes long to get it there."""
    slow = tmp_path / "ip"
    slow.write_text(f'#!/bin/sh\n[ "$2" != exec ] || sleep 0.3\nexec {shutil.which("ip")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    async def fails() -> asyncio.subprocess.Process:
        with suppress(ZeroDivisionError), Network() as net:
            process = await net.namespace("a").start("sleep", "60")
            assert process.returncode is None
            assert 1 / 0
        return process

    process = await fails()
    async with asyncio.timeout(20):
        assert await process.wait() != 0
    assert not left()


async def test_coroutines_run_inside() -> None:
    """A coroutine function runs in a thread inside, hands back what it returns, and ends when its caller does."""
    ended = threading.Event()

    async def names() -> list[str]:
        await asyncio.sleep(0)
        return [name for _, name in socket.if_nameindex()]

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with Network() as net:
        one, other = net.namespace("one"), net.namespace("other")
        net.cable(one, "10.99.1.1/24", other, "10.99.1.2/24")
        assert await one.inside(names) == ["lo", "eth0"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await one.inside(waits)
        assert ended.is_set()


def test_names_of_its_own() -> None:
    """A process inside resolves the names that it was given; the files for it go with the network."""
    with Network() as net:
        one = net.namespace("one")
        one.hosts({"turn.example.org": "10.99.1.1"})
        assert one.run("getent", "hosts", "turn.example.org").split() == [
            "10.99.1.1",
            "turn.example.org",
        ]
        assert Path("/etc/netns", one.name).exists()
    assert not Path("/etc/netns", one.name).exists()
