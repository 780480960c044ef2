"""Networks of tests/net: a server behind a relay, a server behind 1:1 NAT. coturn, nginx and
nftables are the real ones.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.async_api import Browser

from benchmarks.browser import chromium, find_chromium
from scripts.bench.camera_peer import CameraPeer
from scripts.bench.live_encoder import LiveEncoder, Scene
from tests.browser.visitor import SHELL
from tests.support.namespaces import Namespace, Network
from tests.support.turn_server import (
    SECRET,
    Certificate,
    configuration,
    listens,
    make_certificate,
    turn_server,
)

# Shows all of /health.
WATCHING = "metrics-token-of-a-test-0123"
ROOT = Path(__file__).parents[2]
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

CLIENT, RELAY, INNER, SERVER = "10.99.1.2", "10.99.1.1", "10.99.2.1", "10.99.2.2"
# The name in deploy/nginx-turn-sni.conf
NAME = "turn.example.org"
PAGE = f"https://{RELAY}"
UDP = f"turn:{RELAY}:3478?transport=udp"
TCP = f"turn:{RELAY}:3478?transport=tcp"
# Straight to coturn, for a client that knows no names; the same by its name through nginx on 443
TLS = f"turns:{RELAY}:5349?transport=tcp"
TLS_443 = f"turns:{NAME}:443?transport=tcp"

PUBLIC, BEHIND = "203.0.113.10", "192.168.77.2"


class Process:
    """`python -m server.main` inside a namespace, with what it said."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")


@asynccontextmanager
async def server_process(
    namespace: Namespace, address: str, folder: Path, settings: Mapping[str, str]
) -> AsyncIterator[Process]:
    """The server at `address`, port 8000, once it listens."""
    log = folder / "server.log"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ENGINE": "builtin",
        "HOST": "0.0.0.0",
        "RATE_LIMIT_PER_MINUTE": "0",
        "LOG_LEVEL": "info",
        **settings,
    }
    with log.open("wb") as output:
        process = await namespace.start(
            *(sys.executable, "-m", "server.main"),
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Process(process, log)
    try:
        async with asyncio.timeout(30):
            while not listens(namespace, address, 8000):
                assert process.returncode is None, server.said
                await asyncio.sleep(0.05)
        yield server
    finally:
        await end(process)


async def end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(15):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def sni_configuration(folder: Path, certificate: Certificate) -> str:
    """deploy/nginx-turn-sni.conf with the page's server behind it, as it says there."""
    site = """
        listen 127.0.0.1:8443 ssl proxy_protocol;
        set_real_ip_from 127.0.0.1;
        real_ip_header proxy_protocol;"""
    return f"""
load_module {STREAM_MODULE};
include "{ROOT}/deploy/nginx-turn-sni.conf";
{site_configuration(folder, certificate, site)}"""


def site_configuration(folder: Path, certificate: Certificate, listen: str) -> str:
    """The page's server behind nginx."""
    return f"""
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
    server {{{listen}
        ssl_certificate {certificate.chain};
        ssl_certificate_key {certificate.key};
        location / {{
            proxy_pass http://{SERVER}:8000;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""


@asynccontextmanager
async def nginx(namespace: Namespace, address: str, folder: Path, text: str) -> AsyncIterator[None]:
    """nginx with this configuration, once it listens on 443 of `address`."""
    (folder / "nginx.conf").write_text(text)
    process = await namespace.start(
        *("nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(10):
            while not listens(namespace, address, 443):
                assert process.returncode is None, f"nginx ended with {process.returncode}"
                await asyncio.sleep(0.05)
        yield
    finally:
        await end(process)


@dataclass
class RelayRoom:
    """The client reaches the relay's machine alone, which passes nothing on: there are nginx with
    the page and coturn.
    """

    client: Namespace
    relay: Namespace
    server: Namespace
    certificate: Certificate
    folder: Path
    program: Process


@asynccontextmanager
async def relay_room(folder: Path, **settings: str) -> AsyncIterator[RelayRoom]:
    """`settings` are the server's, by their keys."""
    async with AsyncExitStack() as stack:
        net = stack.enter_context(Network())
        client, relay, server = (net.namespace(name) for name in ("client", "relay", "server"))
        net.cable(client, f"{CLIENT}/24", relay, f"{RELAY}/24")
        net.cable(relay, f"{INNER}/24", server, f"{SERVER}/24")
        # The server sends to the relay's outer address as well: its own check of the relay asks for
        # that.
        server.route(f"{RELAY}/32", via=INNER)
        server.hosts({NAME: RELAY})
        certificate = make_certificate(folder, RELAY, NAME)
        text = configuration(
            RELAY,
            certificate,
            allowed=[SERVER],
            tls_port=5349,
            relay_address=INNER,
            more=["listening-ip=127.0.0.1"],
        )
        await stack.enter_async_context(turn_server(relay, RELAY, folder, text, tls_port=5349))
        text = sni_configuration(folder, certificate)
        await stack.enter_async_context(nginx(relay, RELAY, folder, text))
        program = await stack.enter_async_context(
            server_process(
                server,
                SERVER,
                folder,
                {
                    "TURN_URLS": ",".join((UDP, TCP, TLS, TLS_443)),
                    "TURN_SECRET": SECRET,
                    "METRICS_TOKEN": WATCHING,
                    "TRUSTED_PROXIES": INNER,
                    "SSL_CERT_FILE": str(certificate.authority),
                    **settings,
                },
            )
        )
        yield RelayRoom(client, relay, server, certificate, folder, program)


@asynccontextmanager
async def chromium_inside(
    namespace: Namespace,
    folder: Path,
    *,
    trusted: Certificate | None = None,
    args: tuple[str, ...] = (),
) -> AsyncIterator[Browser]:
    """Headless Chromium inside; `trusted`'s server certificate is taken without an authority."""
    program = SHELL or find_chromium()
    assert program is not None
    start = folder / f"chromium-{namespace.name}"
    start.write_text(f'#!/bin/sh\nexec {" ".join(namespace.command(program))} "$@"\n')
    start.chmod(0o755)
    if trusted is not None:
        public_key = x509.load_pem_x509_certificate(trusted.chain.read_bytes()).public_key()
        digest = hashlib.sha256(
            public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        args = (
            *args,
            f"--ignore-certificate-errors-spki-list={base64.b64encode(digest.digest()).decode()}",
        )
    async with chromium(
        args=["--no-proxy-server", f"--host-resolver-rules=MAP {NAME} {RELAY}", *args],
        executable=str(start),
    ) as browser:
        yield browser


def have_nginx() -> bool:
    return shutil.which("nginx") is not None and STREAM_MODULE.exists()


@asynccontextmanager
async def encoder() -> AsyncIterator[LiveEncoder]:
    encoder = LiveEncoder(Scene(640, 360), rate=15.0)
    try:
        yield encoder
    finally:
        await encoder.close()


async def first_frame(peer: CameraPeer) -> float:
    """Seconds from the offer to the server's word that the camera is live."""

    def live(message: dict[str, Any]) -> bool:
        return bool(message["type"] == "status" and message["camera"] == "live")

    await peer.wait_for(live, timeout=10)
    return next(arrived.at for arrived in peer.messages if live(arrived.message)) - peer.offered_at
