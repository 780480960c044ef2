"""Who may use the operator's functions: whoever brings OPERATOR_TOKEN."""

from __future__ import annotations

import time

from server.auth import same_secret
from server.errors import NotFound, RateLimited, Unauthorized
from server.metrics import Metrics
from server.shared_limits import SharedLimiter

_OFF = (
    "This server has no operator functions: OPERATOR_TOKEN is empty. Whoever runs it can set it and start the server"
    " again."
)


class OperatorGuard:
    """`token` is OPERATOR_TOKEN; empty: nobody may. A refusal is counted."""

    def __init__(self, token: str, limiter: SharedLimiter, metrics: Metrics) -> None:
        self._token = token
        self._limiter = limiter
        self._metrics = metrics

    @property
    def on(self) -> bool:
        return bool(self._token)

    async def check(self, given: str | None, address: str) -> None:
        """`address` is whose allowance it counts against, as an access code does: a wrong one takes more, the right one
        nothing while there is any left.

        Raises NotFound when there is nothing to use, RateLimited before anything is compared, Unauthorized.
        """
        if not self._token:
            raise NotFound(_OFF)
        now = time.monotonic()
        wait = await self._limiter.anybody(address, now)
        if wait is not None:
            self._metrics.auth_failures.labels("rate").inc()
            raise RateLimited(
                "Too many requests from this address. Wait a moment and try again.",
                retry_after=max(1.0, wait),
            )
        if same_secret(given, self._token):
            # Looked at before and after, so that a guess costs what it costs and an operator nothing.
            await self._limiter.give_back(address, now)
            return
        self._metrics.auth_failures.labels("operator").inc()
        if given is None:
            raise Unauthorized(
                "This is for the operator: it needs OPERATOR_TOKEN, sent as Authorization: Bearer <token>."
            )
        await self._limiter.wrong_code(address, now)
        raise Unauthorized(
            "This operator token is not right. It is OPERATOR_TOKEN in the server's .env file."
        )
