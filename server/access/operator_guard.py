"""Check OPERATOR_TOKEN for operators' functions."""

from __future__ import annotations

import logging
import time

from server.access.limits import AccessLimiter, Guesses
from server.auth import same_secret
from server.core.errors import NotFound, RateLimited, Unauthorized
from server.core.metrics import Metrics

log = logging.getLogger(__name__)

_OFF = "The operator functions are off: OPERATOR_TOKEN is empty. Set it and start the server again."


class OperatorGuard:
    """`token`: OPERATOR_TOKEN; empty: no access. Refusals are counted."""

    def __init__(
        self, token: str, limiter: AccessLimiter, guesses: Guesses, metrics: Metrics
    ) -> None:
        self._token = token
        self._limiter = limiter
        self._metrics = metrics
        self._guesses = guesses
        # True once the log has the reason why the functions are off.
        self._logged = False

    @property
    def on(self) -> bool:
        return bool(self._token)

    async def check(self, given: str | None, address: str, *, also: str = "") -> None:
        """Accept the operator token, and the token `also` if given; guesses at both share their
        limits.

        It counts against the rate limit of `address` like an access code: a wrong one costs more,
        the right one nothing while requests are left.

        Raises NotFound when no token is set, RateLimited before comparing, Unauthorized.
        """
        if not self._token and not also:
            if not self._logged:
                self._logged = True
                log.warning(
                    "the operator functions are off: OPERATOR_TOKEN is empty. Set it and start the server again"
                )
            raise NotFound(
                _OFF,
                visitors="This server has no operator functions. Its log says how to turn them on.",
            )
        now = time.monotonic()
        # Compare both, so that the time does not reveal which one matched.
        right = same_secret(given, self._token) | same_secret(given, also)
        # Charged before and given back after, so that a guess has its cost, and an operator none.
        wait = await self._limiter.anybody(address, now)
        if wait is None and given is not None:
            wait = await self._guesses.judge(right, address, now)
        if wait is not None:
            self._metrics.auth_failures.labels("rate").inc()
            raise RateLimited(
                "Too many requests or wrong operator tokens. Wait a moment and try again.",
                retry_after=max(1.0, wait),
            )
        if right:
            await self._limiter.give_back(address, now)
            return
        self._metrics.auth_failures.labels("operator").inc()
        if given is None:
            raise Unauthorized(
                "This is for the operator: it needs the operator token, sent as Authorization: Bearer <token>."
            )
        await self._limiter.wrong_code(address, now)
        raise Unauthorized(
            "This operator token is wrong. The right one is in the server's settings."
        )
