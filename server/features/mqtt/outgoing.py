"""Messages that wait for the broker: the newest of each topic, bounded. Pure; `now` is monotonic seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from server.core.metrics import Metrics

# Topics with a message that waits, and its bytes in all: 16 cameras of the house and eight of visitors with eight
# watches each need less.
MOST_MESSAGES = 1536
MOST_BYTES = 8 * 1024 * 1024
# A picture or an answer that has waited so long is no news any more.
STALE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message to the broker."""

    topic: str
    payload: bytes = field(repr=False)
    retain: bool = False
    # Dropped when it has waited too long
    news: bool = False


class Outgoing:
    """A queue. A newer message of a topic replaces the one that waits; of too many, the oldest goes.

    Bounds of messages that wait for the MQTT broker: the newest of each topic, 1,536 and 8 MiB;
    the oldest is dropped, and news after a minute. One on its way, 10 s at most.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Message, float]] = {}
        self.bytes = 0
        # On its way to the broker
        self._taken: tuple[Message, float] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message, now: float) -> list[str]:
        """Add a message; return a reason for each one that was dropped for it."""
        dropped = ["replaced"] if self._take(message.topic) is not None else []
        self._waiting[message.topic] = (message, now)
        self.bytes += len(message.payload)
        while len(self._waiting) > MOST_MESSAGES or self.bytes > MOST_BYTES:
            self._take(next(iter(self._waiting)))
            dropped.append("overflow")
        return dropped

    def stale(self, now: float) -> list[str]:
        """Drop the news that is too old; return a reason for each."""
        old = [
            topic
            for topic, (message, at) in self._waiting.items()
            if message.news and now - at > STALE_SECONDS
        ]
        for topic in old:
            self._take(topic)
        return ["stale"] * len(old)

    def next(self) -> Message | None:
        """Take out the one that has waited longest; None without any."""
        if not self._waiting:
            return None
        self._taken = next(iter(self._waiting.values()))
        return self._take(self._taken[0].topic)

    def again(self) -> list[str]:
        """Put back the last one that was taken out, unless a newer one waits; return the reason of a drop."""
        taken, self._taken = self._taken, None
        if taken is None:
            return []
        topic = taken[0].topic
        if topic in self._waiting:
            return ["replaced"]
        self._waiting = {topic: taken, **self._waiting}
        self.bytes += len(taken[0].payload)
        return []

    def keep_news(self) -> list[str]:
        """Drop states, which are sent anew with a connection; return a reason for each."""
        states = [topic for topic, (message, _) in self._waiting.items() if not message.news]
        for topic in states:
            self._take(topic)
        return ["replaced"] * len(states)

    def forget(self, root: str) -> list[str]:
        """Drop all whose topic begins with `root`, the one on its way too if it has to go again; return a
        reason for each.
        """
        if self._taken is not None and self._taken[0].topic.startswith(root):
            self._taken = None
        gone = [topic for topic in self._waiting if topic.startswith(root)]
        for topic in gone:
            self._take(topic)
        return ["ended"] * len(gone)

    def clear(self) -> list[str]:
        """Drop all; return a reason for each."""
        count = len(self._waiting)
        self._waiting.clear()
        self.bytes = 0
        return ["closed"] * count

    def _take(self, topic: str) -> Message | None:
        found = self._waiting.pop(topic, None)
        if found is None:
            return None
        self.bytes -= len(found[0].payload)
        return found[0]


# The rule of further connections to the broker, and its troubles. Pure.

# Seconds before the next attempt: doubled with each failure, up to the last.
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
# After a refusal that a person has to mend
MENDED_PAUSE, LAST_MENDED_PAUSE = 30.0, 300.0
# Of a pause, this share and more: clients of one broker do not come back all at once.
LEAST_SHARE = 0.5
# A connection that lived so long was a good one: the next pause is short again.
GOOD_SECONDS = 30.0


class Trouble(StrEnum):
    """The reason why there is no connection."""

    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    CREDENTIALS = "credentials"
    VERSION = "version"
    REFUSED = "refused"
    SILENT = "silent"
    ENDED = "ended"
    LARGE = "large"
    FLOOD = "flood"
    MALFORMED = "malformed"


NEEDS_PERSON = frozenset(
    {Trouble.CERTIFICATE, Trouble.CREDENTIALS, Trouble.VERSION, Trouble.REFUSED}
)
# Said to operators, who can mend it
SENTENCES = {
    Trouble.UNREACHABLE: "Nothing answers at its address. Check the host and port of MQTT_URL, and that the broker is on.",
    Trouble.CERTIFICATE: "Its certificate is not trusted. Set MQTT_CA to a PEM file with its authority.",
    Trouble.CREDENTIALS: "It refuses the user and password of MQTT_URL, or what they may do. Correct them, and start the server again.",
    Trouble.VERSION: "It does not speak MQTT 5. Take a newer broker.",
    Trouble.REFUSED: "It refuses the connection. Its own log says why.",
    Trouble.SILENT: "It is connected and does not answer in time.",
    Trouble.ENDED: "It has closed the connection.",
    Trouble.LARGE: "It sent a packet that is too large. Look at who may write to the topics of this server.",
    Trouble.FLOOD: "It sent too much. Look at who may write to the topics of this server.",
    Trouble.MALFORMED: "It sends something other than MQTT. Check the scheme and port of MQTT_URL.",
}
# Reason codes of a refused connection, as MQTT 5 has them
_REFUSALS = {
    **dict.fromkeys((134, 135, 138, 140), Trouble.CREDENTIALS),
    132: Trouble.VERSION,
    # Later it may take one.
    **dict.fromkeys((136, 137, 151, 156, 157, 159), Trouble.UNREACHABLE),
}


def refusal(code: int) -> Trouble:
    """Name the trouble of a refused connection by its reason code."""
    return _REFUSALS.get(code, Trouble.REFUSED)


def pause(failures: int, trouble: Trouble, chance: float) -> float:
    """Return the seconds until the next attempt.

    `failures`: attempts that failed before this one, in a row; `chance`: 0 to 1, random.
    """
    first, last = FIRST_PAUSE, LAST_PAUSE
    if trouble in NEEDS_PERSON:
        first, last = MENDED_PAUSE, LAST_MENDED_PAUSE
    whole = min(last, first * 2.0 ** min(failures, 16))
    return whole * (LEAST_SHARE + (1 - LEAST_SHARE) * chance)


class MqttMetrics:
    def __init__(self, metrics: Metrics) -> None:
        # reason: see `Trouble`
        self.failures = metrics.counter(
            "mqtt_failures_total", "Connections to the MQTT broker that failed or ended", "reason"
        )
        self.sent = metrics.counter("mqtt_sent_total", "Messages that the MQTT broker has taken")
        # reason: replaced, stale, overflow, closed of those to the broker; unknown, malformed, retained, rate, busy of
        # those from there; devices: of visitors' cameras that were refused
        self.dropped = metrics.counter(
            "mqtt_dropped_total", "Messages to and from the MQTT broker that were dropped", "reason"
        )
