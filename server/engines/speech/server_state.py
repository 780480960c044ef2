"""One speech server: its state, which is ready or not, its model, and the use of its socket."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from server.engines.openai.discovery import address_of
from server.engines.openai.own_machine import Whereabouts

log = logging.getLogger(__name__)

# The socket is not tried again for so long after it was not offered or failed.
_PAUSE_SECONDS = 60.0


class Listing(Protocol):
    """The connections to a server, as far as its state needs them."""

    async def models(self) -> tuple[int, list[str]]: ...

    def trouble(self, status: int) -> str: ...

    async def close(self) -> None: ...


class ServerState:
    """Owner of a server's state. `model` "" takes the first one that it lists.

    `what`: its name in the log. `socket`: its socket is wanted.
    """

    def __init__(
        self, what: str, base_url: str, http: Listing, *, model: str, socket: bool, seconds: float
    ) -> None:
        self.model = model
        self.ready = False
        # The reason why it is not ready and the remedy, for operators; "" while it is
        self.trouble = f"Not yet asked: the {what} at {address_of(base_url)}."
        self._what = what
        self._http = http
        self._wanted = model
        self._seconds = seconds
        self._whereabouts = Whereabouts(base_url)
        self._socket = socket
        # Loop time before which the socket is not tried
        self._not_before = 0.0

    @property
    def elsewhere(self) -> str:
        """The other machine that it is; "" for this one."""
        return self._whereabouts.other

    async def probe(self) -> bool:
        """Find whether it answers, and its model; never raises an error."""
        await self._whereabouts.find()
        try:
            async with asyncio.timeout(self._seconds):
                status, names = await self._http.models()
        except TimeoutError:
            status, names = 0, []
        # Some list no models, and work all the same.
        ready = 0 < status < 500 and status not in (401, 403)
        if not self._wanted:
            self.model = names[0] if names else self.model
        if ready != self.ready:
            log.info(
                "a speech server's state",
                extra={
                    "engine": self._what,
                    "state": "ready" if ready else "unreachable",
                    "reason": f"HTTP {status}",
                },
            )
        self.ready = ready
        self.trouble = "" if ready else self._http.trouble(status)
        return ready

    def failed(self, trouble: str) -> None:
        """Note that it did not answer a request: it is not ready until a probe finds it again."""
        self.ready, self.trouble = False, trouble

    @property
    def tries_socket(self) -> bool:
        return self._socket and asyncio.get_running_loop().time() >= self._not_before

    def socket_failed(self, error: Exception) -> None:
        """Do without the socket for a while."""
        self._not_before = asyncio.get_running_loop().time() + _PAUSE_SECONDS
        log.info(
            "a speech server's socket is not used",
            extra={"engine": self._what, "error": type(error).__name__},
        )


class SpeechServer:
    """One server that recognises or speaks, as far as both are the same; arguments as for `ServerState`."""

    def __init__(
        self, what: str, base_url: str, http: Listing, *, model: str, socket: bool, seconds: float
    ) -> None:
        self._address = address_of(base_url)
        self._listing = http
        self._state = ServerState(what, base_url, http, model=model, socket=socket, seconds=seconds)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(address={self._address!r}, ready={self.ready})"

    @property
    def ready(self) -> bool:
        return self._state.ready

    @property
    def elsewhere(self) -> str:
        return self._state.elsewhere

    @property
    def trouble(self) -> str:
        """The reason why it is not ready and the remedy, for operators; "" while it is."""
        return self._state.trouble

    async def close(self) -> None:
        await self._listing.close()
