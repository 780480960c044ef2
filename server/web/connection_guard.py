"""Checks of requests and sockets: address, origin and token."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from starlette.requests import HTTPConnection

from server.auth import Claims, OriginPolicy, TokenIssuer, TokenRefused
from server.core.addresses import Network, client_address, is_secure, is_trusted
from server.core.errors import Forbidden
from server.core.metrics import Metrics

log = logging.getLogger(__name__)

# Refused origins and hosts are logged at most once in so many seconds: anybody can send them.
_LOG_SECONDS = 60.0


class ConnectionGuard:
    """Checks requests and sockets, and counts each refusal by its reason."""

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
        # True once the log has a line about an untrusted proxy
        self._proxy_logged = False
        # Monotonic seconds before which no refusal is logged
        self._silent_until = 0.0

    def address(self, connection: HTTPConnection) -> str:
        """Find the client's address, also behind trusted proxies."""
        peer = _peer(connection)
        forwarded = ",".join(connection.headers.getlist("x-forwarded-for")) or None
        if forwarded and not self._proxy_logged:
            self._proxy_logged = True
            if not is_trusted(peer, self._trusted_proxies):
                log.warning(
                    "X-Forwarded-For came from an address that TRUSTED_PROXIES does not name, and did not count: if it is"
                    " your proxy, name it there, or all its visitors share one allowance"
                )
        return client_address(peer, forwarded, self._trusted_proxies)

    def secure(self, connection: HTTPConnection) -> bool:
        """Find whether the browser speaks TLS."""
        forwarded = connection.headers.get("x-forwarded-proto")
        return is_secure(connection.url.scheme, _peer(connection), forwarded, self._trusted_proxies)

    def origin(self, connection: HTTPConnection) -> None:
        """Check the page's origin and the host name. Raises Forbidden for a foreign one."""
        origin, host = connection.headers.get("origin"), connection.headers.get("host")
        if self._origins.allows(origin, host, self.secure(connection)):
            return
        self._metrics.auth_failures.labels("origin").inc()
        known, now = self._origins.knows(host), time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _LOG_SECONDS
            setting = "ALLOWED_ORIGINS" if known else "ALLOWED_HOSTS"
            log.warning(
                "a request was refused for its host or its origin; where that is yours, add it to this setting",
                extra={"field": setting},
            )
        if known:
            raise Forbidden(
                "Pages of this origin may not use this server. Add the origin to ALLOWED_ORIGINS.",
                visitors="Pages of this origin may not use this server. Ask whoever runs it for its own page.",
            )
        raise Forbidden(
            "This server does not know the name under which it was asked. Add the name to ALLOWED_HOSTS.",
            visitors="This server does not answer under this name. Ask whoever runs it for its address.",
        )

    def verify(self, token: str, *, session_id: str | None = None) -> Claims:
        """Check a token, and its session if one is given. Raises TokenRefused."""
        try:
            return self._tokens.verify(token, session_id=session_id)
        except TokenRefused as error:
            self._metrics.auth_failures.labels(error.reason).inc()
            raise


def _peer(connection: HTTPConnection) -> str | None:
    return connection.client.host if connection.client is not None else None
