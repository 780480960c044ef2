"""Access to all of /health: with METRICS_TOKEN or OPERATOR_TOKEN, or when neither is set from this
machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request

from server.access.operator_guard import OperatorGuard
from server.auth import TokenRefused, bearer
from server.core.addresses import parse_address
from server.core.errors import Unauthorized
from server.web.request_guard import RequestGuard

if TYPE_CHECKING:
    from server.web.context import Services

# Headers that proxies add: such a request may come from anywhere.
_FROM_PROXIES = (
    *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
    *("cf-connecting-ip", "true-client-ip", "x-client-ip"),
)


class HealthGuard:
    def __init__(self, services: Services, operators: OperatorGuard) -> None:
        self._token = services.access.metrics_token
        self._operators = operators
        self._guard = RequestGuard(services)

    async def sees_all(self, request: Request) -> bool:
        """Decide whether a request gets all of /health. Raises Unauthorized, RateLimited."""
        if not (self._token or self._operators.on):
            return _from_this_machine(request)
        header = request.headers.get("authorization")
        if header is None:
            return False
        try:
            given: str | None = bearer(header)
        except TokenRefused:
            given = None
        try:
            await self._operators.check(given, self._guard.address(request), also=self._token)
        except Unauthorized:
            raise Unauthorized(
                "All of /health needs the metrics token or the operator token, sent as Authorization: Bearer <token>."
            ) from None
        return True


def _from_this_machine(request: Request) -> bool:
    """Find whether peer and host name are loopback, and no header names a proxy."""
    peer = parse_address(request.client.host if request.client is not None else None)
    if peer is None or not peer.is_loopback:
        return False
    if any(name in request.headers for name in _FROM_PROXIES):
        return False
    # A tunnel, or a page whose name an attacker points here, uses another name.
    name = request.url.hostname or ""
    address = parse_address(name)
    return name == "localhost" or (address is not None and address.is_loopback)
