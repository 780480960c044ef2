"""Checks of a request and of a socket alike: its address, its origin, its token, and the process its session lives in."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from starlette.requests import HTTPConnection

from server.access.affinity import HEADER, HomeProcess, home_process
from server.auth import Claims, OriginPolicy, TokenIssuer, TokenRefused
from server.core.addresses import Network, client_address, is_secure, is_trusted
from server.core.errors import Forbidden
from server.core.metrics import Metrics

log = logging.getLogger(__name__)


class ConnectionGuard:
    """A refusal is counted by its reason."""

    def __init__(
        self,
        *,
        tokens: TokenIssuer,
        origins: OriginPolicy,
        metrics: Metrics,
        trusted_proxies: Sequence[Network],
    ) -> None:
        self._tokens = tokens
        self._origins = origins
        self._metrics = metrics
        self._trusted_proxies = trusted_proxies
        # Whether the log has it that somebody forwards who is not trusted
        self._told = False

    def address(self, connection: HTTPConnection) -> str:
        """The address of whoever asks, behind proxies of ours too."""
        peer = _peer(connection)
        forwarded = ",".join(connection.headers.getlist("x-forwarded-for")) or None
        if forwarded and not self._told:
            self._told = True
            if not is_trusted(peer, self._trusted_proxies):
                log.warning(
                    "X-Forwarded-For came from an address that TRUSTED_PROXIES does not name, and did not count: if it is"
                    " your proxy, name it there, or all its visitors share one allowance"
                )
        return client_address(peer, forwarded, self._trusted_proxies)

    def secure(self, connection: HTTPConnection) -> bool:
        """Tell whether the browser speaks TLS."""
        forwarded = connection.headers.get("x-forwarded-proto")
        return is_secure(connection.url.scheme, _peer(connection), forwarded, self._trusted_proxies)

    def home_process(self, connection: HTTPConnection) -> HomeProcess | None:
        """This process among those that a proxy of ours balances over; None where there is no such proxy."""
        listed = connection.headers.get(HEADER)
        server = connection.scope.get("server")
        return home_process(listed, server, _peer(connection), self._trusted_proxies)

    def origin(self, connection: HTTPConnection) -> None:
        """Raises Forbidden for a page of another site, and for one under a name that is not this server's."""
        headers, secure = connection.headers, self.secure(connection)
        if self._origins.allows(headers.get("origin"), headers.get("host"), secure):
            return
        self._metrics.auth_failures.labels("origin").inc()
        if not self._origins.knows(headers.get("host")):
            raise Forbidden(
                "This server is not known by the name that the page was opened with. Add the name to ALLOWED_HOSTS."
            )
        raise Forbidden(
            "Pages of this origin may not use this server. Add the origin to ALLOWED_ORIGINS."
        )

    def verify(self, token: str, *, session_id: str | None = None) -> Claims:
        """Raises TokenRefused for a token that is not good, or not of this session."""
        try:
            return self._tokens.verify(token, session_id=session_id)
        except TokenRefused as error:
            self._metrics.auth_failures.labels(error.reason).inc()
            raise


def _peer(connection: HTTPConnection) -> str | None:
    return connection.client.host if connection.client is not None else None
