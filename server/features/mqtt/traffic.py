"""Messages to and from the broker: the outgoing queue, pauses between attempts, and classification of received
messages, which are untrusted. Pure; `now` is in monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum

from server.core.aio import Bucket, take_all
from server.features.mqtt.discovery import ONLINE, PRESS, Topics

# Maximum queued topics, and their bytes in all: 16 fixed cameras and eight visitors' with eight watches each
# need less.
MOST_MESSAGES = 1536
MOST_BYTES = 8 * 1024 * 1024
# Queued pictures and answers are dropped after this time.
STALE_SECONDS = 60.0
# Bytes of a payload that every broker accepts
LEAST_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class MqttMessage:
    """Message to the broker."""

    topic: str
    payload: bytes = field(repr=False)
    retain: bool = False
    # True: dropped after `STALE_SECONDS` in the queue
    news: bool = False


class Outgoing:
    """Queue with the newest message of each topic.

    Bounds of messages that wait for the MQTT broker: the newest of each topic, 1,536 and 8 MiB;
    the oldest is dropped, and news after a minute. One in transit, at most 10 s. A message above the
    broker's limit is sent empty.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[MqttMessage, float]] = {}
        self.bytes = 0
        # In transit to the broker
        self._taken: tuple[MqttMessage, float] | None = None
        # Topic of the message in transit when the last connection ended
        self._ended_at = ""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: MqttMessage, now: float) -> list[str]:
        """Add a message. Return a reason for each dropped one."""
        dropped = ["replaced"] if self._take(message.topic) is not None else []
        self._waiting[message.topic] = (message, now)
        self.bytes += len(message.payload)
        while len(self._waiting) > MOST_MESSAGES or self.bytes > MOST_BYTES:
            self._take(next(iter(self._waiting)))
            dropped.append("overflow")
        return dropped

    def drop_stale(self, now: float) -> list[str]:
        """Drop stale news. Return a reason for each."""
        return self._drop("stale", lambda one, at: one.news and now - at > STALE_SECONDS)

    def take_next(self) -> MqttMessage | None:
        """Take the oldest message; None if there is none."""
        if not self._waiting:
            return None
        self._taken = next(iter(self._waiting.values()))
        return self._take(self._taken[0].topic)

    def mark_sent(self) -> None:
        """Mark the message in transit as received by the broker."""
        self._taken, self._ended_at = None, ""

    def requeue(self) -> list[str]:
        """Requeue the message in transit, unless a newer one is queued. Return the reason of a drop.

        A large one is emptied if two connections in a row ended with it.
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
        """Drop states, which are sent again after connecting. Return a reason for each."""
        return self._drop("replaced", lambda one, _: not one.news)

    def forget(self, root: str) -> list[str]:
        """Drop all messages whose topic begins with `root`, and do not requeue one in transit. Return a
        reason for each.
        """
        if self._taken is not None and self._taken[0].topic.startswith(root):
            self._taken = None
        return self._drop("ended", lambda one, _: one.topic.startswith(root))

    def clear(self) -> list[str]:
        """Drop all messages. Return a reason for each."""
        return self._drop("closed", lambda _, __: True)

    def _drop(self, reason: str, which: Callable[[MqttMessage, float], bool]) -> list[str]:
        gone = [topic for topic, (message, at) in self._waiting.items() if which(message, at)]
        for topic in gone:
            self._take(topic)
        return [reason] * len(gone)

    def _take(self, topic: str) -> MqttMessage | None:
        found = self._waiting.pop(topic, None)
        if found is None:
            return None
        self.bytes -= len(found[0].payload)
        return found[0]


# Seconds before the next attempt: doubled with each failure, up to the maximum
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
# The same after an error that a person must fix
MENDED_PAUSE, LAST_MENDED_PAUSE = 30.0, 300.0
# Random jitter, from this fraction of a pause: clients of one broker must not reconnect at the same time.
LEAST_SHARE = 0.5
# Length of a connection after which the next pause is short again
GOOD_SECONDS = 30.0


class BrokerFailure(StrEnum):
    """Reason why there is no connection to the broker."""

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
    {
        BrokerFailure.CERTIFICATE,
        BrokerFailure.CREDENTIALS,
        BrokerFailure.VERSION,
        BrokerFailure.REFUSED,
    }
)
# Explanations for operators
SENTENCES = {
    BrokerFailure.UNREACHABLE: "No response from its address. Check the host and port of MQTT_URL, and that the broker is running.",
    BrokerFailure.CERTIFICATE: "Its certificate is not trusted. Set MQTT_CA to a PEM file with its certificate authority.",
    BrokerFailure.CREDENTIALS: "It refuses the user and password of MQTT_URL, or their permissions. Correct them, and restart the server.",
    BrokerFailure.VERSION: "It does not support MQTT 5. Use a newer broker.",
    BrokerFailure.REFUSED: "It refuses the connection. See the broker's log for the reason.",
    BrokerFailure.SILENT: "It is connected but does not respond in time.",
    BrokerFailure.ENDED: "It closed the connection.",
    BrokerFailure.LARGE: "It sent a packet that is too large. Check who may write to the topics of this server.",
    BrokerFailure.MALFORMED: "It sends something other than MQTT. Check the scheme and port of MQTT_URL.",
}
# Reason codes of a refused connection in MQTT 5
_REFUSALS = {
    **dict.fromkeys((134, 135, 138, 140), BrokerFailure.CREDENTIALS),
    132: BrokerFailure.VERSION,
    # Temporary: the broker may accept a later attempt.
    **dict.fromkeys((136, 137, 151, 156, 157, 159), BrokerFailure.UNREACHABLE),
}


def get_refusal_reason(code: int) -> BrokerFailure:
    """Return the reason for a refused connection. `code`: MQTT 5's reason code."""
    return _REFUSALS.get(code, BrokerFailure.REFUSED)


def pause(failures: int, trouble: BrokerFailure, chance: float) -> float:
    """Return the seconds until the next attempt.

    `failures`: consecutive failed attempts before this one; `chance`: random, 0 to 1.
    """
    first, last = FIRST_PAUSE, LAST_PAUSE
    if trouble in NEEDS_PERSON:
        first, last = MENDED_PAUSE, LAST_MENDED_PAUSE
    whole = min(last, first * 2.0 ** min(failures, 16))
    return whole * (LEAST_SHARE + (1 - LEAST_SHARE) * chance)


# Maximum bytes of a received packet; a larger one ends the connection. Retained entities have 1 to 2 KiB.
MOST_PACKET = 64 * 1024
# Requests for answers, rate per minute and burst, of one camera and of all
LOOKS_A_MINUTE, LOOKS_AT_ONCE = 6, 2
ALL_LOOKS_A_MINUTE, ALL_AT_ONCE = 24, 8
# Home Assistant's birth messages after which all states are sent again, rate per minute and burst
BIRTHS_A_MINUTE, BIRTHS_AT_ONCE = 2, 3


class MessageKind(StrEnum):
    """Meaning of a received message."""

    PRESS = "press"
    BIRTH = "birth"
    # Retained by an earlier run, for a removed camera
    LEFTOVER = "leftover"
    # Valid, without effect
    NOTHING = "nothing"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """Classified message."""

    kind: MessageKind
    # The camera of a press, the topic of a leftover, the reason of a drop
    detail: str = ""


NOTHING = ReceivedMessage(MessageKind.NOTHING)


class Incoming:
    """Classifier of received messages. `kept`: retained topics of current cameras; its owner updates it."""

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
        """Accept requests for a camera; a returning camera keeps its remaining rate."""
        self._looks[self._topics.look(camera)] = camera
        self._of.setdefault(camera, Bucket(LOOKS_A_MINUTE / 60, LOOKS_AT_ONCE, now))

    def leave(self, camera: str) -> None:
        """Stop accepting requests for a camera."""
        self._looks.pop(self._topics.look(camera), None)

    def forget(self, camera: str) -> None:
        """Forget the rate of a camera that does not return."""
        self._of.pop(camera, None)

    def judge(self, topic: str, payload: bytes, retained: bool, now: float) -> ReceivedMessage:
        """Return the meaning of a message."""
        if topic in self._looks:
            return self._press(self._looks[topic], payload, retained, now)
        if topic in self._topics.births:
            if retained or payload != ONLINE:
                return NOTHING
            return (
                ReceivedMessage(MessageKind.BIRTH)
                if self._births.take(now)
                else ReceivedMessage(MessageKind.DROPPED, "rate")
            )
        if not self._is_leftover(topic):
            return ReceivedMessage(MessageKind.DROPPED, "unknown")
        if not retained or not payload or topic in self.kept:
            return NOTHING
        return ReceivedMessage(MessageKind.LEFTOVER, topic)

    def _press(self, camera: str, payload: bytes, retained: bool, now: float) -> ReceivedMessage:
        if retained:
            # A retained press would request an answer with each connection.
            return ReceivedMessage(MessageKind.DROPPED, "retained")
        if payload != PRESS:
            return ReceivedMessage(MessageKind.DROPPED, "malformed")
        if not take_all((self._of[camera], self._all), now):
            return ReceivedMessage(MessageKind.DROPPED, "rate")
        return ReceivedMessage(MessageKind.PRESS, camera)

    def _is_leftover(self, topic: str) -> bool:
        parts = topic.split("/")
        return any(
            len(parts) == len(wanted := form.split("/"))
            and all(one in ("+", part) and part for one, part in zip(wanted, parts, strict=True))
            for form in self._topics.leftovers
        )
