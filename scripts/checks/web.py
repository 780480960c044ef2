"""Checks over HTTP: the server, its certificate, its clock and its engine."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from scripts.bench.http_json import Reply, make_unchecked_tls, request
from scripts.checks.finding import Finding, State

SECONDS = 8.0
# The Date header has whole seconds.
CLOCK_SECONDS = 10.0
EXPIRES_SOON_DAYS = 14
# OpenSSL's X509_V_ERR_* (x509_vfy.h)
_NOT_YET, _EXPIRED = 9, 10
_UNKNOWN_ISSUER = (18, 19, 20, 21)
_OTHER_NAME = (62, 64)


async def check_server(url: str) -> tuple[Finding, Reply | None, float]:
    """Send GET /. Return the finding, the response, and the middle of the request (epoch seconds)."""
    finding = partial(Finding, "server", "Server")
    sent = time.time()

    def make_problem(*texts: str) -> tuple[Finding, None, float]:
        return finding(State.FAILED, *texts), None, sent

    try:
        reply = await request("GET", f"{url}/", timeout=SECONDS)
    except TimeoutError:
        return make_problem(
            f"No response within {SECONDS:g} s.",
            "A firewall drops the packets, or the address belongs to another machine.",
            "Open the server's TCP port in its firewall; check the address.",
        )
    except ConnectionRefusedError:
        return make_problem(
            "Nothing listens there.",
            "The server is not running, or uses another port or address (PORT, HOST).",
            "Start it: bash scripts/run.sh",
        )
    except ssl.SSLError:
        return make_problem(
            "The program there does not support TLS.",
            "The server runs without HTTPS_ENABLED, or another program uses the port.",
            "Use http:// for this address, or start it with bash scripts/run.sh --https",
        )
    except (OSError, EOFError, ValueError, IndexError) as error:
        return make_problem(
            f"The address cannot be reached ({type(error).__name__}).",
            "Its name cannot be resolved, there is no route to it, or the program there uses https or not HTTP.",
            "Check the address (https:// or http://) and the network.",
        )
    came = time.time()
    try:
        body = reply.parse_json()
    except ValueError:
        body = None
    if reply.status in range(301, 309) and reply.headers.get("location", "").startswith("https:"):
        return make_problem(
            f"It redirects to https, with status {reply.status}.",
            "The server, or a proxy in front of it, uses https for this name.",
            "Give the address with https:// to this command.",
        )
    if not isinstance(body, dict) or body.get("service") != "qwen-camera":
        return make_problem(
            f"Another program responds there, with status {reply.status}.",
            "A proxy in between, or another program on this port.",
            "Check the address, and the target of the proxy.",
        )
    text = f"Version {body.get('version')}, responded in {(came - sent) * 1000:.0f} ms."
    return finding(State.OK, text), reply, (sent + came) / 2


def check_clock(reply: Reply, middle: float) -> Finding:
    """Compare the response's Date header with this machine's clock at `middle`."""
    finding = partial(Finding, "clock", "Clock")
    try:
        theirs = parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
    except ValueError:
        return finding(State.SKIPPED, "The server did not report its time.")
    offset = theirs + 0.5 - middle
    if abs(offset) <= CLOCK_SECONDS:
        return finding(State.OK, "This machine and the server agree on the time.")
    return finding(
        State.WARN,
        f"This machine's clock is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} the server's.",
        "One of the two clocks is wrong.",
        "Synchronise both by NTP, because certificates, tokens and relay credentials expire by the clock.",
    )


async def check_certificate(url: str, authorities: Sequence[Path]) -> tuple[Finding, bool]:
    """Check the server's certificate. Return the finding, and True if secrets may be sent there."""
    finding = partial(Finding, "certificate", "Certificate")
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    context = ssl.create_default_context()
    for path in authorities:
        context.load_verify_locations(path)
    error = await _verify(host, port, context)
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return finding(State.SKIPPED, "The server cannot be reached."), False
    if error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        failed = finding(
            State.FAILED,
            "The program there does not support TLS 1.2 or newer.",
            "HTTPS_ENABLED is not set, or a proxy's https uses another port.",
            "Start with bash scripts/run.sh --https, or use http:// on localhost.",
        )
        return failed, False
    leaf = await _fetch_leaf(host, port)
    names, ends = _read_names_and_end(leaf)
    days = (ends - datetime.now(UTC)).total_seconds() / 86400
    shown = ", ".join(names[:4]) or "-"
    if error is None:
        text = f"It is for {shown}; trusted, and valid for {days:.0f} more days."
        if days < EXPIRES_SOON_DAYS:
            todo = "Renew it, then start the server again."
            return finding(State.WARN, text, "It expires soon.", todo), True
        return finding(State.OK, text), True
    assert isinstance(error, ssl.SSLCertVerificationError)
    code = error.verify_code
    if code in _UNKNOWN_ISSUER and await _is_own_authority(url, host, port):
        doubt = finding(
            State.WARN,
            f"It is for {shown}; its issuer is the server's own authority, which this machine does not trust.",
            "bash scripts/run.sh --https created it. Each device must be configured once to trust it.",
            "On phones: follow the steps on the page. Here: use --authority with that file.",
        )
        return doubt, False
    causes = {
        _EXPIRED: f"It expired {-days:.0f} days ago, or this machine's clock is wrong.",
        _NOT_YET: "It is not valid yet, or this machine's clock is wrong.",
        **dict.fromkeys(_UNKNOWN_ISSUER, "Its issuer is not trusted by this machine."),
        **dict.fromkeys(_OTHER_NAME, f"It is for other names: {', '.join(names[:4])}."),
    }
    failed = finding(
        State.FAILED,
        f"It is not valid ({error.verify_message}).",
        causes.get(code, "The certificate chain is broken."),
        "Use an address of the certificate, a certificate with its whole chain in SSL_CERT_PATH, or run.sh --https.",
    )
    return failed, False


async def _verify(host: str, port: int, context: ssl.SSLContext) -> OSError | None:
    """Return the error of a connection with certificate verification; None on success."""
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError as error:  # also ssl.SSLError and TimeoutError
        return error
    await _close(writer)
    return None


async def _fetch_leaf(host: str, port: int) -> x509.Certificate:
    async with asyncio.timeout(SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=make_unchecked_tls())
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    await _close(writer)
    return x509.load_der_x509_certificate(der)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _read_names_and_end(leaf: x509.Certificate) -> tuple[list[str], datetime]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(name.value) for name in extension]
    except x509.ExtensionNotFound:
        names = []
    return names, leaf.not_valid_after_utc


async def _is_own_authority(url: str, host: str, port: int) -> bool:
    """Return True if the certificate's issuer is the authority that the server offers at /ca.crt."""
    try:
        reply = await request("GET", f"{url}/ca.crt", timeout=SECONDS)
        context = ssl.create_default_context()
        context.load_verify_locations(cadata=reply.body)
    except (OSError, EOFError, ValueError):
        return False
    return reply.status == 200 and await _verify(host, port, context) is None


async def fetch_health(url: str, token: str = "") -> Any:
    """Return the body of /health, complete if `token` is valid; None if there is no response."""
    try:
        reply = await request("GET", f"{url}/health", token=token or None, timeout=SECONDS)
        if token and reply.status in (401, 429):
            reply = await request("GET", f"{url}/health", timeout=SECONDS)
        body = reply.parse_json()
    except (OSError, EOFError, ValueError):
        return None
    return body if isinstance(body, dict) else None


def check_engine(body: Any) -> Finding:
    """Check the engine's state in /health."""
    finding = partial(Finding, "engine", "Engine")
    engine = body.get("engine") if body else None
    if not isinstance(engine, dict):
        return finding(State.SKIPPED, "/health has no information about it.")
    name, state = engine.get("name"), engine.get("state")
    if state in ("ready", "busy"):
        model = f" ({engine['model']})" if engine.get("model") else ""
        if body.get("draining"):
            text = f"{name} is ready, but the server is about to stop."
            return finding(State.WARN, text, todo="Wait until it is back.")
        text = f"{name}{model}: {state!s}."
        if name == "builtin":
            text += " No vision-language model answers."
        others, gone = _describe_roles(body)
        text += others
        if gone:
            cause = (
                f"The engine of {' and '.join(gone)} does not respond; another engine replaces it."
            )
            return finding(State.WARN, text, cause, "Check that it is running: see its own check.")
        return finding(State.OK, text)
    return finding(
        State.WARN if state == "loading" else State.FAILED,
        f"{name}: {state!s}. Questions cannot be answered.",
        str(engine.get("detail") or body.get("reason") or ""),
        (
            "Wait until the model is loaded."
            if state == "loading"
            else "Check that the model server is running, and that VLLM_BASE_URL and MODEL_NAME are correct."
        ),
    )


def _describe_roles(body: Any) -> tuple[str, list[str]]:
    """Return sentences about the engines of other roles, and the roles whose engine is unavailable."""
    found = body.get("roles")
    roles = {name: one for name, one in (found or {}).items() if isinstance(one, dict)}
    said = ""
    for name, one in roles.items():
        if one.get("engine") != body["engine"].get("name"):
            model = f" ({one['model']})" if one.get("model") else ""
            said += f" {one.get('engine')}{model} {name}."
    return said, [name for name, one in roles.items() if one.get("instead") is True]
