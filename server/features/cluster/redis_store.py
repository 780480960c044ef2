"""Redis shared by several processes. A request waits at most ANSWER_SECONDS for it.

Lua scripts make counting and deciding atomic. Without an answer in time the caller uses its own limits,
and no more scripts are sent until Redis accepts a write again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from server.core.aio import supervise
from server.features.cluster.shared_limits import Store

log = logging.getLogger(__name__)
# Maximum wait of a request for Redis, including connecting, seconds; a local one answers within 1 ms.
ANSWER_SECONDS = 0.1
# Intervals of probes while it does not answer, and while it does, seconds
TRY_SECONDS, PROBE_SECONDS = 1.0, 5.0
MAX_CONNECTIONS = 8
PREFIX = "qwen-camera"
NOT_ASKED = "not asked yet"


class RedisStore(Store):
    """Store in Redis, with keys used only by this installation.

    `secret`: common to all processes of one installation.

    Bounds of rate limits and sessions of several processes: every key expires; without an answer
    within 0.1 s each process has its own.
    """

    def __init__(
        self, url: str, secret: str, *, on_failure: Callable[[], object] = lambda: None
    ) -> None:
        """`on_failure`: called after each script or probe without an answer.

        Raises ValueError for a bad URL.
        """
        self._key = hmac.new(secret.encode(), b"names in redis", hashlib.sha256).digest()
        self._prefix = f"{PREFIX}:{self._hash('installation', '')[:12]}"
        self._on_failure = on_failure
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
            # RESP2 without client names: fewer round trips per connection.
            protocol=2,
            driver_info=None,
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._scripts: dict[str, AsyncScript] = {}
        # False before the first successful write
        self.is_available = False
        # Class name of the error while it does not answer; empty while it does
        self._reason = NOT_ASKED
        self._failed = asyncio.Event()

    def name(self, kind: str, text: str = "") -> str:
        """Return a key. `text`, such as an address, is included only as a keyed hash."""
        return (
            f"{self._prefix}:{kind}:{self._hash(kind, text)}" if text else f"{self._prefix}:{kind}"
        )

    def make_member(self, text: str) -> str:
        return self._hash("member", text)

    def _hash(self, kind: str, text: str) -> str:
        said = f"{kind}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()[:32]

    async def run(self, script: str, keys: Sequence[str], *args: str | int | float) -> Any:
        """Run a script and return its result.

        None without an answer in time, or while Redis is known to be down.
        """
        if not self.is_available:
            return None
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = self._redis.register_script(script)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await known(keys=list(keys), args=list(args))
        except (RedisError, OSError, TimeoutError) as exc:
            self._on_no_answer(exc)
            return None

    def _on_no_answer(self, exc: Exception) -> None:
        self._on_failure()
        news = self.is_available or self._reason == NOT_ASKED
        self._reason = type(exc).__name__
        self.is_available = False
        self._failed.set()
        if news:
            # The exception's text may contain the URL with a password.
            log.warning("redis unavailable", extra={"error": self._reason})

    async def probe(self) -> None:
        """Test whether Redis accepts a write, and update `is_available`."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._redis.set(self.name("probe"), "1", px=60_000)
        except (RedisError, OSError, TimeoutError) as exc:
            self._on_no_answer(exc)
            return
        if not self.is_available:
            self.is_available, self._reason = True, ""
            log.info("redis available")

    async def watch(self, on_answers: Callable[[], Any]) -> None:
        """Probe until cancelled; await `on_answers()` after each successful probe."""
        await supervise(
            partial(self._probe_round, on_answers), name="redis", after_failure=TRY_SECONDS
        )

    async def _probe_round(self, on_answers: Callable[[], Any]) -> float:
        """Probe, and return the seconds until the next probe: fewer while Redis does not answer."""
        await self.probe()
        if self.is_available:
            self._failed.clear()
            await on_answers()
        try:
            if self.is_available:
                async with asyncio.timeout(PROBE_SECONDS):
                    await self._failed.wait()
        except TimeoutError:
            return 0.0
        return TRY_SECONDS

    def report(self) -> dict[str, str | bool]:
        if self.is_available:
            return {"shared": True, "reason": ""}
        return {
            "shared": False,
            "reason": f"Redis does not answer ({self._reason}): until it does, limits hold for each process alone",
        }

    async def close(self) -> None:
        await self._redis.aclose()
