"""The number of answers that this process may have at a model server which others use too. Pure.

The server tells nobody who else asks it. But a question's first token comes late when more requests
are there than it works on at a time, and a full one refuses. The number halves then and grows back,
so that processes which know nothing of each other come to equal shares, and one alone to all.
"""

from __future__ import annotations

from collections.abc import Hashable

from server.models.scheduler.background_share import Aimd, UsualTimes

# A first token that takes so many times as long as the quick ones of its kind is slow: a wait for
# another answer's end takes longer than that. Less is the batch, which a server fills on purpose.
SLOW = 3.0
# The quick ones, so that a server which is always overloaded does not become usual
_QUICK = 0.1
# Most of the newest answers are slow: three in a row, or so.
_WEIGHT = 0.25
_MOSTLY = 0.5
# Gained each second while nobody asks
_IDLE_GAIN = 0.5
# Answers at a time of a process that has a model server for itself, where no setting says it: as many as one large GPU
# computes together
MOST = 64
# Seconds in which refusals have one reason
_REFUSED_SECONDS = 1.0


class EngineShare:
    """A share from 1 to `most` answers. `now` is in seconds of any steady clock.

    Bounds of answers that this process may have at a shared engine: 1 to
    MAX_CONCURRENT_INFERENCES: halved when most first tokens take three times as long as the quick
    ones, or when the engine refuses, and growing back.
    """

    def __init__(self, most: int) -> None:
        self._aimd = Aimd(1.0, float(most), idle_gain=_IDLE_GAIN)
        self._usual = UsualTimes(_QUICK)
        # The share of slow ones among the newest answers, and the session of the last slow one
        self._slow = 0.0
        self._slow_by: Hashable = None

    def slots(self, now: float) -> int:
        return int(self._aimd.value(now))

    def answered(
        self,
        kind: Hashable,
        seconds: float,
        *,
        before: int,
        asked_at: float,
        now: float,
        session: Hashable = None,
    ) -> None:
        """Note a question's time to its first token.

        `kind`: those that should take about as long. `before`: our own requests without a first
        token when it was asked. It may have waited for their prompts, but not for longer than these
        take one after the other; and times are compared with those behind about as many.
        `session`: its asker; None for one who is not known. Slow ones of the same session in a row
        count once: nobody alone takes slots from all.
        """
        ratio = self._usual.ratio((kind, before.bit_length()), seconds)
        quick = self._usual.of((kind, 0))
        if asked_at <= self._aimd.halved_at:
            # It was on its way before, so it shows nothing of the share since.
            return
        slow = ratio > SLOW or (quick is not None and seconds > (SLOW + before) * quick)
        if slow and session is not None and session == self._slow_by:
            return
        self._slow_by = session if slow else self._slow_by
        self._slow += _WEIGHT * (slow - self._slow)
        if not slow:
            self._aimd.grow(1 / self._aimd.value(now), now)
        elif self._slow > _MOSTLY:
            self._slow = 0.0
            self._aimd.halve(now, pause=0.0)

    def refused(self, now: float) -> None:
        """Note that the server refused a request since it has enough to do."""
        self._aimd.halve(now, pause=_REFUSED_SECONDS)
