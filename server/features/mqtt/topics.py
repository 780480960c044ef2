"""The names of all topics, and of what stands behind them. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

ONLINE, OFFLINE = b"online", b"offline"
ON, OFF, UNKNOWN = b"ON", b"OFF", b"None"
PRESS = b"PRESS"


def watch_key(condition: str) -> str:
    """Name a watch by its words: another order of the list gives no watch the name of another one."""
    return hashlib.sha256(condition.encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Topics:
    """`prefix` begins all topics of this server, `discovery` those that Home Assistant reads."""

    prefix: str
    discovery: str

    @property
    def status(self) -> str:
        """The topic that says if this server is there: retained, and the connection's will."""
        return f"{self.prefix}/status"

    def camera(self, camera: str) -> str:
        """The topic that says if a camera has a picture; retained."""
        return f"{self.prefix}/{camera}/status"

    def root(self, camera: str) -> str:
        """The beginning of all topics of a camera, its entities aside."""
        return f"{self.prefix}/{camera}/"

    def watch(self, camera: str, key: str) -> str:
        return f"{self.prefix}/{camera}/watch/{key}"

    def watch_facts(self, camera: str, key: str) -> str:
        return f"{self.watch(camera, key)}/facts"

    def evidence(self, camera: str, key: str) -> str:
        return f"{self.watch(camera, key)}/picture"

    def description(self, camera: str) -> str:
        return f"{self.prefix}/{camera}/description"

    def answer(self, camera: str) -> str:
        return f"{self.prefix}/{camera}/answer"

    def facts(self, topic: str) -> str:
        """The whole words behind a state, which may be cut."""
        return f"{topic}/facts"

    def look(self, camera: str) -> str:
        """The one topic that orders something: a look now."""
        return f"{self.prefix}/{camera}/look"

    def config(self, component: str, entity: str) -> str:
        return f"{self.discovery}/{component}/{self.prefix}/{entity}/config"

    @property
    def birth(self) -> str:
        """Home Assistant says here that it has begun."""
        return f"{self.discovery}/status"

    @property
    def leftovers(self) -> tuple[str, ...]:
        """Filters for what an earlier run may have left retained."""
        return (f"{self.discovery}/+/{self.prefix}/+/config", f"{self.prefix}/+/status")
