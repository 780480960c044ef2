"""A real coturn inside a namespace, with deploy/'s configuration, its marked lines changed."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from scripts.local_certificate import make_authority, make_leaf, to_pem
from tests.support.fakes_server import end, free_port, listening_at
from tests.support.namespaces import Namespace

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "turnserver.conf"
SECRET = "a-secret-of-the-tests-0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files. `authority` is what a client has to trust."""

    authority: Path
    chain: Path
    key: Path

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))


def make_certificate(folder: Path, *names: str) -> Certificate:
    """For host names and addresses, signed by an authority of its own."""
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    now = datetime.now(UTC)
    authority = make_authority(alternatives, "test", now)
    key, certificate = make_leaf(*authority, alternatives, now)
    made = Certificate(*(folder / f"{name}.pem" for name in ("authority", "server", "key")))
    made.authority.write_bytes(to_pem(None, authority[1]))
    made.chain.write_bytes(to_pem(None, certificate))
    made.key.write_bytes(to_pem(key, certificate))
    return made


def configuration(
    address: str,
    certificate: Certificate,
    *,
    allowed: Sequence[str] = (),
    tls_port: int = 443,
    relay_address: str = "",
    more: Sequence[str] = (),
) -> str:
    """deploy/turnserver.conf for a machine at `address`.

    Raises AssertionError when a line to be changed is gone.
    """
    text = CONFIGURATION.read_text()

    def change(line: str, to: str) -> None:
        nonlocal text
        text, count = re.subn(rf"^{re.escape(line)}.*$", to, text, flags=re.MULTILINE)
        assert count == 1, f"{line} is in deploy/turnserver.conf {count} times"

    change("listening-ip=", f"listening-ip={address}")
    change("relay-ip=", f"relay-ip={relay_address or address}")
    change("static-auth-secret=", f"static-auth-secret={SECRET}")
    change("tls-listening-port=", f"tls-listening-port={tls_port}")
    change("cert=", f"cert={certificate.chain}")
    change("pkey=", f"pkey={certificate.key}")
    change("#allowed-peer-ip=203.", "\n".join(f"allowed-peer-ip={peer}" for peer in allowed))
    return text + "\n".join(more) + "\n"


@dataclass
class TurnServer:
    process: asyncio.subprocess.Process
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")


@asynccontextmanager
async def turn_server(
    namespace: Namespace, address: str, folder: Path, text: str, *, tls_port: int = 443
) -> AsyncIterator[TurnServer]:
    """coturn with this configuration, once it listens at `address`; it ends with the context."""
    path, log = folder / "turnserver.conf", folder / "turnserver.log"
    path.write_text(text)
    with log.open("wb") as output:
        process = await namespace.start(
            "turnserver",
            *("-c", str(path), "--pidfile=", f"--userdb={folder / 'turndb'}"),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = TurnServer(process, log)
    try:
        async with asyncio.timeout(60):
            while not (listens(namespace, address, 3478) and listens(namespace, address, tls_port)):
                assert process.returncode is None, server.said
                await asyncio.sleep(0.05)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def turn_on_loopback(folder: Path, secret: str) -> AsyncIterator[int]:
    """A real relay on loopback; its port, UDP and TCP.

    Skips the test where coturn is not installed.
    """
    if shutil.which("turnserver") is None:
        pytest.skip("turnserver is missing; bash scripts/test.sh installs it where it may.")
    port = free_port()
    own = ["--listening-ip=127.0.0.1", f"--listening-port={port}", "--relay-ip=127.0.0.1"]
    auth = ["--use-auth-secret", f"--static-auth-secret={secret}", "--realm=test"]
    less = ["--no-tls", "--no-dtls", "--no-cli", "--allow-loopback-peers", "--pidfile="]
    files = [f"--userdb={folder / 'turndb'}", "--log-file=stdout"]
    process = await listening_at(port, "turnserver", "-n", *own, *auth, *less, *files, cwd=folder)
    try:
        yield port
    finally:
        await end(process)


def listens(namespace: Namespace, address: str, port: int) -> bool:
    with namespace.entered(), contextlib.suppress(OSError):
        socket.create_connection((address, port), timeout=0.5).close()
        return True
    return False
