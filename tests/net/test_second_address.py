"""coturn on an address of its own beside the page's, TLS on its port 443, for clients with IPv4 and
with IPv6 alone.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.net.relayed_page import checked, one_visit, visitor, way
from tests.net.rooms import (
    CLIENT,
    INNER,
    RELAY,
    SERVER,
    WATCHING,
    chromium_inside,
    nginx,
    server_process,
    site_configuration,
)
from tests.support.namespaces import Namespace, Network, require
from tests.support.turn_server import (
    SECRET,
    Certificate,
    configuration,
    make_certificate,
    turn_server,
)

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SECOND = "10.99.1.3"
CLIENT_6, RELAY_6, SECOND_6 = "fd99:1::2", "fd99:1::1", "fd99:1::3"
INNER_6, SERVER_6 = "fd99:2::1", "fd99:2::2"
PAGE, PAGE_6 = f"https://{RELAY}", f"https://[{RELAY_6}]"
TLS = f"turns:{SECOND}:443?transport=tcp"
UDP_6 = f"turn:[{SECOND_6}]:3478?transport=udp"
TLS_6 = f"turns:[{SECOND_6}]:443?transport=tcp"


@dataclass
class Room:
    """Both clients reach the middle machine alone, each with its own kind of addresses; it passes
    nothing on.
    """

    four: Namespace
    six: Namespace
    certificate: Certificate
    folder: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    require("turnserver")
    if shutil.which("nginx") is None:
        pytest.skip("nginx is missing; scripts/test.sh installs it.")
    folder = tmp_path_factory.mktemp("second")
    async with AsyncExitStack() as stack:
        net = stack.enter_context(Network())
        four, six, relay, server = (net.namespace(n) for n in ("four", "six", "relay", "server"))
        net.cable(four, f"{CLIENT}/24", relay, (f"{RELAY}/24", f"{SECOND}/24"))
        net.cable(six, f"{CLIENT_6}/64", relay, (f"{RELAY_6}/64", f"{SECOND_6}/64"))
        inner, server_side = (f"{INNER}/24", f"{INNER_6}/64"), (f"{SERVER}/24", f"{SERVER_6}/64")
        net.cable(relay, inner, server, server_side)
        # To coturn's addresses alone: it relays from them, and the server looks whether it does.
        server.route(f"{SECOND}/32", via=INNER)
        server.route(f"{SECOND_6}/128", via=INNER_6)
        certificate = make_certificate(folder, RELAY, RELAY_6, SECOND, SECOND_6)
        text = configuration(
            SECOND,
            certificate,
            allowed=[SERVER],
            more=[f"listening-ip={SECOND_6}", f"relay-ip={SECOND_6}"],
        )
        await stack.enter_async_context(turn_server(relay, SECOND, folder, text))
        listen = f"listen {RELAY}:443 ssl; listen [{RELAY_6}]:443 ssl;"
        text = site_configuration(folder, certificate, listen)
        await stack.enter_async_context(nginx(relay, RELAY, folder, text))
        settings = {
            "TURN_URLS": ",".join((TLS, UDP_6, TLS_6)),
            "TURN_SECRET": SECRET,
            "METRICS_TOKEN": WATCHING,
            "TRUSTED_PROXIES": INNER,
            "SSL_CERT_FILE": str(certificate.authority),
        }
        await stack.enter_async_context(server_process(server, SERVER, folder, settings))
        yield Room(four, six, certificate, folder)


async def test_both_have_443_on_one_machine(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page on one address, TURN over TLS on the other: a camera connects and is answered."""
    monkeypatch.setenv("SSL_CERT_FILE", str(room.certificate.authority))
    _, text = await room.four.inside(lambda: one_visit(PAGE, TLS))
    assert text


async def test_the_server_finds_its_relays_working(room: Room) -> None:
    """Also those that it reaches by IPv6 and that relay by IPv4."""
    assert await checked(room.four, PAGE) == [
        {"url": url, "ok": True, "problem": "", "why": ""} for url in (TLS, UDP_6, TLS_6)
    ]


@pytest.mark.browser
@pytest.mark.parametrize(("url", "protocol"), [(UDP_6, "udp"), (TLS_6, "tls")])
async def test_a_client_with_ipv6_alone_is_answered(room: Room, url: str, protocol: str) -> None:
    """Chromium through the page, over a relay that it reaches by IPv6 and that goes on by IPv4."""
    async with (
        chromium_inside(room.six, room.folder, trusted=room.certificate) as browser,
        visitor(browser, PAGE_6, url) as person,
    ):
        await person.start()
        assert await way(person) == ["relay", protocol]
        sent = await person.send("What do you see?")
        assert (await person.response(sent["id"]))["text"]
