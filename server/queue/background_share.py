"""The share of an engine that background work may have: it halves when questions slow down, and
grows back. Pure.

Additive increase and multiplicative decrease, as of TCP's congestion control (RFC 5681): the server
that is shared tells nobody how busy it is, but the time to a question's first token does, also when
others cause it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

# A first token that takes so many times as long as usual is slow.
SLOW = 1.3
LEAST, MOST = 1 / 32, 1.0
# Gained with each question that is not slow. Against a halving with each slow one, a share of a
# tenth stays where one question in twenty is slow.
_GAIN = 1 / 400
# Gained each second, when nobody has asked for so many seconds
_IDLE_GAIN = 1 / 16
_IDLE_SECONDS = 10.0
# Least seconds between two decreases: all questions that a full engine held up are one reason.
_DECREASE_SECONDS = 1.0
# The usual time falls to a quicker one at once, and follows slower ones by this share.
_FORGET = 0.005
# Kinds of questions (by detail and reuse) that are compared each with their own; beyond, the oldest
# is dropped.
_MOST_KINDS = 16


class BackgroundShare:
    """One engine's share for background work, between 1/32 and 1.

    `now` is in seconds of any steady clock.
    """

    def __init__(self) -> None:
        self._share = MOST
        self._asked_at = self._halved_at = -math.inf
        # When background work may begin again; with less than one slot it pauses between two jobs.
        self._rests_until = -math.inf
        self._usual: dict[Hashable, float] = {}

    def share(self, now: float) -> float:
        idle = max(0.0, now - self._asked_at - _IDLE_SECONDS)
        return min(MOST, self._share + _IDLE_GAIN * idle)

    def answered(self, kind: Hashable, seconds: float, now: float) -> None:
        """Note a question's time to its first token.

        `kind`: those that should take about as long.
        """
        usual = self._usual.pop(kind, seconds)
        slow = seconds > SLOW * usual
        self._usual[kind] = min(seconds, usual + _FORGET * (seconds - usual))
        if len(self._usual) > _MOST_KINDS:
            del self._usual[next(iter(self._usual))]
        self._share, self._asked_at = self.share(now), now
        if not slow:
            self._share = min(MOST, self._share + _GAIN)
        elif now - self._halved_at >= _DECREASE_SECONDS:
            self._share, self._halved_at = max(LEAST, self._share / 2), now

    def wait(self, running: int, slots: int, now: float) -> float:
        """Return the seconds until another background job may begin, beside those that run; 0 for
        now.

        Infinity: not before one of them ends.
        """
        room = self.share(now) * slots
        if running and running + 1 > room:
            return math.inf
        return max(0.0, self._rests_until - now)

    def ended(self, seconds: float, slots: int, now: float) -> None:
        """Note the end of a background job.

        With room for less than one it is followed by a rest of its length and more.
        """
        room = self.share(now) * slots
        if room < 1:
            self._rests_until = now + seconds * (1 / room - 1)
