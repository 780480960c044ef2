"""One POST to a receiver: over a connection of its own, to an address that was checked, once."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from functools import partial

import httpcore2
from httpcore2 import AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

from server.core import retry_after
from server.features.webhooks import waiting as retry
from server.features.webhooks.settings import Webhook
from server.features.webhooks.waiting import Trouble
from server.shared import network

# Seconds of an attempt in all
ATTEMPT_SECONDS = 15.0
# Addresses of a name that are tried
MAX_ADDRESSES = 4
# Bytes of a body that are written at a time
_PIECE = 8 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    # None: it was taken
    trouble: Trouble | None
    status: int = 0
    # Seconds that the receiver asks for
    pause: float = 0.0


class _CheckedNetwork(AsyncNetworkBackend):
    """A network that looks a name up once, checks all its addresses, and connects to one of them.

    So a name that changes its address between check and connection (DNS rebinding) leads nowhere.
    The other end of the connection is checked once more.
    """

    def __init__(self, private: bool, resolve: network.Resolve) -> None:
        self._refused = partial(network.refused, private=private)
        self._resolve = resolve
        self._backend = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        try:
            found = network.look_up(host, port, self._resolve)
            addresses = await asyncio.wrap_future(found)
        except (OSError, UnicodeError):
            raise httpcore2.ConnectError("its name was not found") from None
        for address in addresses:
            network.check(host, address, self._refused)
        for address in addresses[:MAX_ADDRESSES]:
            try:
                stream = await self._backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
            try:
                network.check(host, str(stream.get_extra_info("server_addr")[0]), self._refused)
            except BaseException:
                await stream.aclose()
                raise
            return stream
        raise httpcore2.ConnectError("nothing answers")


@dataclass(slots=True)
class Sender:
    """Sends, one connection each time. `resolve` looks names up."""

    resolve: network.Resolve = network.resolve
    seconds: float = ATTEMPT_SECONDS
    # Authorities by the names of webhooks
    _trusted: dict[str, ssl.SSLContext] = field(default_factory=dict)

    async def post(self, webhook: Webhook, headers: list[tuple[str, str]], body: bytes) -> Outcome:
        """Send a body. Cancelled, it sends nothing more of it.

        No redirect is followed, no proxy used, and of the answer nothing but its head is read.
        """
        try:
            async with asyncio.timeout(self.seconds):
                return await self._ask(webhook, headers, body)
        except network.RefusedAddress:
            return Outcome(Trouble.ADDRESS)
        except (TimeoutError, httpcore2.TimeoutException):
            return Outcome(Trouble.TIMEOUT)
        except (ssl.SSLError, network.FetchError):
            return Outcome(Trouble.CERTIFICATE)
        except httpcore2.NetworkError as error:
            found = "CERTIFICATE" in str(error)
            return Outcome(Trouble.CERTIFICATE if found else Trouble.UNREACHABLE)
        except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol, ValueError):
            return Outcome(Trouble.MALFORMED)
        except OSError:
            # The connection, or the file with the authority of its certificate
            return Outcome(Trouble.UNREACHABLE)

    async def _ask(self, webhook: Webhook, headers: list[tuple[str, str]], body: bytes) -> Outcome:
        fixed = [
            ("Host", webhook.host),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("User-Agent", "qwen-camera"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        if webhook.token:
            fixed.append(("Authorization", f"Bearer {webhook.token}"))
        backend = _CheckedNetwork(webhook.private, self.resolve)
        async with (
            httpcore2.AsyncConnectionPool(
                ssl_context=await self._trust(webhook), network_backend=backend
            ) as pool,
            pool.stream(
                "POST", webhook.url, headers=[*fixed, *headers], content=_pieces(body)
            ) as answer,
        ):
            status = answer.status
            asked = next((v for n, v in answer.headers if n.lower() == b"retry-after"), b"")
        pause = retry_after.seconds_of(asked.decode("latin-1"), time.time())
        return Outcome(retry.trouble(status), status, pause or 0.0)

    async def _trust(self, webhook: Webhook) -> ssl.SSLContext:
        """Return the authorities that its certificate is checked with. Raises OSError, FetchError."""
        found = self._trusted.get(webhook.name)
        if found is None:
            found = await asyncio.to_thread(network.authorities, webhook.ca)
            self._trusted[webhook.name] = found
        return found


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), _PIECE):
        yield body[at : at + _PIECE]
