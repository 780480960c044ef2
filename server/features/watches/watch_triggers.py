"""The frames that a session's watches ask about: of a change, for a new watch, of a settled scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from server.core.aio import in_pool
from server.core.errors import QwenCameraError
from server.core.frames import Detail, Frame, Picture, Region, Role
from server.features.watches.rule import Belief, LookKind, WatchRequest
from server.features.watches.watch_list import WatchRegistry, changed_box
from server.media.picture.planes import is_dark, levels
from server.models.base import Capabilities
from server.session.part import SessionContext
from server.shared.attention.attention import WHOLE, Attention, Change, Why
from server.shared.watch_answers import WatchAnswer

# A scene without a change for this long after a request is settled.
_SETTLED_SECONDS = 0.6
# Looks that are dark for so long: the light went out. A hand that passes is gone by then.
_DARK_SECONDS = 0.9
# The strength of such a change, which is one of the whole picture
_OUT = 3.0
_NOTHING = Change(Why.SAME, 0.0, None, 0.0)
# Seconds from the beginning of a sound to the frame that is asked about, so that the request has the
# sound; and until nobody asks about it any more
_SOUND_SECONDS = 0.8
_SOUND_FORGOTTEN = 5.0
# Seconds between two requests about sounds: at first, and at most. Doubled with each one, since a
# television or a talk would use up the requests that a watch has for a day.
_SOUNDS_APART = 3.0
_MOST_APART = 600.0


class WatchTriggers:
    """Decides about each frame whether a request begins. Belongs to the event loop.

    In the dark a gate sees noise, and takes what became of the light for another exposure. So the
    light that goes out or comes on is a change of its own, and no other one counts until it is on.

    `look` or `glance`, then with its change `ask` or `ask_early`. Each request has to be `answered`
    or `failed`.
    """

    def __init__(
        self, context: SessionContext, watch_list: WatchRegistry, frames: WatchFrames
    ) -> None:
        self._services = context.services
        self.attention = Attention(context.services.scratch, sensitivity=context.limits.sensitivity)
        self._allowance = context.requests.allowance
        self._list = watch_list
        self._rule = watch_list.rule
        self._frames = frames
        # The request whose look the gate compares with
        self._compared: WatchRequest | None = None
        # The answers of the last common request
        self._last_answers: dict[str, bool] = {}
        # The capture time of the newest frame that was asked about
        self._asked_at = 0.0
        # The frame of the last look, if it showed no change
        self._last: Frame | None = None
        # The beginning of a sound that nobody was asked about; None without one
        self._sound_at: float | None = None
        # The capture time of the newest frame that was asked about for its sound, the seconds until
        # the next one, and the beginning of the newest sound
        self._sound_asked = 0.0
        self._sounds_apart = _SOUNDS_APART
        self._noise_at = 0.0
        # The change that waits for the end of the common request
        self._waiting: Change | None = None
        # The capture time of the first dark look; None while looks are light
        self._dark_since: float | None = None
        # Looks are compared with a dark frame; the same of the frame before that
        self._compared_dark = self._before_dark = False

    # Frames

    def look(self, frame: Frame) -> Change | None:
        """Compare a sampled frame; None soon after the last look."""
        change = self.attention.look(frame)
        return self._adjust_for_light(frame, change) if change is not None else None

    def early_check(self, frame: Frame) -> Change | None:
        """Look at a frame between two samples, if it clearly differs; else None."""
        change = self.attention.look_early(frame)
        return self._adjust_for_light(frame, change) if change is not None else None

    def _adjust_for_light(self, frame: Frame, change: Change) -> Change:
        """Return the change of a look with regard to the light."""
        since = self._dark_since
        dark = is_dark(self.attention.small, *levels(frame.image), before=since is not None)
        self._dark_since = (frame.captured if since is None else since) if dark else None
        if dark and (since is None or frame.captured - since < _DARK_SECONDS):
            return _NOTHING
        if change.why is not Why.FIRST and dark is not self._compared_dark:
            return Change(Why.SCENE, _OUT, WHOLE, 0.0)
        return _NOTHING if dark and change.why is not Why.FIRST else change

    def ask(self, frame: Frame, change: Change) -> WatchRequest | None:
        """Return the request that a look at a frame calls for; None without one."""
        self._list.seen_at = frame.captured
        if self._dark and not self._compared_dark and not change.changed:
            # It may be dark for a moment only.
            self._last = None
            return None
        now, minute = self._list.now(), self._list.minute()
        ask: WatchRequest | None = None
        may = self._allowance.left(now)
        if may and (self.attention.due(change, now) or self._sound_due(frame)):
            ask = self._request_for_change(frame, change)
        elif may and self._rule.has_unasked(now, minute):
            self._frames.keep(frame)
            ask = self._rule.request_first(frame.id, now, minute)
        elif may and (calm := self._settled_frame(change, frame)) is not None:
            self._frames.keep(calm)
            ask = self._rule.on_settled(calm.id, None, now, minute)
            if ask is None and self._rule.repeat_due(now):
                ask = self._again(frame, now, minute)
        self._last = None if change.changed else frame
        return self._begin(ask, frame, change)

    def _again(self, frame: Frame, now: float, minute: int) -> WatchRequest | None:
        """Return one more request about what came and stays; None once the scene is as before."""
        if not self.attention.differs_from_before(frame):
            self._rule.cancel_repeats()
            return None
        self._frames.keep(frame)
        return self._rule.request_repeat(frame.id, now, minute)

    def on_sound_event(self, at: float) -> None:
        """Note that a sound began; forgotten where the engine cannot hear."""
        if at - self._noise_at >= self._sounds_apart:
            # It was quiet before.
            self._sounds_apart = _SOUNDS_APART
        self._noise_at = at
        if self._services.current_engine(Role.WATCHES).status.capabilities.audio_in:
            self._sound_at = at

    def _sound_due(self, frame: Frame) -> bool:
        """Return whether this is the frame to ask about for a sound, and take note of that."""
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
        """Return the request about a frame between two samples; None without one."""
        self._list.seen_at = frame.captured
        now = self._list.now()
        if self._dark or not self._allowance.left(now) or not self.attention.due(change, now):
            return None
        self._last = None
        return self._begin(self._request_for_change(frame, change), frame, change)

    def _request_for_change(self, frame: Frame, change: Change) -> WatchRequest | None:
        """Return the request about a change; None when it waits, or when none is wanted."""
        self._frames.keep(frame)
        return self._rule.on_change(
            frame.id,
            changed_box(change, frame),
            self._list.now(),
            self._list.minute(),
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

    def _settled_frame(self, change: Change, frame: Frame) -> Frame | None:
        """Return the frame of a scene that does not change; None without one.

        It is the frame of the look before: some changes are found in the second look only.
        """
        if change.changed or frame.captured - self._asked_at < _SETTLED_SECONDS:
            return None
        return self._last

    # Answers

    def follow(self, asks: Sequence[WatchRequest]) -> None:
        """Take the requests that follow from an answer: one is about the change that waited."""
        for ask in asks:
            if ask.look is LookKind.PLAIN and not ask.rest and self._waiting is not None:
                self._compare_with(ask, self._waiting)

    def on_answer(self, ask: WatchRequest, answers: Mapping[str, WatchAnswer]) -> None:
        """Set the pace by the answers of a request, which the rule has taken already."""
        if ask is self._compared:
            # A yes says nothing new before its second look.
            doubted = {one.name for one in self._rule if one.belief is Belief.DOUBTED}
            seen_now = {name: one.seen and name not in doubted for name, one in answers.items()}
            same = bool(seen_now) and all(
                self._last_answers.get(name) is seen for name, seen in seen_now.items()
            )
            kept = {n: seen for n, seen in self._last_answers.items() if self._rule.get(n)}
            self._last_answers = kept | seen_now
            self._compared = None
            self.attention.answer_received(self._list.now(), same=same)
        elif ask.look is LookKind.SECOND and any(one.seen for one in answers.values()):
            self._last_answers |= dict.fromkeys(answers, True)
            self._sounds_apart = _SOUNDS_APART
            self.attention.retry()

    def on_failure(self, ask: WatchRequest) -> None:
        """Note a request without an answer."""
        if ask is self._compared:
            self._compared, self._compared_dark = None, self._before_dark
            self.attention.request_failed(self._list.now())
        elif self._compared is None:
            # A second look, or one at the settled scene, which may never change again
            self.attention.answer_lost(self._list.now())

    def _compare_with(self, ask: WatchRequest, change: Change) -> None:
        """Compare later frames with that of a common request, from now on and not from its answer."""
        self.attention.request_sent(change, self._list.now(), ahead=True)
        self._compared, self._waiting = ask, None
        self._before_dark, self._compared_dark = self._compared_dark, self._dark

    # Its life

    def new_stream(self) -> None:
        """Compare with nothing from before, because another connection sends."""
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


# Frames at once: of the request that runs, of the change that waits, of second looks, and of noes
# that are being encoded. More are dropped, the oldest first.
MAX_FRAMES = 6
# A larger picture of a verified no is not kept; second looks do without it.
MAX_BEFORE_BYTES = 2_000_000


class WatchFrames:
    """Owns the frames. Those of verified noes are kept as filtered JPEGs, one a watch at most.

    Bounds of frames of a session's watches: 6 while requests about them wait or run, the oldest
    is dropped; of each watch's last no one filtered JPEG.
    """

    def __init__(self, context: SessionContext, on_drop: Callable[[], None]) -> None:
        """`on_drop` counts a frame that was dropped."""
        self._services = context.services
        self._tasks = context.tasks
        self._on_drop = on_drop
        self._frames: dict[str, Frame] = {}
        # Filtered JPEGs of frames at full resolution; None while one is made
        self._before: dict[str, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._frames) + len(self._before)

    def keep(self, frame: Frame) -> None:
        self._frames.setdefault(frame.id, frame)
        while len(self._frames) > MAX_FRAMES:
            del self._frames[next(iter(self._frames))]
            self._on_drop()

    def get(self, id: str) -> Frame | None:
        return self._frames.get(id)

    def before(self, id: str | None) -> bytes | None:
        """Return a verified no as a JPEG; None without one."""
        return self._before.get(id) if id is not None else None

    def settle(self, asking: set[str], compared: set[str]) -> None:
        """Free what no request needs. `compared`: the verified noes."""
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
            jpeg = await in_pool(self._services.prepare_pool, self._services.preparer.full, frame)
        except QwenCameraError:
            # A filter withheld it, or it is too large: second looks do without.
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
        """Make the picture of a verified no that shows the same part as a frame; None for another size."""
        make = self._services.preparer.again
        pool = self._services.prepare_pool
        return await in_pool(pool, make, jpeg, frame, needs, Detail.HIGH, region)
