"""The rings of a session's watches: kept for a page that missed them, sent a few at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

from server.core.aio import Pulse
from server.core.alert import Alert, AlertSource
from server.features.watches import messages
from server.features.watches.rule import Ring
from server.session.request.outbox import Outbox
from server.vision.encode import data_url
from server.vision.grounding import Box

# Rings that are kept, with a picture of 36 KiB each; the oldest is dropped.
MAX_RINGS = 16
# Rings on their way to a new socket: the next one goes when the page has noted one of them.
_WINDOW = 2
# Bytes that wait for a client up to which a ring goes out at once: four fit into an outbox beside them.
_MOST_WAITING = 64 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One ring as the page gets it."""

    id: str
    # The client's id of the watch
    watch: str
    # As the rule knows it
    ring: Ring
    # Milliseconds since the epoch at which the frame was captured
    at: float
    # The very frame, filtered; None when a filter withheld it
    jpeg: bytes | None
    # The marked region, as shares of the picture; None for the whole one
    region: Box | None
    # Grows with each ring of the session
    number: int = 0
    # The page has shown it.
    heard: bool = False

    def message(self) -> messages.Ring:
        box = self.region
        return messages.Ring(
            id=self.id,
            watch=self.watch,
            condition=self.ring.condition,
            at=self.at,
            sure=round(self.ring.sure, 2),
            reason=self.ring.reason,
            frame=self.ring.frame_id,
            image=data_url(self.jpeg) if self.jpeg is not None else None,
            region=(
                [round(side, 4) for side in (box.x1, box.y1, box.x2, box.y2)]
                if box is not None
                else None
            ),
            heard=self.heard,
        )

    def alert(self, source: AlertSource) -> Alert:
        """The ring as webhooks get it."""
        box = self.region
        return Alert(
            self.at,
            source,
            watch=self.watch,
            condition=self.ring.condition,
            reason=self.ring.reason,
            confidence=self.ring.sure,
            region=(
                tuple(round(side, 4) for side in (box.x1, box.y1, box.x2, box.y2))
                if box is not None
                else None
            ),
            jpeg=self.jpeg,
        )


class Rings:
    """The newest 16 rings of a session, in RAM. A page knows each by its id, and shows it once.

    Bounds of rings that its page may have missed: 16 with a picture of 36 KiB each; the oldest is
    dropped. Two on their way to a new socket.
    """

    def __init__(self, outbox: Outbox, on_drop: Callable[[], None]) -> None:
        """`on_drop` is called for a ring that is dropped before a page has shown it."""
        self._outbox = outbox
        self._on_drop = on_drop
        self._numbers = itertools.count(1)
        self._events: dict[str, Event] = {}
        # Rings that the present socket has not got, and those that it got and has not noted
        self._unsent: list[str] = []
        self._unnoted: set[str] = set()
        self._listening = False
        self._added = Pulse()
        # The newest ring that got its reason before its picture was made
        self._words: tuple[Ring, str] | None = None

    def __len__(self) -> int:
        return len(self._events)

    def add(
        self, watch: str, ring: Ring, *, at: float, jpeg: bytes | None, region: Box | None
    ) -> Event:
        """Keep a ring, and send it at once if somebody listens."""
        if self._words is not None and self._words[0] is ring:
            ring = replace(ring, reason=self._words[1])
        number = next(self._numbers)
        id = f"r{number}"
        self._events[id] = event = Event(id, watch, ring, at, jpeg, region, number)
        self._added.wake()
        while len(self._events) > MAX_RINGS:
            oldest = next(iter(self._events))
            if not self._events.pop(oldest).heard:
                self._on_drop()
        if self._listening and self._outbox.size > _MOST_WAITING:
            # An alert does not overflow the outbox of a slow client: it follows those on their way.
            self._unsent.append(id)
        elif self._listening:
            self._outbox.put(event.message())
        return event

    def reword(self, ring: Ring, reason: str) -> None:
        """Replace the reason of a ring, which may not be there yet; the page keeps its picture."""
        for id, event in self._events.items():
            if event.ring is ring:
                self._events[id] = event = replace(event, ring=replace(ring, reason=reason))
                # A ring that still waits is sent later, with the new words and its picture.
                if self._listening and id not in self._unsent:
                    self._outbox.put(event.message().model_copy(update={"image": None}))
                return
        self._words = (ring, reason)

    def kept(self) -> list[Event]:
        """Return all rings, oldest first."""
        return list(self._events.values())

    async def next(self, deadline: float) -> bool:
        """Wait for the next ring: True; False at the deadline (event loop's clock)."""
        return await self._added.wait(deadline)

    def get(self, id: str) -> Event | None:
        return self._events.get(id)

    def heard(self, id: str) -> None:
        """Note that the page has shown a ring, which makes way for the next one."""
        event = self._events.get(id)
        if event is not None:
            self._events[id] = replace(event, heard=True)
        self._unnoted.discard(id)
        self._send_next()

    def listen(self, listening: bool) -> None:
        """Note whether a socket is open. A new one gets all rings, oldest first."""
        self._listening = listening
        self._unnoted.clear()
        self._unsent = list(self._events) if listening else []
        self._send_next()

    def go_on(self) -> None:
        """Send rings that had to wait, when the client has read what was before them."""
        if self._unsent and self._outbox.size <= _MOST_WAITING:
            self._send_next()

    def remove(self, id: str) -> None:
        self._events.pop(id, None)

    def forget(self) -> None:
        self._events.clear()
        self.listen(False)

    def _send_next(self) -> None:
        while self._unsent and len(self._unnoted) < _WINDOW:
            id = self._unsent.pop(0)
            event = self._events.get(id)
            if event is not None:
                self._unnoted.add(id)
                self._outbox.put(event.message())
