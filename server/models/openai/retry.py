"""Decide whether a request that has no token yet is sent again, and when. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from server.core.errors import EngineError
from server.core.frames import Kind

# Repeats of a question, and of background work, which comes again by itself
_MOST = 2
_MOST_BACKGROUND = 1
ATTEMPTS = 1 + _MOST
# Seconds before the first and the second repeat at the same server. The second one comes after a
# router's next health check (scripts/start_router.sh: each second): a lone question whose stream broke
# at a server that died is sent there again until then.
_PAUSES = (0.1, 1.2)
# A longer Retry-After is passed on to the page: the picture would get too old.
LONGEST_WAIT = 3.0


class Reason(StrEnum):
    """The reason of a repeat; labels a metric."""

    # No connection
    REFUSED = "refused"
    # The connection or the stream broke.
    BROKEN = "broken"
    # A status from 500 on
    FAILED = "failed"
    # 429 or 503
    BUSY = "busy"
    LOADING = "loading"


class Fault(Exception):
    """A request failed before its first token, and another attempt may succeed.

    `error` makes the error for the caller after the last attempt, and notes what the failure shows
    about the server. `wait`: seconds that the server asks for.

    Outside the tree of errors: `asked` makes an EngineError of it.
    """

    def __init__(
        self, reason: Reason, error: Callable[[], EngineError], wait: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error
        self.wait = wait


class Retries:
    """The repeats of one request. None begins after `until`.

    Bounds of repeats of a request without a token: two of a question, one of background work;
    none after its time for the first token.
    """

    def __init__(self, kind: Kind, until: float) -> None:
        self._question = kind is Kind.CHAT
        self._left = _MOST if self._question else _MOST_BACKGROUND
        self._until = until
        self._made = 0

    @property
    def last(self) -> bool:
        """True when a refused request is not sent again."""
        return self._left == 0 or not self._question

    def pause(self, fault: Fault, *, others: bool, now: float) -> float | None:
        """Return the seconds until the next attempt; None when there is none.

        `others`: another server takes it.
        """
        pause = self._pause(fault, others)
        if pause is None or self._left == 0 or now + pause >= self._until:
            return None
        self._left -= 1
        self._made += 1
        return pause

    def _pause(self, fault: Fault, others: bool) -> float | None:
        if not self._question and fault.reason not in (Reason.REFUSED, Reason.BROKEN):
            return None
        if others:
            return 0.0
        match fault.reason:
            case Reason.LOADING:
                # It takes minutes.
                return None
            case Reason.BUSY if fault.wait is not None:
                return fault.wait if fault.wait <= LONGEST_WAIT else None
            case Reason.BROKEN if self._made == 0:
                # As a rule a kept connection that the server has closed meanwhile
                return 0.0
        return _PAUSES[min(self._made, len(_PAUSES) - 1)]
