"""The alerts of a session's watches, kept for a page that missed them and sent a few at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

from server.core.aio import Broadcast
from server.features.watches import messages
from server.features.watches.rule import Firing
from server.media.picture.encode import to_data_url
from server.media.picture.grounding import Box
from server.session.part import Alert, AlertSource
from server.session.request.outbox import Outbox

# Most alerts kept, with a picture of 36 KiB each; the oldest is dropped.
MAX_ALERTS = 16
# Most unconfirmed alerts sent to a new socket; the next one follows after an `ack`.
_WINDOW = 2
# An alert is sent at once if at most this many bytes wait for the client; the outbox then has room for four more.
_MOST_WAITING = 64 * 1024


@dataclass(frozen=True, slots=True)
class KeptAlert:
    """One alert with its picture."""

    id: str
    # The client's id of the watch
    watch: str
    # The watch, condition, reason and confidence
    firing: Firing
    # Milliseconds since the epoch at which the frame was captured
    at: float
    # JPEG of the frame, after the privacy filters; None if a filter withheld it
    jpeg: bytes | None
    # The marked region, as fractions of the picture; None for the whole picture
    region: Box | None
    # Name of the model that confirmed the alert
    model: str = ""
    # Number of the alert in its session, from 1
    number: int = 0
    # True once the page has shown the alert
    acked: bool = False

    def make_message(self) -> messages.Alert:
        """Return the alert for the page."""
        return messages.Alert(
            id=self.id,
            watch=self.watch,
            condition=self.firing.condition,
            at=self.at,
            confidence=round(self.firing.confidence, 2),
            reason=self.firing.reason,
            model=self.model or None,
            frame=self.firing.frame_id,
            image=to_data_url(self.jpeg) if self.jpeg is not None else None,
            region=_round_box(self.region),
            acked=self.acked,
        )

    def make_alert(self, source: AlertSource) -> Alert:
        """Return the alert for webhooks and other features."""
        return Alert(
            self.at,
            source,
            id=self.id,
            watch=self.watch,
            condition=self.firing.condition,
            reason=self.firing.reason,
            confidence=self.firing.confidence,
            region=_round_box(self.region),
            jpeg=self.jpeg,
        )


def _round_box(box: Box | None) -> tuple[float, float, float, float] | None:
    if box is None:
        return None
    return round(box.x1, 4), round(box.y1, 4), round(box.x2, 4), round(box.y2, 4)


class KeptAlerts:
    """The newest 16 alerts of a session, in memory. The page shows each id once.

    Bounds of alerts that the page may have missed: 16 with a picture of 36 KiB each; the oldest is
    dropped. At most two unconfirmed on a new socket.
    """

    def __init__(self, outbox: Outbox, on_drop: Callable[[], None]) -> None:
        """Start without alerts. `on_drop`: called for each alert that is dropped before a page has shown it."""
        self._outbox = outbox
        self._on_drop = on_drop
        self._numbers = itertools.count(1)
        self._events: dict[str, KeptAlert] = {}
        # Ids of the alerts that were not sent to the current socket, and of those that it has not confirmed
        self._unsent: list[str] = []
        self._unnoted: set[str] = set()
        self._listening = False
        self._added = Broadcast()
        # The newest reason that came before its alert was added, since making a picture takes a moment
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
        """Store an alert, and send it if a socket is open. Return it."""
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
            # Send it later, so that alerts do not overflow the outbox of a slow client.
            self._unsent.append(id)
        elif self._listening:
            self._outbox.put(event.make_message())
        return event

    def replace_reason(self, firing: Firing, reason: str) -> None:
        """Replace the reason of an alert, which may not be added yet. Send it again without the picture."""
        for id, event in self._events.items():
            if event.firing is firing:
                self._events[id] = event = replace(event, firing=replace(firing, reason=reason))
                # An alert that still waits is sent later, with the new reason and its picture.
                if self._listening and id not in self._unsent:
                    self._outbox.put(event.make_message().model_copy(update={"image": None}))
                return
        self._words = (firing, reason)

    def list_all(self) -> list[KeptAlert]:
        """Return all alerts, oldest first."""
        return list(self._events.values())

    async def wait_next(self, deadline: float) -> bool:
        """Wait for the next alert. Return False if none came by the deadline (event loop's clock)."""
        return await self._added.wait(deadline)

    def get(self, id: str) -> KeptAlert | None:
        return self._events.get(id)

    def acknowledge(self, id: str) -> None:
        """Record that the page has shown an alert, and send the next waiting one."""
        event = self._events.get(id)
        if event is not None:
            self._events[id] = replace(event, acked=True)
        self._unnoted.discard(id)
        self._send_next()

    def set_connected(self, connected: bool) -> None:
        """Store whether a socket is open. Send all alerts to a new one, oldest first."""
        self._listening = connected
        self._unnoted.clear()
        self._unsent = list(self._events) if connected else []
        self._send_next()

    def go_on(self) -> None:
        """Send waiting alerts once the client has read enough of its outbox."""
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
                self._outbox.put(event.make_message())
