#!/usr/bin/env python3
"""Find out why cameras do not connect: run all checks, and print the cause and remedy of each failure.

    python3 scripts/doctor.py                       checks this machine's server, with the settings in .env
    python3 scripts/doctor.py URL                   checks another server, as a page reaches it
    python3 scripts/doctor.py --json                the same for programs

Exit status: 0 if nothing failed, 1 if something did, 2 for wrong options. The output contains no secrets, and only the
beginning of addresses, so it can be shared.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.arguments import add_access_code, add_env_file, create_parser, restart_in_environment
from server.core import core_dumps

try:
    from config import Settings
    from scripts.bench.camera_peer import CameraPeer
    from scripts.bench.http_json import Reply
    from scripts.bench.live_encoder import LiveEncoder, Scene
    from scripts.checks import local, media, web
    from scripts.checks.finding import Finding, State, format_table, mask_addresses
    from scripts.monitoring.reading import LOOPBACK, get_own_address
except ModuleNotFoundError as missing:
    restart_in_environment(missing, install="bash scripts/run.sh")


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = create_parser(__doc__)
    add = parser.add_argument
    add(
        "address",
        nargs="?",
        help="the server, for example https://cam.example.org (this machine's)",
    )
    add("--server-url", help="the same")
    add_access_code(parser, None)
    add(
        "--authority",
        type=Path,
        help="PEM file of a certificate authority to trust in addition to the system's",
    )
    add_env_file(parser, "this machine's settings")
    add("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args(arguments)
    if chosen.address is not None and chosen.server_url is not None:
        parser.error("give the address once")
    chosen.server_url = chosen.server_url or chosen.address
    if chosen.server_url is not None:
        parts = urlsplit(chosen.server_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            parser.error("the given text is not an address such as https://cam.example.org:8000")
        chosen.server_url = f"{parts.scheme}://{parts.netloc}"
        # The code is for that server, not for this machine's.
        code = os.environ.pop("ACCESS_CODE", None)
        chosen.access_code = code if chosen.access_code is None else chosen.access_code
    if chosen.authority is not None and not chosen.authority.is_file():
        parser.error("--authority is not a file")
    return chosen


async def _check_models(settings: Settings, health: object) -> AsyncGenerator[Finding, None]:
    """Check the model server, and the other configured servers and models."""
    yield await local.check_model_server(settings)
    for found in await local.check_role_servers(settings):
        yield found
    for check in (
        *(local.check_local_model, local.check_recogniser, local.check_voice),
        local.check_end_of_turn,
    ):
        if (one := await check(settings, health)) is not None:
            yield one


class Examination:
    """The checks of a server; `yield_findings` yields their results in order."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._local = chosen.server_url is None or urlsplit(chosen.server_url).hostname in LOOPBACK
        self._settings: Settings | None = None
        self.url = chosen.server_url or ""
        # Removed from all output
        self.secrets: set[str] = set()

    async def yield_findings(self) -> AsyncGenerator[Finding, None]:
        if self._local:
            finding, self._settings = local.check_settings(self._chosen.env_file)
            yield finding
        settings = self._settings
        code = self._read_access_code()
        self._know_secrets(code)
        server, reply, middle = await self._find_server()
        if reply is None:
            yield self._explain_port(server)
            if settings is not None:
                yield local.check_udp_ports(settings)
                async for found in _check_models(settings, None):
                    yield found
            return
        yield server
        trusted = True
        if self.url.startswith("https:"):
            own = settings.ca_cert_path if settings is not None else None
            authorities = [one for one in (self._chosen.authority, own) if one is not None]
            certificate, trusted = await web.check_certificate(self.url, authorities)
            yield certificate
        yield web.check_clock(reply, middle)
        health = await web.fetch_health(self.url, self._get_health_token(trusted))
        engine = web.check_engine(health)
        yield engine
        if settings is not None:
            async for found in _check_models(settings, health):
                yield found
            yield local.check_udp_ports(settings)
        if code and not trusted and urlsplit(self.url).hostname not in LOOPBACK:
            yield Finding(
                "access",
                "Access",
                State.SKIPPED,
                "Not checked, because the access code is not sent to a server that this machine does not trust.",
                todo="Correct the certificate, or trust its authority with --authority.",
            )
            return
        async for finding in self._check_media(code, health):
            yield finding

    async def _check_media(self, code: str, health: object) -> AsyncGenerator[Finding, None]:
        """Check the connections of a page, with a new session."""
        encoder = LiveEncoder(Scene(320, 240), rate=10.0)
        peer = CameraPeer(self.url, encoder, access_code=code or None)
        try:
            access = await media.check_access(peer)
            yield access
            if not access.ok:
                return
            self.secrets |= {peer.token, peer.session_id}
            relays = [
                (url, server)
                for server in peer.ice_servers
                for url in server["urls"]
                if url.startswith("turn")
            ]
            for _, server in relays:
                self.secrets |= {str(server["username"]), str(server["credential"])}
            stun = [u for s in peer.ice_servers for u in s["urls"] if u.startswith("stun:")]
            announced = [str(a) for a in self._settings.public_addresses] if self._settings else []
            reports = health.get("turn") if isinstance(health, dict) else None
            reported = {entry["url"]: entry for entry in reports or []}
            looking: list[Awaitable[Finding]] = [
                media.check_stun(url, announced if self._local else []) for url in stun[:1]
            ]
            looking += [
                media.try_relay(
                    number,
                    url,
                    server,
                    reported=reported.get(url),
                    local=self._local,
                    announced=announced,
                )
                for number, (url, server) in enumerate(relays, 1)
            ]
            others = [asyncio.ensure_future(look) for look in looking]
            try:
                socket = await media.check_socket(peer)
                yield socket
                yield await media.check_picture(peer, watched=socket.ok, relays=bool(relays))
                for other in others:
                    yield await other
            finally:
                for other in others:
                    other.cancel()
                await asyncio.gather(*others, return_exceptions=True)
            if not relays:
                yield Finding("relays", "Relays", State.SKIPPED, "This server offers no relays.")
        finally:
            await peer.close()
            await encoder.close()

    async def _find_server(self) -> tuple[Finding, Reply | None, float]:
        """Find the server at the address of .env, else with the other scheme, set by run.sh --https."""
        if self._chosen.server_url is not None:
            return await web.check_server(self.url)
        self.url = get_own_address(self._settings) if self._settings else "http://127.0.0.1:8000"
        found = await web.check_server(self.url)
        if found[1] is None:
            scheme, _, rest = self.url.partition("://")
            second = f"{'http' if scheme == 'https' else 'https'}://{rest}"
            other = await web.check_server(second)
            if other[1] is not None:
                self.url, found = second, other
        return found

    def _explain_port(self, server: Finding) -> Finding:
        """Add to the finding about a missing server whether another program uses its port."""
        if self._chosen.server_url is not None or self._settings is None or not self._settings.port:
            return server
        port = self._settings.port
        if local.is_port_taken(self._settings.host, port):
            cause = f"Another program uses port {port}."
            return replace(
                server, cause=cause, todo="Stop it, or set another PORT, then start the server."
            )
        cause = f"Port {port} is free: the server is not running."
        return replace(server, cause=cause, todo="Start it: bash scripts/run.sh")

    def _read_access_code(self) -> str:
        if self._chosen.access_code is not None:
            return str(self._chosen.access_code)
        if self._settings is not None and not self._settings.made_access_code:
            return self._settings.access_code.get_secret_value()
        return os.environ.get("ACCESS_CODE", "")

    def _get_health_token(self, trusted: bool) -> str:
        """Return the token for the full /health response; "" for a server that must not get secrets."""
        if not trusted and urlsplit(self.url).hostname not in LOOPBACK:
            return ""
        if self._local and self._settings is not None:
            for name in ("metrics_token", "operator_token"):
                if token := getattr(self._settings, name).get_secret_value():
                    return str(token)
        return os.environ.get("METRICS_TOKEN", "")

    def _know_secrets(self, code: str) -> None:
        self.secrets.add(code)
        if self._settings is not None:
            for name in (
                *("jwt_secret_key", "turn_secret", "vllm_api_key", "metrics_token"),
                *("speech_api_key", "transcription_api_key", "watches_api_key", "reads_api_key"),
                "operator_token",
            ):
                # Settings of a feature exist only while it is enabled.
                if (secret := getattr(self._settings, name, None)) is not None:
                    self.secrets.add(secret.get_secret_value())


async def run_checks(chosen: argparse.Namespace) -> bool:
    """Run the checks and print their results. Return True if nothing failed."""
    examination = Examination(chosen)
    began, start = datetime.now(UTC), time.monotonic()
    findings: list[Finding] = []
    async with contextlib.aclosing(examination.yield_findings()) as all_findings:
        async for raw in all_findings:
            found = raw.without_secrets(examination.secrets)
            findings.append(found)
            if not chosen.json:
                print(format_table([found]), flush=True)
    failed = [found.title for found in findings if found.state is State.FAILED]
    seconds = round(time.monotonic() - start, 1)
    if chosen.json:
        report = {
            "server": mask_addresses(examination.url),
            "began": began.isoformat(timespec="seconds"),
            "seconds": seconds,
            "ok": not failed,
            "checks": [asdict(found) for found in findings],
        }
        print(json.dumps(report, indent=2))
    else:
        result = "Nothing failed."
        if failed:
            result = f"Does not work: {'; '.join(failed)}."
        when = began.strftime("%Y-%m-%d %H:%M:%S UTC")
        print(f"\n{result}  {mask_addresses(examination.url)}, {when}, {seconds} s")
    return not failed


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse_options(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal with another encoding shows replacements for unsupported characters.
        sys.stdout.reconfigure(errors="replace")
    # Libraries would log the same failures, with addresses.
    logging.disable(logging.CRITICAL)
    try:
        return 0 if asyncio.run(run_checks(chosen)) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())
