"""Checks that several routes share: address, rate, origin, token and code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from fastapi import Depends, Request

from server.access.limits import Guesses
from server.access.operator_guard import OperatorGuard
from server.access.replicas import GONE
from server.auth import (
    Claims,
    Issued,
    TokenRefused,
    bearer,
    check_access_code,
    same_secret,
)
from server.core.errors import Elsewhere, NotFound, RateLimited, Unauthorized
from server.web.connection_guard import ConnectionGuard
from server.web.way_in import Device

if TYPE_CHECKING:
    from server.web.context import Services


class RequestGuard(ConnectionGuard):
    """The checks that only routes need: rates and codes."""

    def __init__(self, services: Services) -> None:
        super().__init__(
            tokens=services.tokens,
            origins=services.origins,
            metrics=services.metrics,
            trusted_proxies=services.access.trusted_proxies,
        )
        self._services = services

    def issue(self, session_id: str, device: Device | None = None) -> Issued:
        """Issue a token for a new session. `device`: the one that has got in without a code."""
        services = self._services
        begins = services.sessions.revoked.begin(time.time())
        if device is not None:
            # It may have got in in the same second in which all others were forgotten.
            begins = max(begins, device.since)
        name = device.name if device is not None else ""
        return services.tokens.issue(session_id, auth_time=begins, device=name)

    def renew(self, request: Request) -> Issued:
        """Issue another token for the session of the request's token. Raises Unauthorized."""
        claims = self.claims(request)
        try:
            if self._services.sessions.ended(claims):
                raise TokenRefused("ended")
            return self._services.tokens.renew(claims)
        except TokenRefused as error:
            self._metrics.auth_failures.labels(error.reason).inc()
            raise

    async def home(self, request: Request) -> None:
        """Refuse a session of another process.

        Raises Elsewhere, or NotFound when that process does not run.
        """
        session_id = self.session_of(request)
        if session_id is not None:
            self.at_home(request, session_id)

    def at_home(self, request: Request, session_id: str) -> None:
        """Raises what `home` raises, for this session."""
        if self._services.sessions.replicas.is_home(session_id):
            return
        if request.query_params.get("session") == session_id:
            # The balancer knew the session's process and did not reach it.
            raise NotFound(GONE)
        kept = [(k, v) for k, v in request.query_params.items() if k in ("page", "attempt")]
        query = urlencode([("session", session_id), *kept])
        # A decoded path may have signs that no header can have.
        raise Elsewhere(f"{quote(request.url.path, safe='/%')}?{query}")

    async def limit(self, request: Request) -> None:
        """Count a request against the rate limits. Raises RateLimited."""
        services, now = self._services, time.monotonic()
        session_id = self.session_of(request)
        if session_id is None:
            wait = await services.limiter.anybody(self.address(request), now)
        else:
            # With an access code a token is not free, so its session counts as begun.
            begun = session_id in services.sessions or bool(services.access.access_code)
            address = self.address(request)
            wait = await services.limiter.session(session_id, address, now, begun=begun)
        if wait is not None:
            raise self._limited(wait)

    def session_of(self, request: Request) -> str | None:
        """Return the session of the request's valid token; None without one."""
        try:
            return self._services.tokens.verify(
                bearer(request.headers.get("authorization"))
            ).session_id
        except TokenRefused:
            return None

    def _limited(self, wait: float) -> RateLimited:
        self._metrics.auth_failures.labels("rate").inc()
        return RateLimited(
            "Too many tokens and offers from this address. Wait a moment and try again.",
            retry_after=max(1.0, wait),
        )

    async def access_code(self, request: Request, given: str | None, ask: str) -> None:
        """Check the access code, within the rate limits. `ask` goes to whoever has none.

        Raises Unauthorized, RateLimited.
        """
        await self.limit(request)
        right = check_access_code(given, self._services.access.access_code)
        if given is not None:
            await self.guess(self._services.guesses.codes, right, request)
        if right:
            return
        self._metrics.auth_failures.labels("bad_code").inc()
        if given is None:
            raise Unauthorized(ask)
        await self._services.limiter.wrong_code(self.address(request), time.monotonic())
        raise Unauthorized("This access code is not right. Ask whoever runs this server for it.")

    async def metrics_token(self, request: Request) -> None:
        """Check METRICS_TOKEN if it is set. Raises Unauthorized, RateLimited."""
        token, services = self._services.access.metrics_token, self._services
        if not token:
            return
        try:
            given: str | None = bearer(request.headers.get("authorization"))
        except TokenRefused:
            given = None
        right = same_secret(given, token)
        if given is not None:
            await self.guess(services.guesses.metrics, right, request)
        if not right:
            services.metrics.auth_failures.labels("metrics").inc()
            raise Unauthorized(
                "Metrics need the metrics token, sent as Authorization: Bearer <token>."
            )

    async def guess(self, guesses: Guesses, right: bool, request: Request) -> None:
        """Raise RateLimited when a check's result may not be revealed to this address now."""
        wait = await guesses.judge(right, self.address(request), time.monotonic())
        if wait is None:
            return
        self._metrics.auth_failures.labels("rate").inc()
        raise RateLimited(
            "Too many wrong codes were tried, here or elsewhere. Wait a moment and try again.",
            retry_after=max(1.0, wait),
        )

    def claims(self, request: Request) -> Claims:
        """Return the claims of the bearer token. Raises Unauthorized."""
        try:
            token = bearer(request.headers.get("authorization"))
        except TokenRefused as error:
            self._metrics.auth_failures.labels(error.reason).inc()
            raise
        return self.verify(token)


def for_operators(services: Services, operators: OperatorGuard) -> list[Any]:
    """Return the dependencies of operators' routes: the token, and an origin of this server's page."""
    guard = RequestGuard(services)

    async def operator(request: Request) -> None:
        try:
            given: str | None = bearer(request.headers.get("authorization"))
        except TokenRefused:
            given = None
        await operators.check(given, guard.address(request))
        request.state.operator = True

    return [Depends(guard.origin), Depends(operator)]
