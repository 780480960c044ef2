"""The alerts of a session's watches: kept for a page that missed them, sent a few at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

from server.core.aio import Broadcast
from server.features.watches import messages
from server.features.watches.rule import Firing
from server.media.picture.encode import data_url
from server.media.picture.grounding import Box
from server.session.part import Alert, AlertSource
from server.session.request.outbox import Outbox

# Alerts that are kept, with a picture of 36 KiB each; the oldest is dropped.
MAX_ALERTS = 16
# Alerts on their way to a new socket: the next one goes when the page has noted one of them.
_WINDOW = 2
# Bytes that wait for a client up to which an alert goes out at once: four fit into an outbox beside them.
_MOST_WAITING = 64 * 1024


@dataclass(frozen=True, slots=True)
class KeptAlert:
    """One alert as the page gets it."""

    id: str
    # The client's id of the watch
    watch: str
    # As the rule knows it
    firing: Firing
    # Milliseconds since the epoch at which the frame was captured
    at: float
    # The very frame, filtered; None when a filter withheld it
    jpeg: bytes | None
    # The marked region, as shares of the picture; None for the whole one
    region: Box | None
    # The model that says so
    model: str = ""
    # Grows with each alert of the session
    number: int = 0
    # The page has shown it.
    acked: bool = False

    def message(self) -> messages.Alert:
        return messages.Alert(
            id=self.id,
            watch=self.watch,
            condition=self.firing.condition,
            at=self.at,
            confidence=round(self.firing.confidence, 2),
            reason=self.firing.reason,
            model=self.model or None,
            frame=self.firing.frame_id,
            image=data_url(self.jpeg) if self.jpeg is not None else None,
            region=_rounded(self.region),
            acked=self.acked,
        )

    def alert(self, source: AlertSource) -> Alert:
        """The alert as webhooks get it."""
        return Alert(
            self.at,
            source,
            watch=self.watch,
            condition=self.firing.condition,
            reason=self.firing.reason,
            confidence=self.firing.confidence,
            region=_rounded(self.region),
            jpeg=self.jpeg,
        )


def _rounded(box: Box | None) -> tuple[float, float, float, float] | None:
    if box is None:
        return None
    return round(box.x1, 4), round(box.y1, 4), round(box.x2, 4), round(box.y2, 4)


class KeptAlerts:
    """The newest 16 alerts of a session, in RAM. A page knows each by its id, and shows it once.

    Bounds of alerts that its page may have missed: 16 with a picture of 36 KiB each; the oldest is
    dropped. Two on their way to a new socket.
    """

    def __init__(self, outbox: Outbox, on_drop: Callable[[], None]) -> None:
        """`on_drop` is called for an alert that is dropped before a page has shown it."""
        self._outbox = outbox
        self._on_drop = on_drop
        self._numbers = itertools.count(1)
        self._events: dict[str, KeptAlert] = {}
        # Alerts that the present socket has not got, and those that it got and has not noted
        self._unsent: list[str] = []
        self._unnoted: set[str] = set()
        self._listening = False
        self._added = Broadcast()
        # The newest alert that got its reason before its picture was made
        self._words: tuple[Firing, str] | None = None

    def __len__(self) -> int:
        return len(self._events)

    def add(
        self,
        watch: str,
        firing: Firing,
        *,
        at: float,
        jpeg: bytes | None,
        region: Box | None,
        model: str = "",
    ) -> KeptAlert:
        """Keep an alert, and send it at once if somebody listens."""
        if self._words is not None and self._words[0] is firing:
            firing = replace(firing, reason=self._words[1])
        number = next(self._numbers)
        id = f"r{number}"
        event = KeptAlert(id, watch, firing, at, jpeg, region, model, number)
        self._events[id] = event
        self._added.wake()
        while len(self._events) > MAX_ALERTS:
            oldest = next(iter(self._events))
            if not self._events.pop(oldest).acked:
                self._on_drop()
        if self._listening and self._outbox.size > _MOST_WAITING:
            # An alert does not overflow the outbox of a slow client: it follows those on their way.
            self._unsent.append(id)
        elif self._listening:
            self._outbox.put(event.message())
        return event

    def reword(self, firing: Firing, reason: str) -> None:
        """Replace the reason of an alert, which may not be there yet; the page keeps its picture."""
        for id, event in self._events.items():
            if event.firing is firing:
                self._events[id] = event = replace(event, firing=replace(firing, reason=reason))
                # An alert that still waits is sent later, with the new words and its picture.
                if self._listening and id not in self._unsent:
                    self._outbox.put(event.message().model_copy(update={"image": None}))
                return
        self._words = (firing, reason)

    def all(self) -> list[KeptAlert]:
        """Return all alerts, oldest first."""
        return list(self._events.values())

    async def next(self, deadline: float) -> bool:
        """Wait for the next alert: True; False at the deadline (event loop's clock)."""
        return await self._added.wait(deadline)

    def get(self, id: str) -> KeptAlert | None:
        return self._events.get(id)

    def ack(self, id: str) -> None:
        """Note that the page has shown an alert, which makes way for the next one."""
        event = self._events.get(id)
        if event is not None:
            self._events[id] = replace(event, acked=True)
        self._unnoted.discard(id)
        self._send_next()

    def set_connected(self, connected: bool) -> None:
        """Note whether a socket is open. A new one gets all alerts, oldest first."""
        self._listening = connected
        self._unnoted.clear()
        self._unsent = list(self._events) if connected else []
        self._send_next()

    def go_on(self) -> None:
        """Send alerts that had to wait, when the client has read what was before them."""
        if self._unsent and self._outbox.size <= _MOST_WAITING:
            self._send_next()

    def remove(self, id: str) -> None:
        self._events.pop(id, None)

    def forget(self) -> None:
        self._events.clear()
        self.set_connected(False)

    def _send_next(self) -> None:
        while self._unsent and len(self._unnoted) < _WINDOW:
            id = self._unsent.pop(0)
            event = self._events.get(id)
            if event is not None:
                self._unnoted.add(id)
                self._outbox.put(event.message())
