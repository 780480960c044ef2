"""Choose the frames for requests about a session's watches: after a change, for a new watch, of a settled scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from server.core.aio import run_in_pool
from server.core.errors import QwenCameraError
from server.core.frames import Detail, Frame, Picture, Region, Role
from server.features.watches.rule import Belief, LookKind, WatchRequest
from server.features.watches.watch_list import WatchRegistry, get_changed_box
from server.media.picture.planes import get_levels, is_dark
from server.models.base import Capabilities
from server.session.part import SessionContext
from server.shared.attention.attention import WHOLE, Attention, Change, Why
from server.shared.watch_answers import WatchAnswer

# Seconds without a change after a request, after which the scene is settled
_SETTLED_SECONDS = 0.6
# Seconds of dark frames after which the light counts as off; a passing hand has left the view by then.
_DARK_SECONDS = 0.9
# Strength of a change of the light, which changes the whole picture
_OUT = 3.0
_NOTHING = Change(Why.SAME, 0.0, None, 0.0)
# Seconds from the beginning of a sound to the frame that is asked about, so that the request includes the
# sound; and seconds after which the sound is ignored
_SOUND_SECONDS = 0.8
_SOUND_FORGOTTEN = 5.0
# Seconds between two requests about sounds: at first, and at most. Doubled with each request, since otherwise a
# television or a conversation would use up a watch's requests for a day.
_SOUNDS_APART = 3.0
_MOST_APART = 600.0


class WatchTriggers:
    """Decide for each frame whether to make a request. Runs on the event loop.

    In the dark the change gate sees noise, and mistakes a change of the light for a change of exposure. Therefore
    light that goes out or comes on is detected here, and other changes are ignored until the light is on again.

    Call `look` or `check_early`, then `ask` or `ask_early` with the returned change. Call `on_answer`
    or `on_failure` for each request.
    """

    def __init__(
        self, context: SessionContext, watch_list: WatchRegistry, frames: WatchFrames
    ) -> None:
        self._services = context.services
        self.attention = Attention(sensitivity=context.limits.sensitivity)
        self._allowance = context.requests.allowance
        self._list = watch_list
        self._rule = watch_list.rule
        self._frames = frames
        # The request whose frame the gate compares with
        self._compared: WatchRequest | None = None
        # The answers of the last common request, by name
        self._last_answers: dict[str, bool] = {}
        # The capture time of the newest frame that was asked about
        self._asked_at = 0.0
        # The frame of the last look, if it showed no change
        self._last: Frame | None = None
        # Beginning of a sound about which no request was made yet; None if there is none
        self._sound_at: float | None = None
        # Capture time of the newest frame that was asked about for a sound, least seconds until the
        # next one, and beginning of the newest sound
        self._sound_asked = 0.0
        self._sounds_apart = _SOUNDS_APART
        self._noise_at = 0.0
        # The change that waits for the end of the common request
        self._waiting: Change | None = None
        # Capture time of the first dark frame; None while frames are light
        self._dark_since: float | None = None
        # True if the gate compares with a dark frame; the same before the last request
        self._compared_dark = self._before_dark = False

    # Frames

    def look(self, frame: Frame) -> Change | None:
        """Compare a sampled frame, and return the change; None if it is too soon after the last comparison."""
        change = self.attention.look(frame)
        return self._adjust_for_light(frame, change) if change is not None else None

    def check_early(self, frame: Frame) -> Change | None:
        """Compare a frame between two samples, and return the change if it clearly differs, else None."""
        change = self.attention.look_early(frame)
        return self._adjust_for_light(frame, change) if change is not None else None

    def _adjust_for_light(self, frame: Frame, change: Change) -> Change:
        """Return the change corrected for darkness: light that goes out or comes on counts, other changes in the dark do not."""
        since = self._dark_since
        dark = is_dark(self.attention.small, *get_levels(frame.image), before=since is not None)
        self._dark_since = (frame.captured if since is None else since) if dark else None
        if dark and (since is None or frame.captured - since < _DARK_SECONDS):
            return _NOTHING
        if change.why is not Why.FIRST and dark is not self._compared_dark:
            return Change(Why.SCENE, _OUT, WHOLE, 0.0)
        return _NOTHING if dark and change.why is not Why.FIRST else change

    def ask(self, frame: Frame, change: Change) -> WatchRequest | None:
        """Return the request to make about a compared frame, or None."""
        self._list.seen_at = frame.captured
        if self._dark and not self._compared_dark and not change.changed:
            # Wait, since it may be dark for a moment only.
            self._last = None
            return None
        now, minute = self._list.get_time(), self._list.get_minute()
        ask: WatchRequest | None = None
        may = self._allowance.left(now)
        if may and (self.attention.due(change, now) or self._take_sound_request(frame)):
            ask = self._request_for_change(frame, change)
        elif may and self._rule.has_unasked(now, minute):
            self._frames.keep(frame)
            ask = self._rule.request_first(frame.id, now, minute)
        elif may and (calm := self._get_settled_frame(change, frame)) is not None:
            self._frames.keep(calm)
            ask = self._rule.on_settled(calm.id, None, now, minute)
            if ask is None and self._rule.repeat_due(now):
                ask = self._repeat_request(frame, now, minute)
        self._last = None if change.changed else frame
        return self._begin(ask, frame, change)

    def _repeat_request(self, frame: Frame, now: float, minute: int) -> WatchRequest | None:
        """Return a repeated request about a persisting change; None if the scene is as before the change."""
        if not self.attention.is_still_changed(frame):
            self._rule.cancel_repeats()
            return None
        self._frames.keep(frame)
        return self._rule.request_repeat(frame.id, now, minute)

    def on_sound_event(self, at: float) -> None:
        """Record that a sound began at a monotonic time; ignore it if the engine does not support sound."""
        if at - self._noise_at >= self._sounds_apart:
            # It was quiet for a while: start again with the short pause.
            self._sounds_apart = _SOUNDS_APART
        self._noise_at = at
        if self._services.current_engine(Role.WATCHES).status.capabilities.audio_in:
            self._sound_at = at

    def _take_sound_request(self, frame: Frame) -> bool:
        """Return True if a request about this frame should be made because of a sound, and record it."""
        at = self._sound_at
        now = frame.captured
        if at is None or now < at + _SOUND_SECONDS:
            return False
        if now < self._sound_asked + self._sounds_apart:
            if now >= at + _SOUND_FORGOTTEN:
                self._sound_at = None
            return False
        self._sound_at, self._sound_asked = None, now
        self._sounds_apart = min(_MOST_APART, 2 * self._sounds_apart)
        return True

    def ask_early(self, frame: Frame, change: Change) -> WatchRequest | None:
        """Return the request to make about a frame between two samples, or None."""
        self._list.seen_at = frame.captured
        now = self._list.get_time()
        if self._dark or not self._allowance.left(now) or not self.attention.due(change, now):
            return None
        self._last = None
        return self._begin(self._request_for_change(frame, change), frame, change)

    def _request_for_change(self, frame: Frame, change: Change) -> WatchRequest | None:
        """Return the request about a change; None if it waits, or if none is needed."""
        self._frames.keep(frame)
        return self._rule.on_change(
            frame.id,
            get_changed_box(change, frame),
            self._list.get_time(),
            self._list.get_minute(),
            light=self._dark is not self._compared_dark,
            area=frame.width * frame.height,
        )

    @property
    def _dark(self) -> bool:
        return self._dark_since is not None

    def _begin(self, ask: WatchRequest | None, frame: Frame, change: Change) -> WatchRequest | None:
        if ask is not None:
            self._asked_at = frame.captured
            if ask.look is LookKind.PLAIN:
                self._compare_with(ask, change)
        elif frame.id in self._rule.pending_frames:
            self._waiting = change
        return ask

    def _get_settled_frame(self, change: Change, frame: Frame) -> Frame | None:
        """Return the frame of a settled scene, or None.

        It is the frame before this one, since some changes are detected only one comparison later.
        """
        if change.changed or frame.captured - self._asked_at < _SETTLED_SECONDS:
            return None
        return self._last

    # Answers

    def follow(self, asks: Sequence[WatchRequest]) -> None:
        """Handle the requests that follow from an answer, one of which may be about the change that waited."""
        for ask in asks:
            if ask.look is LookKind.PLAIN and not ask.rest and self._waiting is not None:
                self._compare_with(ask, self._waiting)

    def on_answer(self, ask: WatchRequest, answers: Mapping[str, WatchAnswer]) -> None:
        """Adjust the pace to the answers of a request. Call it after the rule's `on_answer`."""
        if ask is self._compared:
            # Ignore a yes until its second look.
            doubted = {one.name for one in self._rule if one.belief is Belief.DOUBTED}
            seen_now = {name: one.seen and name not in doubted for name, one in answers.items()}
            same = bool(seen_now) and all(
                self._last_answers.get(name) is seen for name, seen in seen_now.items()
            )
            kept = {n: seen for n, seen in self._last_answers.items() if self._rule.get(n)}
            self._last_answers = kept | seen_now
            self._compared = None
            self.attention.answer_received(self._list.get_time(), same=same)
        elif ask.look is LookKind.SECOND and any(one.seen for one in answers.values()):
            self._last_answers |= dict.fromkeys(answers, True)
            self._sounds_apart = _SOUNDS_APART
            self.attention.retry()

    def on_failure(self, ask: WatchRequest) -> None:
        """Handle a request without an answer."""
        if ask is self._compared:
            self._compared, self._compared_dark = None, self._before_dark
            self.attention.request_failed(self._list.get_time())
        elif self._compared is None:
            # The request was a second look or about a settled scene, which may not change again.
            self.attention.answer_lost(self._list.get_time())

    def _compare_with(self, ask: WatchRequest, change: Change) -> None:
        """Compare later frames with the frame of a common request, even before its answer."""
        self.attention.request_sent(change, self._list.get_time(), ahead=True)
        self._compared, self._waiting = ask, None
        self._before_dark, self._compared_dark = self._compared_dark, self._dark

    # Lifecycle

    def new_stream(self) -> None:
        """Forget all frames compared before, since a new stream begins."""
        self.attention.forget()
        self._last = self._dark_since = self._waiting = None
        self._compared_dark = self._before_dark = False

    def retry(self) -> None:
        """End the pauses between requests."""
        self.attention.retry()
        self._sounds_apart = _SOUNDS_APART

    def forget(self) -> None:
        self._compared = self._waiting = self._last = self._sound_at = None
        self.attention.forget()


# Most frames at once: of the running request, of the waiting change, of second looks, and of noes that
# are being encoded. Beyond them the oldest is dropped.
MAX_FRAMES = 6
# Most bytes of the picture of a verified no; second looks do not use a larger one.
MAX_BEFORE_BYTES = 2_000_000


class WatchFrames:
    """Own the frames of requests. Frames of verified noes become filtered JPEGs, at most one per watch.

    Bounds of frames of a session's watches: 6 while requests about them wait or run, the oldest is
    dropped; one filtered JPEG of each watch's last no.
    """

    def __init__(self, context: SessionContext, on_drop: Callable[[], None]) -> None:
        """Start without frames. `on_drop`: called for each dropped frame."""
        self._services = context.services
        self._tasks = context.tasks
        self._on_drop = on_drop
        self._frames: dict[str, Frame] = {}
        # Filtered JPEGs at full resolution by frame id; None while the JPEG is being made
        self._before: dict[str, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._frames) + len(self._before)

    def keep(self, frame: Frame) -> None:
        """Store a frame, and drop the oldest ones beyond the limit."""
        self._frames.setdefault(frame.id, frame)
        while len(self._frames) > MAX_FRAMES:
            del self._frames[next(iter(self._frames))]
            self._on_drop()

    def get(self, id: str) -> Frame | None:
        return self._frames.get(id)

    def get_before(self, id: str | None) -> bytes | None:
        """Return the JPEG of a verified no; None if there is none."""
        return self._before.get(id) if id is not None else None

    def settle(self, asking: set[str], compared: set[str]) -> None:
        """Drop the frames that no request needs. `asking`: frames of requests; `compared`: frames of verified noes."""
        for id in self._before.keys() - compared:
            del self._before[id]
        for id in self._frames.keys() & (compared - self._before.keys()):
            self._before[id] = None
            self._tasks.spawn(self._encode(self._frames[id]), name="watch")
        for id in self._frames.keys() - asking:
            del self._frames[id]

    def forget(self) -> None:
        self._frames.clear()
        self._before.clear()

    async def _encode(self, frame: Frame) -> None:
        try:
            jpeg = await run_in_pool(
                self._services.prepare_pool, self._services.preparer.make_full, frame
            )
        except QwenCameraError:
            # The frame is withheld or too large: second looks do not use it.
            self._before.pop(frame.id, None)
            return
        if len(jpeg) > MAX_BEFORE_BYTES:
            self._before.pop(frame.id, None)
            self._on_drop()
        elif frame.id in self._before:
            self._before[frame.id] = jpeg

    async def crop(
        self, jpeg: bytes, frame: Frame, needs: Capabilities, region: Region | None
    ) -> Picture | None:
        """Return the picture of a verified no for the same region as a frame; None if the sizes differ."""
        make = self._services.preparer.make_again
        pool = self._services.prepare_pool
        return await run_in_pool(pool, make, jpeg, frame, needs, Detail.HIGH, region)
