"""Judges messages of the broker: all may be anybody's. Pure; `now` is monotonic seconds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from server.core.addresses import Bucket, take_all
from server.core.errors import QwenCameraError
from server.features.mqtt.discovery import ONLINE, PRESS, Topics
from server.session.session import Session

# Bytes of a packet; a longer one ends the connection before it is read. Retained entities have 1 to 2 KiB.
MOST_PACKET = 64 * 1024
# Bytes of a packet beside the topic and payload of a message: properties, codes. The library needs up to 15 µs for
# each byte of them, and 2 KiB of memory.
MOST_BESIDE = 1024
# Packets and bytes of a connection: a second, and at once. Home Assistant sends some in an hour.
PACKETS, PACKETS_AT_ONCE = 20.0, 2000
BYTES, BYTES_AT_ONCE = 32 * 1024.0, 4 * 1024 * 1024
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
        if topic == self._topics.birth:
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


def beside(packet: bytes | bytearray, *, message: bool) -> int:
    """Count the bytes of a packet, without its head, that are neither topic nor payload of a message."""
    if not message:
        return len(packet)
    # The topic with its length, then the length of the properties: seven bits a byte (MQTT 5, 1.5.5)
    at = 2 + int.from_bytes(packet[:2], "big")
    size = 0
    for place, byte in enumerate(packet[at : at + 4]):
        size |= (byte & 127) << 7 * place
        if byte < 128:
            break
    return size


class Flood:
    """The packets and bytes of one connection."""

    def __init__(self, now: float) -> None:
        self._packets = Bucket(PACKETS, PACKETS_AT_ONCE, now)
        self._bytes = Bucket(BYTES / 1024, BYTES_AT_ONCE // 1024, now)
        self._rest = 0

    def packet(self, now: float) -> bool:
        """Note a packet; False when there are too many."""
        return self._packets.take(now)

    def read(self, count: int, now: float) -> bool:
        """Note bytes; False when there are too many."""
        self._rest += count
        while self._rest >= 1024:
            self._rest -= 1024
            if not self._bytes.take(now):
                return False
        return True


# A look that somebody ordered over MQTT: the way of any program's question, with its consent.

# The names that the camera's own page shows: of a camera of the house, and of a visitor's
PROGRAM, HOME = "MQTT", "Home Assistant"
QUESTION = "What does the camera show now? Answer in one or two short sentences."
# Seconds of the access, which ends with the answer
ACCESS_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Looked:
    """The end of a look: a model's words, or our own about why there are none."""

    text: str
    ok: bool


async def look(session: Session, program: str = PROGRAM) -> Looked:
    """Ask about the camera's next frame, with an access that lives as long as the question."""
    programs = session.part("grants")
    if programs is None:
        return Looked("The feature grants is off, so nobody may look.", False)
    try:
        answer = await programs.look_once(program, QUESTION, ACCESS_SECONDS)
    except QwenCameraError as error:
        return Looked(error.visitor_message, False)
    return Looked(answer.text, True)
