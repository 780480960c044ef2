"""The list of a session's watches with their states for the client, and helpers for requests."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from server.core.errors import BadRequest, Conflict, NotFound, TooLong
from server.core.frames import BoxUnit, CameraState, Detail, Frame, Region, Role
from server.features.watches import messages
from server.features.watches.rule import MAX_WATCHES, WatchRules, WatchState, WatchTracker
from server.media.picture.grounding import Box
from server.models.base import Capabilities, EngineRequest
from server.models.routing import wants_detail
from server.session.part import SessionContext
from server.shared.attention.attention import WHOLE, Change
from server.shared.boxes import to_frame
from server.shared.dates import get_zone
from server.shared.watch_answers import MAX_CONDITION_CHARS, WatchAnswer, read_answers

# State of a watch that cannot work now, for example because of darkness
_CANNOT = "cannot"
_DISCLOSURE = "Watching needs your consent: pictures would go to another machine. Agree on the page to continue."
# The client is notified if the session's next request has to wait longer than this, in seconds
_LONG_WAIT = 5.0


def get_day_minute(wall: float, zone: ZoneInfo | None, offset: int) -> int:
    """Return the minute of the day in a time zone, which accounts for summer time.

    `wall`: seconds since the epoch; `offset`: minutes east of UTC, used without a zone.
    """
    if zone is None:
        return int(wall // 60 + offset) % 1440
    local = datetime.fromtimestamp(wall, zone)
    return local.hour * 60 + local.minute


class WatchRegistry:
    """Own the watches and the person's time zone, and send the list if it has changed.

    Bounds of cached results of parsing conditions: one for each watch and one more, for two engines; the least
    recently used is dropped.
    """

    def __init__(self, context: SessionContext) -> None:
        self.rule = WatchRules(place=self.get_engine_rank)
        self._outbox = context.outbox
        self._camera = context.camera
        self._requests = context.requests
        self._services = context.services
        self._numbers = itertools.count(1)
        self._sent: messages.WatchList | None = None
        # Capture time of the newest frame, monotonic seconds
        self.seen_at = 0.0
        # The person's UTC offset in minutes east; and time zone, None if unknown
        self._offset = 0
        self._zone: ZoneInfo | None = None
        # The error message of the last request; "" after a success
        self.failed = ""
        # Cached reason why an engine does not support a condition, since parsing one blocks the event loop for milliseconds
        self._reading = lru_cache(2 * (MAX_WATCHES + 1))(
            lambda cannot_watch, condition: str(cannot_watch(condition))
        )

    # Changes

    def add(self, asked: messages.Watch) -> None:
        """Add a watch. It replaces one with the same id or, if the list is full, a finished one.

        Raise TooLong or BadRequest for an invalid watch, and Conflict beyond the limit.
        """
        self.check_condition(asked.condition)
        if asked.hours is not None and asked.hours[0] == asked.hours[1]:
            raise BadRequest(
                '"hours" of a watch message must not begin and end at the same minute. Send another begin or end.'
            )
        before, now = self.find(asked.id), self.get_time()
        if before is None and len(self.rule) >= MAX_WATCHES:
            ended = next((one for one in self.rule if one.is_finished(now)), None)
            if ended is None:
                raise Conflict(
                    f"{MAX_WATCHES} watches are set (limit). Stop one, then add this one again."
                )
            self.rule.remove(ended.name)
        self.rule.add(f"w{next(self._numbers)}", asked, now, before=before)
        if asked.zone is not None:
            self._offset = asked.zone
        if asked.zone_name:
            self._zone = get_zone(asked.zone_name)

    def check_condition(self, condition: str) -> str:
        """Return a condition unchanged if it is valid. Raise TooLong, or BadRequest if it is empty or not supported."""
        if len(condition) > MAX_CONDITION_CHARS:
            raise TooLong(
                f"The condition has {len(condition)} characters; at most {MAX_CONDITION_CHARS} are allowed. Shorten it."
            )
        if not condition.strip():
            raise BadRequest(
                '"condition" of a watch message is empty. Write what to watch for, such as "the kettle boils".'
            )
        if not self.needs_answering_engine(condition) and (
            reason := self._get_unable_reason(condition)
        ):
            raise BadRequest(reason)
        return condition

    def remove(self, id: str) -> None:
        """Remove a watch. Raise NotFound for an unknown id."""
        watch = self.find(id)
        if watch is None:
            raise NotFound("Watch not found. It may be removed already.")
        self.rule.remove(watch.name)

    def find(self, id: str) -> WatchTracker | None:
        """Return a watch by the client's id; None for an unknown one."""
        return next((one for one in self.rule if one.order.id == id), None)

    # States

    def get_time(self) -> float:
        """Return the monotonic time, but never before the newest frame."""
        return max(time.monotonic(), self.seen_at)

    def get_minute(self) -> int:
        """Return the minute of the person's day."""
        return get_day_minute(time.time(), self._zone, self._offset)

    @property
    def active(self) -> bool:
        """True if a watch can still alert."""
        now = self.get_time()
        return any(not one.is_finished(now) for one in self.rule)

    def get_obstacle(self) -> str:
        """Return why watching is hardly possible now, for example darkness or a limit; "" if it is possible."""
        if reason := self.get_block_reason():
            return reason
        scene = self._camera.scene
        if scene is not None and (scene.dark or scene.black) and not self._camera.screen:
            return "It is too dark to see anything."
        if self._requests.allowance.wait(self.get_time()) > _LONG_WAIT:
            return "Your share of the model is used up for now. Watching continues automatically."
        return ""

    def get_block_reason(self) -> str:
        """Return why no request can be made now, as a sentence for the person; "" if requests are possible."""
        engine = self._services.current_engine(Role.WATCHES)
        status = engine.status
        if not status.ready:
            return status.visitor_detail or "No model answers right now."
        if not self._requests.consent.given_to(engine):
            return _DISCLOSURE
        state = self._camera.state()
        if not self._camera.offered:
            return "The camera is off."
        if state is CameraState.STARTING:
            return "The camera is starting."
        if state is not CameraState.LIVE:
            return "No new pictures come from the camera."
        return ""

    def _get_unable_reason(self, condition: str, role: Role = Role.WATCHES) -> str:
        """Return why the engine of a role does not support a condition; "" if it does."""
        cannot = self._services.current_engine(role).status.capabilities.cannot_watch
        return self._reading(cannot, condition) if cannot is not None else ""

    def needs_answering_engine(self, condition: str) -> bool:
        """Return True if the answering engine has to be asked, since the watching one does not support the condition."""
        ready = self._services.current_engine(Role.ANSWERS).status.ready
        able = ready and not self._get_unable_reason(condition, Role.ANSWERS)
        return able and bool(self._get_unable_reason(condition))

    def get_engine_rank(self, condition: str) -> int | None:
        """Return the rank of the engine to ask about a condition: 0 the watching one, 1 the answering one.

        Return None if neither supports it, or consent for the second is missing.
        """
        if not self._get_unable_reason(condition):
            return 0
        answers = self._services.current_engine(Role.ANSWERS)
        return (
            1
            if self.needs_answering_engine(condition) and self._requests.consent.given_to(answers)
            else None
        )

    # Messages

    def report(self, *, force: bool = False) -> None:
        """Send the list if it has changed, or in any case with `force`."""
        message = messages.WatchList(watches=self.list_infos(), most=MAX_WATCHES)
        if force or (message != self._sent and (message.watches or self._sent is not None)):
            self._sent = message
            self._outbox.put(message)

    def list_infos(self) -> list[messages.WatchInfo]:
        """Return all watches for clients, oldest first."""
        trouble = (self.get_obstacle() or self.failed) if len(self.rule) else ""
        return [self._make_info(one, trouble) for one in self.rule]

    def _make_info(self, one: WatchTracker, trouble: str) -> messages.WatchInfo:
        order, now, minute = one.order, self.get_time(), self.get_minute()
        state, finished = one.make_state(now, minute), one.is_finished(now)
        answers = self._services.current_engine(Role.ANSWERS)
        beyond = not finished and self.needs_answering_engine(order.condition)
        why = ""
        if not finished and state is not WatchState.PAUSED:
            if not beyond:
                why = self._get_unable_reason(order.condition) or trouble
            elif self._requests.consent.given_to(answers):
                why = trouble
            else:
                why = _DISCLOSURE
        return messages.WatchInfo(
            id=order.id,
            condition=order.condition,
            repeat=order.repeat,
            state=_CANNOT if why else str(state),
            ended=finished,
            reason=why or one.pause_reason(now, minute) or one.reason,
            looked_at=self._to_epoch(one.looked_at),
            armed=one.armed,
            expires_at=self._to_epoch(one.since + order.expires if order.expires else None),
            hours=order.hours,
            threshold=round(one.threshold, 3),
            model=answers.status.model_name if beyond else None,
        )

    def _to_epoch(self, at: float | None) -> float | None:
        """Return a monotonic time as milliseconds since the epoch, rounded to seconds so that lists can be compared."""
        return None if at is None else round(time.time() - self.get_time() + at) * 1000

    def forget(self) -> None:
        for one in list(self.rule):
            self.rule.remove(one.name)
        self._sent = None
        self._reading.cache_clear()


# Tokens of an answer: for each condition, and for the structure around the entries
_ENTRY_TOKENS = 80
_FORM_TOKENS = 40
# Size of a second look's crop relative to the box, and its least side in pixels
_CROP_GROWTH = 1.6
_LEAST_CROP = 224
# The last field of an entry; once it begins, all others are complete.
_LAST_FIELD = '"why"'


def answer_tokens(conditions: int) -> int:
    """Return the maximum number of tokens of an answer about this many conditions."""
    return conditions * _ENTRY_TOKENS + _FORM_TOKENS


def get_box_unit(capabilities: Capabilities) -> BoxUnit | None:
    """Return the unit of an engine's boxes; None if it gives no boxes."""
    return capabilities.boxes or (BoxUnit.PIXELS if capabilities.wants_pixels else None)


def crop_region(box: Box | None, frame: Frame) -> Region | None:
    """Return the region of a frame around a box, with a margin; None for the whole frame."""
    if box is None:
        return None
    sides = []
    for low, high, side in ((box.x1, box.x2, frame.width), (box.y1, box.y2, frame.height)):
        size = min(side, max(_LEAST_CROP, math.ceil((high - low) * _CROP_GROWTH)))
        start = round((low + high - size) / 2)
        start = max(0, min(side - size, start))
        sides.append((start, start + size))
    (left, right), (top, bottom) = sides
    region = Region(left, top, right, bottom)
    whole = (region.width, region.height) == (frame.width, frame.height)
    return None if whole else region


def convert_answer(
    answer: WatchAnswer, request: EngineRequest, unit: BoxUnit | None, region: Region
) -> WatchAnswer:
    """Return an answer with its box converted to pixels of the frame. `region`: the part of the frame in the picture."""
    box = answer.where
    if box is None or unit is None:
        return replace(answer, where=None)
    picture = request.picture
    found = to_frame(
        box, unit, picture=(picture.width, picture.height), frame=(region.width, region.height)
    )
    if found is None:
        return replace(answer, where=None)
    return replace(answer, where=found.moved(region.left, region.top))


def choose_detail(conditions: Mapping[str, str]) -> Detail:
    """Return the detail that these conditions need."""
    return Detail.HIGH if any(map(wants_detail, conditions.values())) else Detail.LOW


def get_changed_box(change: Change, frame: Frame) -> Box | None:
    """Return the changed region in pixels of the frame; None for the whole picture."""
    region = change.region
    if region is None or region == WHOLE:
        return None
    return region.scaled(frame.width, frame.height)


def to_fractions(box: Box | None, frame: Frame) -> Box | None:
    """Return a box in pixels of the frame as fractions of its sides; None for None."""
    if box is None:
        return None
    return Box(
        box.x1 / frame.width, box.y1 / frame.height, box.x2 / frame.width, box.y2 / frame.height
    )


def parse_early_answer(text: str, name: str) -> WatchAnswer | None:
    """Return the answer about one condition from an incomplete text that lacks only the reason; None if more is missing."""
    head, found, _ = text.rpartition(_LAST_FIELD)
    begin = head.rfind("{")
    if not found or begin < 0:
        return None
    entry = head[begin:].rstrip().rstrip(",") + "}"
    try:
        json.loads(entry, strict=False)
    except (ValueError, RecursionError):
        return None
    return read_answers(entry, {name}).get(name)
