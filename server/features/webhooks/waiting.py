"""Alerts that wait for a receiver, and those that were given up; both bounded. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from server.session.part import Alert

# Alerts that wait for one receiver; of one camera among them, and of all visitors
MOST_WAITING, MOST_OF_A_SOURCE, MOST_OF_VISITORS = 64, 16, 32
# Alerts of all receivers that were given up, and those of one camera among them
MOST_DEAD, MOST_DEAD_OF_A_SOURCE = 32, 8


@dataclass(slots=True)
class Delivery:
    # The same for every attempt: the value of `webhook-id`
    id: str
    webhook: str
    alert: Alert
    # The next attempt, monotonic seconds
    due: float
    attempts: int = 0
    # Of the last attempt
    trouble: DeliveryError | None = None
    status: int = 0
    # Its camera's person has ended it: nothing more of it may leave.
    ended: bool = False
    # When it was given up, monotonic seconds
    since: float = 0.0

    @property
    def source(self) -> str:
        return self.alert.source.id if self.alert.source is not None else ""

    @property
    def visitors(self) -> bool:
        """True for an alert of a visitor's camera."""
        return self.alert.source is not None and not self.alert.source.camera


class DeliveryQueue:
    """The alerts of one receiver. When there are too many, the oldest is dropped."""

    def __init__(self) -> None:
        self._deliveries: list[Delivery] = []

    def __len__(self) -> int:
        return len(self._deliveries)

    def put(self, delivery: Delivery) -> Delivery | None:
        """Add an alert; return the one that was dropped for it."""
        dropped = self._too_many(delivery)
        if dropped is not None:
            self._deliveries.remove(dropped)
        self._deliveries.append(delivery)
        return dropped

    def _too_many(self, delivery: Delivery) -> Delivery | None:
        """Return the one to drop: visitors' alerts push out none of the house's."""
        waiting = self._deliveries
        same = [one for one in waiting if one.source == delivery.source]
        if len(same) >= MOST_OF_A_SOURCE:
            return same[0]
        if delivery.visitors:
            theirs = [one for one in waiting if one.visitors]
            if len(theirs) >= MOST_OF_VISITORS:
                return theirs[0]
        if len(waiting) < MOST_WAITING:
            return None
        most = Counter(one.source for one in waiting).most_common(1)[0][0]
        return next(one for one in waiting if one.source == most)

    def next(self) -> Delivery | None:
        """Return the one whose attempt comes first; None without any."""
        return min(self._deliveries, key=lambda one: one.due, default=None)

    def remove(self, delivery: Delivery) -> None:
        self._deliveries.remove(delivery)

    def end(self, source: str) -> int:
        ended = [one for one in self._deliveries if one.source == source]
        for one in ended:
            self._deliveries.remove(one)
        return len(ended)

    def clear(self) -> list[Delivery]:
        taken, self._deliveries = self._deliveries, []
        return taken


@dataclass(slots=True)
class DeadLetters:
    """The alerts that were given up, by their ids. The oldest is dropped.

    Bounds of alarms that were given up: 32, 8 of one camera; the oldest is dropped. An operator
    sends them again.
    """

    _letters: OrderedDict[str, Delivery] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._letters)

    def all(self) -> list[Delivery]:
        return list(self._letters.values())

    def put(self, letter: Delivery) -> int:
        """Keep one; return the number of those that were dropped for it."""
        self._letters[letter.id] = letter
        same = [id for id, one in self._letters.items() if one.source == letter.source]
        dropped = same[:-MOST_DEAD_OF_A_SOURCE]
        for id in dropped:
            del self._letters[id]
        while len(self._letters) > MOST_DEAD:
            dropped.append(self._letters.popitem(last=False)[0])
        return len(dropped)

    def take(self, id: str) -> Delivery | None:
        return self._letters.pop(id, None)

    def end(self, source: str, kept: Sequence[str] = ()) -> int:
        ended = [
            id
            for id, one in self._letters.items()
            if one.source == source and one.webhook not in kept
        ]
        for id in ended:
            del self._letters[id]
        return len(ended)


# The rule of further attempts: what an answer means, and how long to pause. Pure.

# Seconds before the second attempt, the third, and so on: seven attempts within half an hour
PAUSES = (2.0, 10.0, 60.0, 180.0, 600.0, 900.0)
# Pauses of an alert that the receiver refuses, which a person has to mend: the next attempt finds the same
REFUSED_PAUSES = 2
# Statuses of such an alert beside redirects; a proxy answers 401, 403 and 404 while its receiver starts again.
REFUSED = frozenset({400, 405, 413, 415, 422})
# Of a pause, this share and more: alerts of one moment do not come back all at once.
LEAST_SHARE = 0.75
# A receiver may ask for a longer pause, up to this.
MOST_ASKED = 900.0


class DeliveryError(StrEnum):
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    TIMEOUT = "timeout"
    REDIRECT = "redirect"
    STATUS = "status"
    # The receiver wants nothing from here any more.
    GONE = "gone"
    MALFORMED = "malformed"


def error_for(status: int) -> DeliveryError | None:
    """Name the trouble of an answer's status; None: it was taken. A redirect is not followed: it is no success."""
    if 200 <= status < 300:
        return None
    if status == 410:
        return DeliveryError.GONE
    return DeliveryError.REDIRECT if 300 <= status < 400 else DeliveryError.STATUS


def pause(attempts: int, chance: float, asked: float = 0.0, status: int = 0) -> float | None:
    """Return the seconds until the next attempt; None after the last one.

    `attempts`: those that have failed; `chance`: 0 to 1, random; `asked`: by the receiver; `status`: of its last
    answer.
    """
    refused = status in REFUSED or 300 <= status < 400
    if attempts > (REFUSED_PAUSES if refused else len(PAUSES)):
        return None
    own = PAUSES[attempts - 1] * (LEAST_SHARE + (1 - LEAST_SHARE) * chance)
    return max(own, min(asked, MOST_ASKED))
