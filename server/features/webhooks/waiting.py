"""The queue of alerts for a receiver, the abandoned alerts, and the schedule of retries. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from server.session.part import Alert

# Most alerts that wait for one receiver: in all, of one camera, and of all visitors
MOST_WAITING, MOST_OF_A_SOURCE, MOST_OF_VISITORS = 64, 16, 32
# Most abandoned alerts that are kept: in all, and of one camera
MOST_DEAD, MOST_DEAD_OF_A_SOURCE = 32, 8


@dataclass(slots=True)
class Delivery:
    """One alert on its way to one receiver."""

    # The same for every attempt: the value of `webhook-id`
    id: str
    webhook: str
    alert: Alert
    # Time of the next attempt, monotonic seconds
    due: float
    attempts: int = 0
    # Error and HTTP status of the last attempt; None and 0 before it
    trouble: DeliveryError | None = None
    status: int = 0
    # True once the person has withdrawn the consent: the alert must not be sent any more.
    ended: bool = False
    # Time at which the alert was abandoned, monotonic seconds
    since: float = 0.0

    @property
    def source(self) -> str:
        """The id of the session that the alert comes from; "" for a test."""
        return self.alert.source.id if self.alert.source is not None else ""

    @property
    def visitors(self) -> bool:
        """True for an alert of a visitor's camera."""
        return self.alert.source is not None and not self.alert.source.camera


class DeliveryQueue:
    """The alerts that wait for one receiver. The oldest one is dropped if there are too many."""

    def __init__(self) -> None:
        self._deliveries: list[Delivery] = []

    def __len__(self) -> int:
        return len(self._deliveries)

    def put(self, delivery: Delivery) -> Delivery | None:
        """Add an alert; return the alert that was dropped to make room for it, or None."""
        dropped = self._find_excess(delivery)
        if dropped is not None:
            self._deliveries.remove(dropped)
        self._deliveries.append(delivery)
        return dropped

    def _find_excess(self, delivery: Delivery) -> Delivery | None:
        """Return the alert to drop for this one, or None. A visitor's alert never displaces a fixed camera's."""
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

    def get_next(self) -> Delivery | None:
        """Return the alert with the earliest next attempt; None if there is none."""
        return min(self._deliveries, key=lambda one: one.due, default=None)

    def remove(self, delivery: Delivery) -> None:
        self._deliveries.remove(delivery)

    def end(self, source: str) -> int:
        """Drop the alerts of a session; return their number."""
        ended = [one for one in self._deliveries if one.source == source]
        for one in ended:
            self._deliveries.remove(one)
        return len(ended)

    def clear(self) -> list[Delivery]:
        """Remove and return all alerts."""
        taken, self._deliveries = self._deliveries, []
        return taken


@dataclass(slots=True)
class DeadLetters:
    """The abandoned alerts by their ids, until an operator sends them again.

    Bounds of alerts that were given up: 32, 8 of one camera; the oldest is dropped.
    """

    _letters: OrderedDict[str, Delivery] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._letters)

    def list_all(self) -> list[Delivery]:
        return list(self._letters.values())

    def put(self, letter: Delivery) -> int:
        """Keep an alert; return the number of alerts that were dropped to make room for it."""
        self._letters[letter.id] = letter
        same = [id for id, one in self._letters.items() if one.source == letter.source]
        dropped = same[:-MOST_DEAD_OF_A_SOURCE]
        for id in dropped:
            del self._letters[id]
        while len(self._letters) > MOST_DEAD:
            dropped.append(self._letters.popitem(last=False)[0])
        return len(dropped)

    def take(self, id: str) -> Delivery | None:
        """Remove and return an alert; None for an unknown id."""
        return self._letters.pop(id, None)

    def end(self, source: str, kept: Sequence[str] = ()) -> int:
        """Drop the alerts of a session, except those for the webhooks of `kept`; return their number."""
        ended = [
            id
            for id, one in self._letters.items()
            if one.source == source and one.webhook not in kept
        ]
        for id in ended:
            del self._letters[id]
        return len(ended)


# The schedule of retries: which statuses are errors, and how long to pause. Pure.

# Seconds before the second attempt, the third, and so on: seven attempts in half an hour
PAUSES = (2.0, 10.0, 60.0, 180.0, 600.0, 900.0)
# Retries of an alert that the receiver refuses: more are useless until a person corrects the settings
REFUSED_PAUSES = 2
# Statuses that count as refused, besides redirects; not 401, 403 and 404, which proxies send while a receiver restarts
REFUSED = frozenset({400, 405, 413, 415, 422})
# Least fraction of a pause; the rest is random, so that simultaneous alerts are not retried at the same time
LEAST_SHARE = 0.75
# Longest pause in seconds that a receiver may request
MOST_ASKED = 900.0


class DeliveryError(StrEnum):
    """Reason why an attempt failed."""

    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    TIMEOUT = "timeout"
    REDIRECT = "redirect"
    STATUS = "status"
    # The receiver has unsubscribed (410).
    GONE = "gone"
    MALFORMED = "malformed"


def classify_status(status: int) -> DeliveryError | None:
    """Return the error for an HTTP status; None for success. A redirect is an error, since it is not followed."""
    if 200 <= status < 300:
        return None
    if status == 410:
        return DeliveryError.GONE
    return DeliveryError.REDIRECT if 300 <= status < 400 else DeliveryError.STATUS


def pause(attempts: int, chance: float, asked: float = 0.0, status: int = 0) -> float | None:
    """Return the seconds until the next attempt; None after the last one.

    `attempts`: number of failed attempts; `chance`: random, 0 to 1; `asked`: seconds that the receiver requests;
    `status`: of its last response.
    """
    refused = status in REFUSED or 300 <= status < 400
    if attempts > (REFUSED_PAUSES if refused else len(PAUSES)):
        return None
    own = PAUSES[attempts - 1] * (LEAST_SHARE + (1 - LEAST_SHARE) * chance)
    return max(own, min(asked, MOST_ASKED))
