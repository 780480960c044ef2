"""Pairing of phones: one-time codes in the terminal, also as QR codes; paired devices have access for 30 days."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Authenticate paired devices; show codes in the terminal if PAIRING_HOSTS is set."""
    from server.core.aio import TaskSet
    from server.features.pairing.pairing import DEVICE, Devices, Pairing
    from server.features.pairing.settings import PairingSettings
    from server.web.request_guard import AuthMethod

    settings, access = api.settings, api.access
    own = PairingSettings.of(settings)
    devices = Devices(own.device_key())
    access.tokens.refusals.append(devices.refuses)
    access.hosts.add(own.pairing_hosts)
    pairing = Pairing(api.services, devices, shown=bool(own.pairing_hosts))
    api.provide(AuthMethod, pairing)
    pairing.add_routes(api.make_router())
    pairing.add_operator_routes(api.make_operator_router("/api/operator"))
    api.sessions.replicas.on_end(DEVICE, pairing.end)
    if not own.pairing_hosts:
        return
    from server.features.pairing.terminal import PairingTerminal, list_page_urls, run_device_command

    tasks = TaskSet("pairing")
    shown: list[PairingTerminal] = []

    def forget(name: str | None) -> None:
        tasks.spawn(pairing.forget(name), name="forget")

    def show(port: int) -> None:
        scheme = "https" if settings.https_enabled else "http"
        terminal = PairingTerminal(
            pairing.codes,
            list_page_urls(scheme, settings.host, own.pairing_hosts, port),
            settings.access_code.get_secret_value() if settings.made_access_code else None,
            access.authority,
            out=sys.stderr,
            keys=sys.stdin,
            run_command=lambda line: run_device_command(line, devices, forget),
        )
        terminal.start()
        shown.append(terminal)

    async def close() -> None:
        while shown:
            shown.pop().close()
        await tasks.close()

    api.added.listening.append(show)
    api.run("terminal", close=close)
