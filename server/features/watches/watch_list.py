"""The list of a session's watches as a person reads it: each order, its state, and its trouble."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from server.core.errors import BadRequest, Conflict, NotFound, TooLong
from server.core.frames import CameraState
from server.features.watches import messages
from server.features.watches.rule import MAX_WATCHES, Order, Status, Watches, WatchState
from server.media.camera import Camera
from server.media.picture.luma import Hindrance, hindrance
from server.session.request.builder import RequestBuilder
from server.session.request.outbox import Outbox
from server.session.request.parts import SessionTools
from server.shared.watch_answers import MAX_CONDITION_CHARS

# The state of a watch that could look, but for something around it
_CANNOT = "cannot"
# The client hears of a wait for the session's next request from so many seconds on
_LONG_WAIT = 5.0


def zone_of(name: str) -> ZoneInfo | None:
    """Return the time zone with this IANA name; None for an unknown one, or without a database of zones."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # A folder of zones is an OSError.
        return None


def day_minute(wall: float, zone: ZoneInfo | None, offset: int) -> int:
    """Return the minute of the day in a zone, also across the change to summer time. `offset`: minutes east of UTC,
    without a zone.
    """
    if zone is None:
        return int(wall // 60 + offset) % 1440
    local = datetime.fromtimestamp(wall, zone)
    return local.hour * 60 + local.minute


class WatchList:
    """Names the rule's watches for the client, and sends the list when it has changed."""

    def __init__(
        self,
        rule: Watches,
        outbox: Outbox,
        camera: Camera,
        requests: RequestBuilder,
        tools: SessionTools,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._rule = rule
        self._outbox = outbox
        self._camera = camera
        self._requests = requests
        self._tools = tools
        self._clock = clock
        self._wall = wall
        # The client's ids by the rule's, which are short, since models repeat them
        self._ids: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._sent: messages.WatchList | None = None
        # The person's time, in minutes east of UTC; and its zone, None for one that is not known here
        self.zone = 0
        self._zone: ZoneInfo | None = None
        # The error of the last request, "" after a success
        self.failed = ""

    # Orders

    def add(self, asked: messages.Watch) -> None:
        """Begin a watch. Raises TooLong, BadRequest and Conflict."""
        condition = asked.condition
        if len(condition) > MAX_CONDITION_CHARS:
            raise TooLong(
                f"The condition has {len(condition)} characters; at most {MAX_CONDITION_CHARS} are allowed. Say it shorter."
            )
        if not condition.strip():
            raise BadRequest(
                '"condition" of a watch message is empty. Say there what to watch for.'
            )
        if reason := self._unable(condition):
            raise BadRequest(reason)
        name = self.name_of(asked.id) or f"w{next(self._numbers)}"
        if name not in self._ids and len(self._rule) >= MAX_WATCHES:
            self._drop_finished()
        if name not in self._ids and len(self._rule) >= MAX_WATCHES:
            raise Conflict(
                f"{MAX_WATCHES} watches are set, which is the most. Stop one, then add this one again."
            )
        order = Order(
            name,
            condition,
            repeat=asked.repeat,
            cooldown_s=asked.cooldown,
            expires_s=asked.expires,
            hours=asked.hours,
            # The rule raises a lower one to a new watch's.
            threshold=asked.threshold or 0.0,
        )
        self._rule.add(order, self._clock())
        self._ids[name] = asked.id
        if asked.zone is not None:
            self.zone = asked.zone
        if asked.zone_name:
            self._zone = zone_of(asked.zone_name)

    def remove(self, id: str) -> None:
        """End a watch. Raises NotFound for an unknown one."""
        name = self.name_of(id)
        if not name:
            raise NotFound("There is no watch with this id. It may have ended already.")
        self._rule.remove(name)
        del self._ids[name]

    def name_of(self, id: str) -> str:
        """Return the rule's name of a watch; "" for an unknown one."""
        return next((name for name, known in self._ids.items() if known == id), "")

    def id_of(self, name: str) -> str | None:
        return self._ids.get(name)

    def _drop_finished(self) -> None:
        """Remove the oldest watch that has ended."""
        for one in self._states():
            if one.finished:
                self.remove(self._ids[one.id])
                return

    # States

    def minute(self) -> int:
        """Return the minute of the person's day."""
        return day_minute(self._wall(), self._zone, self.zone)

    def reason(self, name: str) -> str:
        return next((one.reason for one in self._states() if one.id == name), "")

    @property
    def active(self) -> bool:
        """True while a watch may still alert."""
        return any(not one.finished for one in self._states())

    def trouble(self) -> str:
        """Return why hardly anything can be watched now, darkness included; "" when it can."""
        if reason := self.blocked():
            return reason
        if hindrance(self._camera.scene) in (Hindrance.BLACK, Hindrance.DARK):
            return "It is too dark to see anything."
        if self._requests.allowance.wait(self._clock()) > _LONG_WAIT:
            return (
                "Your pictures have used what they may of the model for now. It goes on by itself."
            )
        return ""

    def blocked(self) -> str:
        """Return why nothing can be asked now; "" when it can."""
        engine = self._tools.current_engine()
        status = engine.status
        if not status.ready:
            return status.visitor_detail or "No model answers right now."
        if not self._requests.consent.given(engine):
            return "Pictures may not go to the machine of the model that answers now. Agree on the page, and it goes on."
        state = self._camera.state()
        if not self._camera.offered:
            return "The camera is off."
        if state is CameraState.STARTING:
            return "The camera is starting."
        if state is not CameraState.LIVE:
            return "No new pictures come from the camera."
        return ""

    def _unable(self, condition: str) -> str:
        """Return why this engine cannot watch for a condition; "" when it can."""
        cannot = self._tools.current_engine().status.capabilities.cannot_watch
        return cannot(condition) if cannot is not None else ""

    def _states(self) -> list[Status]:
        return self._rule.status(self._clock(), self.minute())

    # Messages

    def report(self, *, anew: bool = False) -> None:
        """Send the list if it has changed; with `anew` in any case."""
        message = self._message()
        if anew or (message != self._sent and (message.watches or self._sent is not None)):
            self._sent = message
            self._outbox.put(message)

    def _message(self) -> messages.WatchList:
        return messages.WatchList(watches=self.infos(), most=MAX_WATCHES)

    def infos(self) -> list[messages.WatchInfo]:
        """Return all watches as a person reads them, oldest first."""
        trouble = (self.trouble() or self.failed) if self._ids else ""
        return [self._info(one, trouble) for one in self._states()]

    def _info(self, one: Status, trouble: str) -> messages.WatchInfo:
        order = self._rule.order(one.id)
        assert order is not None
        state, reason = str(one.state), one.reason
        why = "" if one.finished else self._unable(one.condition) or trouble
        if why and one.state is not WatchState.PAUSED:
            state, reason = _CANNOT, why
        began = self._rule.began(one.id)
        return messages.WatchInfo(
            id=self._ids[one.id],
            condition=one.condition,
            repeat=order.repeat,
            state=state,
            ended=self._rule.ended(one.id, self._clock()),
            reason=reason,
            looked_at=self._epoch(one.looked_at),
            armed=one.armed,
            expires_at=self._epoch(began + order.expires_s if order.expires_s else None),
            hours=list(order.hours) if order.hours is not None else None,
            threshold=round(self._rule.threshold(one.id), 3),
        )

    def _epoch(self, at: float | None) -> float | None:
        """Return milliseconds since the epoch, in whole seconds so that lists can be compared."""
        return None if at is None else round(self._wall() - self._clock() + at) * 1000

    def forget(self) -> None:
        for name in list(self._ids):
            self._rule.remove(name)
        self._ids.clear()
        self._sent = None
