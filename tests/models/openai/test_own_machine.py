"""Recognise addresses of this machine; for all others people are asked before a picture goes there."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from server.core.addresses import parse_address
from server.models.openai.chat_client import Endpoint
from server.models.openai.discovery import other_machine
from server.models.openai.engine import OpenAIEngine
from server.models.openai.known_server import Whereabouts, own_addresses, own_names
from tests.support.fakes_openai import FakeOpenAI

pytestmark = pytest.mark.asyncio

LAN, ELSEWHERE = "192.0.2.7", "198.51.100.9"
OWN = frozenset(a for a in map(parse_address, ("127.0.0.1", LAN, "2001:db8::7")) if a is not None)
NAMES = frozenset({"desk", "desk.local"})


class Names:
    """A resolver that knows these names; it notes which thread asked it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **known: tuple[str, ...]) -> None:
        self.known = known
        self.asked: list[tuple[str, int]] = []
        # Answers wait for it.
        self.answers = threading.Event()
        self.answers.set()
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, *given: Any, **more: Any) -> list[Any]:
        self.asked.append((host, threading.get_ident()))
        assert self.answers.wait(20)
        if host not in self.known:
            raise socket.gaierror("not known")
        return [(socket.AF_INET, 1, 6, "", (address, 0)) for address in self.known[host]]


async def look(url: str) -> str:
    return await Whereabouts(url, addresses=lambda: OWN, names=lambda: NAMES).find()


@pytest.mark.parametrize(
    ("host", "other"),
    [
        ("127.0.0.1", ""),
        ("localhost", ""),
        (LAN, ""),
        ("[2001:db8::7]", ""),
        (f"[::ffff:{LAN}]", ""),
        ("192.0.2.8", "192.0.2.8"),
        ("[2001:db8::8]", "2001:db8::8"),
        ("user:pw@192.0.2.8", "192.0.2.8"),
        ("desk", ""),
        ("DESK.", ""),
        ("desk.local", "desk.local"),
        ("gpu.example.org", "gpu.example.org"),
    ],
)
async def test_own_addresses_and_names(
    monkeypatch: pytest.MonkeyPatch, host: str, other: str
) -> None:
    """A literal is compared; of names only the own ones are asked about, off the event loop.

    Those of others may lead here today and elsewhere tomorrow.
    """
    names = Names(
        monkeypatch,
        **{"desk": (LAN, "127.0.0.1"), "desk.local": (LAN, ELSEWHERE), "gpu.example.org": (LAN,)},
    )
    assert await look(f"http://{host}:8001/v1") == other
    assert {name for name, _ in names.asked} <= {"desk", "desk.local"}
    assert threading.get_ident() not in {thread for _, thread in names.asked}


async def test_what_nobody_knows_is_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without an address, and a system that does not tell its own addresses."""
    Names(monkeypatch)
    assert await look("http://desk/v1") == "desk"

    def refuses() -> frozenset[Any]:
        raise OSError("no netlink here")

    assert await Whereabouts(f"http://{LAN}/v1", addresses=refuses).find() == LAN


async def test_a_name_server_that_is_silent_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two seconds at most, then not again for a minute; the loop goes on meanwhile."""
    names = Names(monkeypatch, desk=(LAN,))
    names.answers.clear()
    monkeypatch.setattr("server.models.openai.known_server._RESOLVE_SECONDS", 0.1)
    one = Whereabouts("http://desk/v1", addresses=lambda: OWN, names=lambda: NAMES)
    try:
        # It answers while the name server is silent, so the loop was never held up by it.
        async with asyncio.timeout(10):
            assert (await one.find(), await one.find()) == ("desk", "desk")
        assert len(names.asked) == 1
    finally:
        names.answers.set()


async def test_another_network_is_noticed() -> None:
    """The address that was ours has become somebody else's, and back."""
    own = [OWN, frozenset[Any](), OWN]
    one = Whereabouts(f"http://{LAN}/v1", addresses=lambda: own.pop(0))
    assert one.other == LAN
    assert [await one.find() for _ in range(3)] == ["", LAN, ""]


async def test_this_machine_as_it_is() -> None:
    """Its addresses are read for true; its own name is one, without asking anybody."""
    own = own_addresses()
    assert parse_address("127.0.0.1") in own
    name = socket.gethostname().lower()
    assert name in own_names() or name in ("", "localhost")
    for address in own:
        if not address.is_link_local:
            host = f"[{address}]" if address.version == 6 else str(address)
            assert await Whereabouts(f"http://{host}:1/v1").find() == ""


async def test_an_engine_at_an_address_of_this_machine_is_no_other() -> None:
    """Known from its first probe on; before it is taken for another, so that nothing goes unsaid."""
    mine = [a for a in own_addresses() if a.version == 4 and not a.is_loopback]
    if not mine:
        pytest.skip("This machine has no address beyond loopback.")
    async with FakeOpenAI(host="0.0.0.0") as server:
        url = f"http://{mine[0]}:{server.port}/v1"
        engine = OpenAIEngine("vllm", Endpoint(url))
        try:
            assert engine.status.elsewhere == other_machine(url) == str(mine[0])
            assert (await engine.probe()).elsewhere == ""
        finally:
            await engine.close()
