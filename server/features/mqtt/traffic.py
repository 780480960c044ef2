"""Messages to and from the broker: a queue of those that wait, the pauses between attempts, and a judge of those
that come, which may be anybody's. Pure; `now` is in monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum

from server.core.aio import Bucket, take_all
from server.features.mqtt.discovery import ONLINE, PRESS, Topics

# Topics with a message that waits, and its bytes in all: 16 cameras of the house and eight of visitors with eight
# watches each need less.
MOST_MESSAGES = 1536
MOST_BYTES = 8 * 1024 * 1024
# A picture or an answer that has waited so long is no news any more.
STALE_SECONDS = 60.0
# Bytes of a payload that every broker takes
LEAST_LIMIT = 4096


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
    the oldest is dropped, and news after a minute. One on its way, 10 s at most. A message above
    the broker's limit is sent empty.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Message, float]] = {}
        self.bytes = 0
        # On its way to the broker
        self._taken: tuple[Message, float] | None = None
        # The topic of the message at which the last connection ended
        self._ended_at = ""

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
        return self._drop("stale", lambda one, at: one.news and now - at > STALE_SECONDS)

    def next(self) -> Message | None:
        """Take out the one that has waited longest; None without any."""
        if not self._waiting:
            return None
        self._taken = next(iter(self._waiting.values()))
        return self._take(self._taken[0].topic)

    def sent(self) -> None:
        """Note that the broker has the last one that was taken out."""
        self._taken, self._ended_at = None, ""

    def again(self) -> list[str]:
        """Put back the one that was on its way, unless a newer one waits; return the reason of a drop.

        A large one at which two connections have ended is put back empty.
        """
        taken, self._taken = self._taken, None
        if taken is None:
            return []
        message, at = taken
        before, self._ended_at = self._ended_at, message.topic
        if message.topic in self._waiting:
            return ["replaced"]
        large = before == message.topic and len(message.payload) > LEAST_LIMIT
        if large:
            message = replace(message, payload=b"")
        self._waiting = {message.topic: (message, at), **self._waiting}
        self.bytes += len(message.payload)
        return ["too_large"] if large else []

    def keep_news(self) -> list[str]:
        """Drop states, which are sent anew with a connection; return a reason for each."""
        return self._drop("replaced", lambda one, _: not one.news)

    def forget(self, root: str) -> list[str]:
        """Drop all whose topic begins with `root`, the one on its way too if it has to go again; return a
        reason for each.
        """
        if self._taken is not None and self._taken[0].topic.startswith(root):
            self._taken = None
        return self._drop("ended", lambda one, _: one.topic.startswith(root))

    def clear(self) -> list[str]:
        """Drop all; return a reason for each."""
        return self._drop("closed", lambda _, __: True)

    def _drop(self, reason: str, which: Callable[[Message, float], bool]) -> list[str]:
        gone = [topic for topic, (message, at) in self._waiting.items() if which(message, at)]
        for topic in gone:
            self._take(topic)
        return [reason] * len(gone)

    def _take(self, topic: str) -> Message | None:
        found = self._waiting.pop(topic, None)
        if found is None:
            return None
        self.bytes -= len(found[0].payload)
        return found[0]


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


# Bytes of a packet; a longer one ends the connection before it is read. Retained entities have 1 to 2 KiB.
MOST_PACKET = 64 * 1024
# Looks that are ordered: a minute, and at once, of one camera and of all
LOOKS_A_MINUTE, LOOKS_AT_ONCE = 6, 2
ALL_LOOKS_A_MINUTE, ALL_AT_ONCE = 24, 8
# Times that all states are sent again because Home Assistant began: a minute, and at once
BIRTHS_A_MINUTE, BIRTHS_AT_ONCE = 2, 3


class Kind(StrEnum):
    """The meaning of a message."""

    PRESS = "press"
    BIRTH = "birth"
    # Retained by an earlier run, of a camera that is not there any more
    LEFTOVER = "leftover"
    # Nothing to do, and nothing wrong
    NOTHING = "nothing"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Heard:
    kind: Kind
    # The camera of a press, the topic of a leftover, the reason of a drop
    detail: str = ""


NOTHING = Heard(Kind.NOTHING)


class Incoming:
    """Judges messages. `kept`: the retained topics of the present cameras, whose owner may change them."""

    def __init__(
        self, topics: Topics, cameras: Collection[str], kept: set[str], now: float
    ) -> None:
        self._topics = topics
        self.kept = kept
        self._looks: dict[str, str] = {}
        self._of: dict[str, Bucket] = {}
        for name in cameras:
            self.join(name, now)
        self._all = Bucket(ALL_LOOKS_A_MINUTE / 60, ALL_AT_ONCE, now)
        self._births = Bucket(BIRTHS_A_MINUTE / 60, BIRTHS_AT_ONCE, now)

    def join(self, camera: str, now: float) -> None:
        """Let looks of a camera be ordered from now on; one that comes back keeps what it has used up."""
        self._looks[self._topics.look(camera)] = camera
        self._of.setdefault(camera, Bucket(LOOKS_A_MINUTE / 60, LOOKS_AT_ONCE, now))

    def leave(self, camera: str) -> None:
        """Let no more looks of a camera be ordered."""
        self._looks.pop(self._topics.look(camera), None)

    def forget(self, camera: str) -> None:
        """Forget a camera that has left, and does not come back."""
        self._of.pop(camera, None)

    def judge(self, topic: str, payload: bytes, retained: bool, now: float) -> Heard:
        """Say what a message means."""
        if topic in self._looks:
            return self._press(self._looks[topic], payload, retained, now)
        if topic in self._topics.births:
            if retained or payload != ONLINE:
                return NOTHING
            return Heard(Kind.BIRTH) if self._births.take(now) else Heard(Kind.DROPPED, "rate")
        if not self._is_leftover(topic):
            return Heard(Kind.DROPPED, "unknown")
        if not retained or not payload or topic in self.kept:
            return NOTHING
        return Heard(Kind.LEFTOVER, topic)

    def _press(self, camera: str, payload: bytes, retained: bool, now: float) -> Heard:
        if retained:
            # It would look again with each connection.
            return Heard(Kind.DROPPED, "retained")
        if payload != PRESS:
            return Heard(Kind.DROPPED, "malformed")
        if not take_all((self._of[camera], self._all), now):
            return Heard(Kind.DROPPED, "rate")
        return Heard(Kind.PRESS, camera)

    def _is_leftover(self, topic: str) -> bool:
        parts = topic.split("/")
        return any(
            len(parts) == len(wanted := form.split("/"))
            and all(one in ("+", part) and part for one, part in zip(wanted, parts, strict=True))
            for form in self._topics.leftovers
        )
