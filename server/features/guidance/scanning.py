"""A session's scan: looks a few times a second while the person turns, and keeps the objects found for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from server.core.aio import Timer
from server.core.frames import Frame
from server.core.metrics import Metrics
from server.features.builtin.finder import Extra, FoundObject
from server.features.builtin.seeking import find_things
from server.features.builtin.thing_words import get_words_for_tag
from server.features.guidance.looks import FramePart, LookScheduler, SerialFinder, get_square
from server.features.guidance.messages import Bearing, Scan, Scanned, ScannedThing, WhereWas
from server.features.guidance.scan import (
    THINGS,
    End,
    Gaze,
    Heading,
    Kind,
    PlacedThing,
    ScanSighting,
    Sweep,
    get_relative_degrees,
)
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.media.picture.planes import get_luma_plane
from server.models.routing import plain
from server.session.part import SessionContext
from server.shared.boxes import MAX_LABEL_CHARS

# Pause after a look that failed, in seconds
_FAILED_PAUSE = 2.0
# Longest time in seconds for which the result of a scan is kept; seconds after the scan for which frames between
# samples are used; and degrees of motion after which the heading is unknown, since its error is too large
KEPT_SECONDS, _ALERT_SECONDS, _FARTHEST = 300.0, 60.0, 1080.0
# Least degrees, and least seconds, between two messages about a turn
_NEWS_DEGREES, _NEWS_SECONDS = 5, 0.5
# Parts of the picture to search in turn: the whole picture, and the square at this fraction of its longer side. Objects
# at the sides come into the middle as the person turns.
_PARTS = (None, 0.5)
# Searches besides that for objects, one in each look in turn
_EXTRAS: tuple[Extra, ...] = ("", "", "signs", "", "faces", "", "signs", "")
_KINDS: dict[Extra, frozenset[Kind]] = {
    "": THINGS,
    "signs": THINGS | {"text"},
    "faces": THINGS | {"code"},
}

# Returns what a picture shows and the CPU seconds. Arguments: the picture, known objects in its pixels, what else to
# search
Find = Callable[[Bgr, Sequence[Box], Extra], Awaitable[tuple[Sequence[FoundObject], float]]]


class Scanner(SerialFinder[[Bgr, Sequence[Box], Extra], tuple[Sequence[FoundObject], float]]):
    """Finds objects in the pictures of scans."""

    def __init__(self, find: Find, *, kept: float = KEPT_SECONDS) -> None:
        """Use the function `find`.

        `kept`: seconds for which the recent past is kept, which also limits results of scans.
        """
        super().__init__(find)
        self.kept = min(KEPT_SECONDS, kept)


def get_scan_counter(metrics: Metrics) -> Any:
    """Return the counter of looks for scans, by result."""
    # result: done, busy, failed, withheld
    return metrics.counter("scan_looks_total", "Looks at what is around people", "result")


class Scanning:
    """One session's scan and its result. All methods run on the event loop.

    Bounds of the result of a scan: names, directions and widths of 24 things, and three small grey pictures for the
    heading, for five minutes at most and no longer than the recent past. All of it is dropped with the stream, the socket
    and the session, with `clear_recall`, and with the next scan.
    """

    def __init__(self, context: SessionContext, scanner: Scanner) -> None:
        self._context = context
        self._scanner = scanner
        self.looks = LookScheduler(get_scan_counter(context.services.metrics), _FAILED_PAUSE)
        # The running scan; None if there is none
        self._turn: Sweep | None = None
        # The objects of the last scan; None if nothing is kept
        self._placed: list[PlacedThing] | None = None
        # Drops the result in time, even without frames
        self._timer = Timer()
        self._heading = Heading()
        # Capture time and total motion at the end of the scan
        self._ended_at = self._ended_path = 0.0
        self._looked = 0
        self._last_sent: tuple[int, int, float] = (0, 0, 0.0)

    @property
    def running(self) -> bool:
        """True while a scan runs."""
        return self._turn is not None

    @property
    def on(self) -> bool:
        """True while frames are needed for a scan, or for the heading after it."""
        return self.running or (self._placed is not None and self._heading.known)

    @property
    def alert(self) -> bool:
        """True while the frames between samples are also needed."""
        return self.on and (self.running or self._heading.at - self._ended_at < _ALERT_SECONDS)

    def set(self, message: Scan) -> None:
        """Start a new scan, or end the running one."""
        if not message.on:
            self._finish(End.STOPPED)
            return
        self.drop()
        # The scan starts with its first frame.
        self._turn, self._looked = Sweep(), 0
        self.looks.reset()
        self._context.wants_changed()
        self._context.camera.wake()
        self._send_state()

    def drop(self) -> None:
        """Drop the scan and its result without a message."""
        on = self.on
        self.stop()
        if on:
            self._context.wants_changed()

    def stop(self) -> None:
        """Drop everything with the session, which gets no more frames."""
        self._forget()
        self._context.outbox.discard(Scanned)

    def _forget(self) -> None:
        self._timer.cancel()
        self._turn = self._placed = None
        self._heading = Heading()

    def _expire(self) -> None:
        self._forget()
        self._context.wants_changed()

    async def close(self) -> None:
        self._forget()
        await self.looks.close()

    def on_frame(self, frame: Frame) -> None:
        """Measure the motion, and start a look at the frame if one is due."""
        turn, now = self._turn, frame.captured
        if turn is None and not self.on:
            return
        held = self._context.held_frame is not None
        due = turn is not None and not held and self.looks.is_due(now, self._scanner)
        if not due and not self._heading.is_due(now):
            return
        wants = self.on, self.alert
        try:
            self._heading.see(get_luma_plane(frame.image), now)
        except ValueError:
            # Without a luma plane the motion cannot be measured.
            self._heading.known = False
        if turn is None:
            if self._heading.path - self._ended_path > _FARTHEST:
                # Its error is too large.
                self._heading.known = False
            if (self.on, self.alert) != wants:
                # Fewer frames are needed after a while, and none without a heading.
                self._context.wants_changed()
            return
        if (end := turn.update(self._heading, now)) is not None:
            self._finish(end)
            return
        self._send_news(turn, now)
        if due:
            gaze = self._heading.get_gaze(frame.width, frame.height)
            self.looks.begin(frame, self._look(frame, turn, gaze))

    def can_answer(self, words: str) -> bool:
        """Return True if the last scan should answer where an object was.

        That is the case if the scan found it, or if the engine cannot use past pictures.
        """
        if self._placed is None:
            return False
        engine = self._context.services.current_engine()
        return bool(self._find_named(words)) or engine.status.capabilities.wants_pixels

    def answer_where(self, message: WhereWas) -> None:
        """Send the direction of an object that the last scan found."""
        found = [self._make_scanned_thing(one) for one in self._find_named(message.thing)]
        nearest = min(found, key=lambda one: abs(one.degrees), default=None)
        lost = self._placed is None or not self._heading.known
        self._context.outbox.put(
            Bearing(
                thing=message.thing, found=None if lost else nearest, count=len(found), lost=lost
            )
        )

    def _find_named(self, words: str) -> list[PlacedThing]:
        placed = self._placed or ()
        names, text = find_things(words, self._context.requests.preferences.reads), plain(words)
        return [
            one
            for one in placed
            if (
                one.name in names if one.kind == "thing" else plain(one.label) in text and one.label
            )
        ]

    def _finish(self, end: End) -> None:
        turn, heading = self._turn, self._heading
        if turn is None:
            return
        self._turn = None
        self._placed = turn.finish(heading)
        self._ended_at, self._ended_path = heading.at, heading.path
        heading.forget_first()
        self._timer.set(self._scanner.kept, self._expire)
        self._context.wants_changed()
        things = [self._make_scanned_thing(one) for one in self._placed]
        self._context.outbox.put(
            Scanned(
                turned=round(self._degrees_turned), count=len(things), end=end.value, things=things
            )
        )

    async def _look(self, frame: Frame, turn: Sweep, gaze: Gaze) -> float:
        """Look at one frame of the scan. Return the CPU seconds."""
        number, self._looked = self._looked, self._looked + 1
        place = _PARTS[number % len(_PARTS)]
        part = FramePart(frame, get_square(frame, place, place) if place is not None else None)
        picture = await part.prepare(self._context)
        assert picture.bgr is not None
        known = [
            replace(part.to_pixels(one.box), label=one.name)
            for one in turn.get_expected_sightings(gaze)
        ]
        extra = _EXTRAS[number % len(_EXTRAS)]
        found, spent = await self._scanner(picture.bgr, known, extra)
        if turn is self._turn:
            turn.look(
                [_make_sighting(one, part) for one in found], gaze, part.across, _KINDS[extra]
            )
        return spent

    @property
    def _degrees_turned(self) -> float:
        """The degrees turned to the right, scaled so that a measured whole turn is 360."""
        return self._heading.right * 360 / (self._heading.whole or 360)

    def _make_scanned_thing(self, one: PlacedThing) -> ScannedThing:
        label = (
            get_words_for_tag(self._context.requests.preferences.reads).get_singular(one.name)
            if one.kind == "thing"
            else one.label
        )
        degrees = get_relative_degrees(one.right, self._degrees_turned)
        return ScannedThing(
            kind=one.kind,
            label=label[:MAX_LABEL_CHARS],
            degrees=round(degrees),
            width=round(one.wide),
        )

    def _send_news(self, turn: Sweep, now: float) -> None:
        degrees, count, at = self._last_sent
        news = abs(self._heading.right - degrees) >= _NEWS_DEGREES or turn.count != count
        if news and now - at >= _NEWS_SECONDS:
            self._send_state(now)

    def _send_state(self, now: float = 0.0) -> None:
        turn = self._turn
        if turn is not None:
            self._last_sent = (round(self._degrees_turned), turn.count, now)
            things = [self._make_scanned_thing(one) for one in turn.finish(self._heading)]
            self._context.outbox.put(
                Scanned(turned=self._last_sent[0], count=len(things), things=things)
            )


def _make_sighting(one: FoundObject, part: FramePart) -> ScanSighting:
    label = one.name if one.kind == "text" else ""
    name = plain(one.name) if one.kind == "text" else one.name
    return ScanSighting(one.kind, name, label, part.to_shares(one.box))
