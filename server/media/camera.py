"""A session's camera: its newest frame, its state, and the limits for its sender.

It lives as long as the session. Each of its connections has its own `CameraConnection`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from server.core.aio import Broadcast, Timer
from server.core.errors import CameraFrozen, CameraStalled, NoCamera
from server.core.frames import CameraState, Frame, Scene
from server.core.messages import Sender
from server.core.metrics import Metrics
from server.media.path_rate import make_sender_plan
from server.media.picture.planes import Luma, SceneAnalyser, is_uninitialised
from server.media.video.camera_state import QUIET_PERIODS, CameraStateTracker

# Maximum wait of a question for a frame captured after it; after the second time the client is notified.
FRAME_WAIT_SECONDS = 3.0
FRAME_NOTICE_SECONDS = 0.6
# Wait after which the camera is woken and a key frame is requested
REQUEST_FRAME_SECONDS = 0.15
# Maximum difference between the delays of a frame and of a question, both by the sender's clock. If
# it is larger, the two times are of different clocks, or one is wrong.
STAMPS_APART_S = 0.5
# A question's `sent_at` is ignored if it is further than this from its arrival.
SENT_AT_BOUND_S = 2.0
# Without the sender's clock, the estimated capture must be this much later than the question's
# arrival, to cover the error of the estimate (measured bias: 2.3 ms).
LOCAL_MARGIN_S = 0.010
# A change of the frame rate by more than this is reported.
FPS_STEP = 0.5
# Minimum seconds of capture time between two scene measurements; each takes 0.4 ms.
ANALYSIS_SECONDS = 1.0
# Time for which `wait_for_sharpest` compares frames
HOLD_SECONDS = 0.4
WAKE_MS = 1500
KEY_FRAME_WAKE_MS = 1000
# An idle camera's first key frame takes more than one second's bits. With H.264 Chromium then skips one to three
# pictures, a gap of 0.9 to 1.8 s (measured; not with VP8). At the awake bit rate there is no gap.
START_WAKE_MS = 1500
# bit/s and frames/s until the path was measured with the first frames
UNMEASURED = (300_000, 8)


@dataclass(frozen=True, slots=True)
class QuestionTime:
    """The time of a question by three clocks."""

    # Arrival at the server, monotonic seconds
    at: float
    # Arrival at the server, seconds since the epoch
    wall: float
    # Time of sending by the page's clock, seconds since the epoch. Its sender reports use the same
    # clock, so the offset between the machines does not matter. None if the client sent no time
    sent: float | None = None

    @classmethod
    def now(cls) -> QuestionTime:
        """Return the time of a question asked now, without the page's clock."""
        return cls(at=time.monotonic(), wall=time.time())

    def precedes(self, frame: Frame) -> bool:
        """Return True if a frame was captured after the question was sent.

        The sender's clock decides. If it is unknown or not trusted, the local estimate must be 10 ms after the
        arrival. A local estimate before the arrival always returns False.
        """
        stamp, sent = frame.captured_sender, self.sent
        if stamp is None or sent is None or self.do_stamps_disagree(frame) is not False:
            return frame.captured >= self.at + LOCAL_MARGIN_S
        return stamp >= sent and frame.captured >= self.at

    def do_stamps_disagree(self, frame: Frame) -> bool | None:
        """Return True if a frame's delay exceeds the question's delay by more than the path can explain.

        The opposite proves nothing, because the question may have been delayed. Return None if the two cannot be
        compared: without a timestamp, or with one more than 2 s from the arrival.
        """
        stamp, sent = frame.captured_sender, self.sent
        if stamp is None or sent is None or not abs(sent - self.wall) <= SENT_AT_BOUND_S:
            return None
        return frame.captured - stamp - (self.at - sent) > STAMPS_APART_S


class Camera:
    """The owner of the newest frame. All methods run on the event loop.

    Bounds of the newest frame, and of the last new one: one; a newer one replaces it. Of small luma pictures, from
    which motion is measured: 8 of 160×90; the oldest is dropped, and all with the connection.
    """

    def __init__(
        self,
        *,
        sample_rate: float,
        metrics: Metrics,
        dark_since: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a camera without a connection.

        `clock` returns the loop's monotonic seconds. `dark_since`: the time without a picture began; None: now.
        """
        self._metrics = metrics
        self._clock = clock
        # Error text while no camera is connected
        self.absence = (
            "No camera is connected to this session. Press Start Camera (or send an offer to "
            "/api/webrtc/offer), then ask again."
        )
        # The current connection; None without one
        self.feed: CameraConnection | None = None
        # State of the current or last connection
        self._tracker = CameraStateTracker()
        self.newest: Frame | None = None
        # The newest frame that is not a repeat. Repeats of a frozen camera have later capture times.
        self.last_new: Frame | None = None
        # Monotonic time of the creation, or of the end of the last connection with frames
        self._dark_since = clock() if dark_since is None else dark_since
        self._arrivals = Broadcast()
        self._sampler = Sampler(sample_rate)
        self._limits = SenderLimits(sample_rate)
        self._scenes = SceneMeter()
        # The camera is a shared screen or window, whose black picture is not dark.
        self.screen = False
        # False while no client shows the hints (dark, blurred)
        self.measures_scenes = True
        self._reports = StatusReports(self)
        # Requests a key frame from the sender; None while no camera is connected
        self._request_key_frame: Callable[[], None] | None = None
        # Listeners, called in order. For each sampled frame
        self.on_sample: list[Callable[[Frame], None]] = []
        # For each frame between them
        self.on_between: list[Callable[[Frame], None]] = []
        # When another connection begins to send
        self.on_stream: list[Callable[[], None]] = []
        # When a field of the `status` message changes
        self.on_status: list[Callable[[], None]] = []
        # When the sender's limits change; the argument is the time to stay awake in ms, or None.
        self.on_sender: list[Callable[[int | None], None]] = []

    def new_connection(self, *, sender_controlled: bool = True) -> CameraConnection:
        """Create the feed of a new connection; `open_connection` makes it the current one."""
        return CameraConnection(self, self._metrics, sender_controlled=sender_controlled)

    def open_connection(
        self,
        feed: CameraConnection | None = None,
        request_key_frame: Callable[[], None] | None = None,
    ) -> CameraConnection:
        """Make `feed`, or a new one, the current feed. Later calls of the replaced feed are ignored."""
        self.feed = feed or self.new_connection()
        self._request_key_frame = request_key_frame
        self._tracker = self.feed.tracker
        self._scenes = SceneMeter()
        # A new connection may use another path.
        self._limits.path = UNMEASURED
        self._reports.arm()
        for listener in self.on_stream:
            listener()
        self._reports.check()
        return self.feed

    @property
    def clock_doubted(self) -> bool:
        """True if the sender's capture times contradicted this machine's clock at the last comparison."""
        return self.feed is not None and self.feed.clock_doubted

    @property
    def offered(self) -> bool:
        """True while a camera is connected or connecting."""
        return self.feed is not None

    @property
    def last_picture(self) -> float:
        """Arrival of the newest picture, monotonic seconds; before the first, the time since when there is none."""
        return self.newest.arrived if self.newest is not None else self._dark_since

    @property
    def sender_controlled(self) -> bool:
        """True if the sender obeys the limits (the page does, a WHIP device does not), or nothing sends."""
        return self.feed is None or self.feed.sender_controlled

    @property
    def _sends_repeats(self) -> bool:
        """True if waking the sender yields only repeats of its last picture: a slow source that obeys the limits."""
        return self.sender_controlled and self._tracker.is_slow

    def state(self) -> CameraState | None:
        """Return the current state; None before the first offer of a camera."""
        return self._tracker.state(self._clock()) if self._reports.state is not None else None

    def fps(self) -> float:
        return self._tracker.fps(self._clock())

    def close(self) -> None:
        self._reset()
        self.on_sample.clear()
        self.on_between.clear()
        self._reports.cancel()

    def _reset(self) -> None:
        """Reset the connection, its frames and its scene."""
        self.feed = None
        self.newest = self.last_new = None
        self._scenes = SceneMeter()
        self._request_key_frame = None
        self._arrivals.wake()

    # Called by the current feed

    def take(self, frame: Frame) -> None:
        """Store a frame as the newest, wake waiting questions, and sample the frame if due."""
        first = self.newest is None or (frame.width, frame.height) != (
            self.newest.width,
            self.newest.height,
        )
        self.newest = frame
        if frame.clock_doubted:
            self._doubt_clock(True)
        slow = self._sends_repeats
        if self._tracker.frame(self._clock(), frame.captured, frame.arrived):
            self.last_new = frame
        if self._sends_repeats is not slow:
            self.sender_changed()
        self._arrivals.wake()
        sampled = self._sampler.take(frame.captured)
        listeners = self.on_sample if sampled else self.on_between
        if listeners and self.state() is CameraState.LIVE:
            for listener in tuple(listeners):
                listener(frame)
        if sampled:
            self._metrics.frames_sampled.inc()
            self.measure(frame)
        if first or self._reports.state is not CameraState.LIVE:
            self._reports.check(force=first)
            self._reports.arm()

    def connection_made(self) -> None:
        """Expect the first frame, because the connection is established."""
        self._tracker.connection_made(self._clock())
        if self.feed is not None and self.feed.codec == "H264":
            self.sender_changed(START_WAKE_MS)
        self._reports.arm()

    def end(self) -> None:
        """Reset the ended connection's frames and scene, and report the new state."""
        self._tracker.end()
        if self.newest is not None:
            self._dark_since = self._clock()
        self._reset()
        self._reports.check()

    def sender_changed(self, wake_ms: int | None = None) -> None:
        """Notify the listeners that the sender's limits changed, or that it must stay awake for `wake_ms`."""
        if self.sender_controlled:
            now = self._clock()
            self._tracker.note_rate_change(now, now + (wake_ms or 0) / 1000)
        for listener in self.on_sender:
            listener(wake_ms)

    def rate_changed(self, cap: int, frame_rate: int) -> None:
        """Store a new path measurement: `cap` in bit/s for the encoder, `frame_rate` in frames/s."""
        self._limits.path = cap, frame_rate
        self.sender_changed()

    # Frames

    @property
    def scene(self) -> Scene | None:
        """Scene of a frame of about the last second; None before the first one."""
        return self._scenes.scene

    def measure(self, frame: Frame, small: Luma | None = None) -> None:
        """Measure the scene of a frame, if due. `small`: its small luma picture, if already available."""
        if self.measures_scenes and self._scenes.due(frame):
            self.get_scene(frame, small)

    def get_scene(self, frame: Frame, small: Luma | None = None) -> Scene:
        """Return the scene of the newest frame; measure it unless it was measured last."""
        scene, news = self._scenes.read(frame, small)
        if news or (news is not None and abs(self.fps() - self._reports.fps) > FPS_STEP):
            self._reports.send()
        return scene

    async def wait_for_frame(
        self, asked: QuestionTime, on_wait: Callable[[], None] = lambda: None
    ) -> Frame:
        """Wait for the first frame that a live camera captured after the question. Safe to cancel.

        Call `on_wait` once after 0.6 s. Raises NoCamera, CameraFrozen or CameraStalled: after 0.6 s if waiting longer
        cannot help, else if no such frame arrives within 3 s, or within two periods of a slow source.
        """
        return await FrameWait(self, asked.at, REQUEST_FRAME_SECONDS).after(asked, on_wait)

    def _doubt_clock(self, doubted: bool) -> None:
        if self.feed is not None and self.feed.clock_doubted is not doubted:
            self.feed.clock_doubted = doubted
            self._reports.send()

    async def wait_for_sharpest(self) -> Frame:
        """Return the sharpest frame of the next 0.4 s, or immediately the first one that is as sharp as usual.

        Raises the errors of `wait_for_frame`.
        """
        return await FrameWait(self, self._clock()).wait_for_sharpest()

    def wake(self) -> None:
        """Wake the sender for `WAKE_MS`, because a question is expected."""
        if not self._sends_repeats:
            self.sender_changed(WAKE_MS)

    def request_frame(self) -> None:
        """Wake the sender; before the first picture also request a key frame, in case packets were lost."""
        self.wake()
        if self._request_key_frame is not None and self.newest is None:
            self._request_key_frame()

    # Sending

    def set_sample_rate(self, rate: float, *, working: bool, alert: bool = False) -> None:
        """Sample `rate` frames per second. `working`: background work needs them, so an idle sender sends twice as many.

        `alert`: it also needs the frames between them, so an idle sender sends them in quick succession.
        """
        wanted = rate, working, alert
        if self._limits.wanted != wanted:
            self._limits.wanted = wanted
            self._sampler.set_rate(rate)
            self.sender_changed()

    def sender(self, wake_ms: int | None = None) -> Sender:
        """Return the message with the sender's current limits."""
        return self._limits.message(wake_ms, repeats=self._sends_repeats)


class SenderLimits:
    """The basis of the sender's limits: the needed frames, and the path."""

    def __init__(self, sample_rate: float) -> None:
        # Sampled frames per second, and whether background work needs them, and those between them
        self.wanted = (sample_rate, False, False)
        # Last measurement of the path
        self.path = UNMEASURED

    def message(self, wake_ms: int | None, *, repeats: bool) -> Sender:
        """Return the message. `repeats`: waking would yield a repeat of the last picture, as if it were new."""
        rate, working, alert = self.wanted
        # Twice as many while background work runs, so that samples are recent.
        idle = math.ceil(rate * (2 if working else 1))
        plan = make_sender_plan(*self.path, idle, alert=alert, wake_ms=wake_ms)
        if repeats:
            return plan.model_copy(update={"awake": plan.idle, "ramp": [], "settle": []})
        return plan


class SceneMeter:
    """Measures the scenes of one stream; frames of other streams are not comparable."""

    def __init__(self) -> None:
        self.scene: Scene | None = None
        # Capture time of the last measured frame
        self._measured = -math.inf
        self._reader = SceneAnalyser()

    def due(self, frame: Frame) -> bool:
        return abs(frame.captured - self._measured) >= ANALYSIS_SECONDS

    def read(self, frame: Frame, small: Luma | None) -> tuple[Scene, bool | None]:
        """Return a frame's scene, and whether its hints changed; None if it was measured before."""
        before = self.scene
        if before is not None and frame.captured == self._measured:
            return before, None
        self._measured = frame.captured
        self.scene = scene = self._reader.read(frame.image, frame.captured, small)
        return scene, before is None or _get_hints(before) != _get_hints(scene)


class StatusReports:
    """Calls a camera's `on_status` listeners, also if the state changes because no frame arrives."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        # Last reported state; None before the first camera
        self.state: CameraState | None = None
        # Frames per second in the last report
        self.fps = 0.0
        self._timer = Timer()

    def check(self, *, force: bool = False) -> None:
        """Report the state if it has changed."""
        state = self._camera._tracker.state(self._camera._clock())
        if force or state is not self.state:
            self.state = state
            self.send()

    def send(self) -> None:
        self.fps = self._camera.fps()
        for listener in self._camera.on_status:
            listener()

    def arm(self) -> None:
        """Set the timer that checks the state when it may change without a frame; frames do not reset it."""
        self._timer.cancel()
        now = self._camera._clock()
        deadline = self._camera._tracker.deadline(now)
        if self._camera.feed is not None:
            # At least 50 ms ahead, because the deadline moves with every frame.
            delay = 1.0 if deadline == math.inf else max(0.05, deadline - now)
            self._timer.set(delay, self._on_timer)

    def _on_timer(self) -> None:
        self.check()
        self.arm()

    def cancel(self) -> None:
        self._timer.cancel()


# Error texts for a missing frame, by the reason in `CameraConnection.pictures_refused`; "" without a reason
_NO_FRAME = {
    "format": "The camera sends H.264 that this server cannot decode: only 8-bit 4:2:0 without slice groups, unordered "
    "slices and data partitions is supported. Choose constrained baseline, main or high, or VP8, in the sending "
    "program, and ask again.",
    "size": "The camera's pictures are too large: at most 3840×2160 pixels are allowed, with at most two reference "
    "pictures of H.264 at that size. Send smaller pictures, and ask again.",
    "": "No new picture arrived from the camera in time, and old pictures are not used. Check the connection and ask "
    "again.",
}


class FrameWait:
    """A wait for a frame of a camera. It wakes the sender, and gives up at a deadline."""

    def __init__(self, camera: Camera, start: float, request_seconds: float = math.inf) -> None:
        """Start to wait. `request_seconds`: time from the start until the sender is first woken."""
        self._camera = camera
        self._start = start
        self._notice = start + FRAME_NOTICE_SECONDS
        self._request_at = start + request_seconds
        self._seen: Frame | None = None
        self._require()

    async def after(self, asked: QuestionTime, on_wait: Callable[[], None]) -> Frame:
        """See `Camera.wait_for_frame`."""
        camera, tracker = self._camera, self._camera._tracker
        # Two periods: a polled camera's picture has the time of its request, and one may be under way.
        deadline = asked.at + max(FRAME_WAIT_SECONDS, 2 * tracker.quiet / QUIET_PERIODS)
        while True:
            frame = self._new()
            if (
                frame is not None
                and not tracker.may_repeat(frame.arrived)
                and asked.precedes(frame)
            ):
                disagree = asked.do_stamps_disagree(frame)
                if disagree is not None:
                    camera._doubt_clock(disagree)
                return frame
            await self._wait_for_more(camera._clock(), deadline, on_wait)

    async def wait_for_sharpest(self) -> Frame:
        """See `Camera.wait_for_sharpest`."""
        camera = self._camera
        usual = camera.scene.sharpness if camera.scene is not None else 0.0
        best: tuple[float, Frame] | None = None
        while True:
            frame = self._new()
            if frame is not None and self._start - frame.captured < 1.0:
                scene = SceneAnalyser().read(frame.image, frame.captured)
                if best is None or scene.sharpness > best[0]:
                    best = (scene.sharpness, frame)
                if not scene.blurred and scene.sharpness >= 0.9 * usual:
                    return frame
            now = camera._clock()
            if best is not None and now >= self._start + HOLD_SECONDS:
                return best[1]
            wait = FRAME_WAIT_SECONDS if best is None else HOLD_SECONDS
            await self._wait_for_more(now, self._start + wait, lambda: None)

    def _new(self) -> Frame | None:
        """Return the newest frame of a live camera, once."""
        frame, seen = self._camera.newest, self._seen
        self._seen = frame
        return frame if frame is not seen and self._camera.state() is CameraState.LIVE else None

    async def _wait_for_more(
        self, now: float, deadline: float, on_wait: Callable[[], None]
    ) -> None:
        """Wait for another frame. Raises the errors of `Camera.wait_for_frame`."""
        camera = self._camera
        if now >= deadline:
            raise self._make_error()
        if now >= self._notice:
            self._notice = math.inf
            # Pictures are refused, or the camera is frozen: waiting longer cannot help.
            if self._refusal or camera._tracker.is_frozen(now):
                raise self._make_error()
            on_wait()
            # Again, because the sender may be idle again, or the first request was lost.
            camera.request_frame()
        if now >= self._request_at:
            self._request_at = math.inf
            camera.request_frame()
        await camera._arrivals.wait(min(self._request_at, self._notice, deadline))
        self._require()

    def _require(self) -> None:
        if self._camera.feed is None:
            raise NoCamera(self._camera.absence)

    @property
    def _refusal(self) -> str:
        return self._camera.feed.refusal if self._camera.feed is not None else ""

    def _make_error(self) -> CameraStalled | CameraFrozen:
        tracker, now = self._camera._tracker, self._camera._clock()
        if not self._refusal and tracker.state(now) is CameraState.FROZEN:
            return CameraFrozen(
                f"The camera is connected, but its picture is frozen: no new one for {tracker.get_still_seconds(now):.0f} s. "
                "Check that no other program uses it and that it is not covered or paused, or stop and start it."
            )
        return CameraStalled(_NO_FRAME[self._refusal])


def _get_hints(scene: Scene) -> tuple[bool, bool, bool]:
    return scene.dark, scene.blurred, scene.black


# Fractions of the period: a frame may be early by the first, so that jitter loses no frame, and must follow the last one
# by the second, so that catching up is not a burst.
_EARLY = 0.25
_CLOSEST = 0.5


class Sampler:
    """Selects frames on a grid of 1/rate seconds, without drift or bursts; for one camera and one caller.

    It takes every frame of a camera slower than the rate.
    """

    def __init__(self, rate: float) -> None:
        self._period = 1 / rate
        # Capture time of the last frame taken; None before the first
        self._last: float | None = None
        # Grid point of the next frame, in capture time
        self._due = 0.0

    def set_rate(self, rate: float) -> None:
        """Set the rate in frames per second, from the last taken frame on."""
        period = 1 / rate
        if period != self._period:
            self._period = period
            if self._last is not None:
                self._due = self._last + period

    def take(self, captured: float) -> bool:
        """Return True if the frame captured at this time (seconds, always by the same clock) should be taken."""
        period = self._period
        if self._last is None or self._last - captured > period:
            # The first frame, or a new stream with another clock.
            self._due = captured
        elif captured < self._due - _EARLY * period or captured < self._last + _CLOSEST * period:
            return False
        elif captured - self._due >= period:
            # Late by a whole period: the camera is slower than the rate, or was paused. Skip the missed grid points.
            self._due = captured
        self._last = captured
        self._due += period
        return True


class CameraConnection:
    """The state of a connection, and the sink of its receiver. A replaced feed no longer affects the camera."""

    def __init__(self, camera: Camera, metrics: Metrics, *, sender_controlled: bool = True) -> None:
        """Create the feed. `sender_controlled`: False for a device that has its own rate and clock, unlike the page."""
        self._camera = camera
        self._metrics = metrics
        self.sender_controlled = sender_controlled
        # First codec of the answer, which browsers send; "" before the answer
        self.codec = ""
        self.tracker = CameraStateTracker()
        # Reason why pictures after the newest were refused (see `pictures_refused`); "" for none
        self.refusal = ""
        # Capture times contradict the arrival of frames or the time of a question; then this machine's clock is used.
        self.clock_doubted = False
        # False until the first real picture; before it a decoder may return uninitialised memory.
        self._seen = False

    @property
    def current(self) -> bool:
        return self._camera.feed is self

    def frame(self, frame: Frame) -> None:
        if not self.current:
            return
        self._metrics.frames_received.inc()
        if not self._seen and is_uninitialised(frame.image):
            self.frames_dropped("unwritten")
            return
        self._seen = True
        self.refusal = ""
        # Questions have times of the page's clock, not of this device's.
        if not self.sender_controlled:
            frame = replace(frame, captured_sender=None, clock_doubted=False)
        self._camera.take(frame)

    def connection_made(self) -> None:
        if self.current:
            self._camera.connection_made()

    def packet_received(self, now: float) -> None:
        self.tracker.packet_received(now)

    def rate(self, cap: int, frame_rate: int) -> None:
        """Report a path measurement: `cap` in bit/s for the encoder, `frame_rate` in frames/s."""
        if self.current:
            self._camera.rate_changed(cap, frame_rate)

    def frames_dropped(self, reason: str, count: int = 1) -> None:
        self._metrics.frames_skipped.labels(reason).inc(count)

    def pictures_refused(self, reason: str) -> None:
        """Note that pictures were not decoded because of their "size" or "format"."""
        self.refusal = reason

    def key_frame_requested(self) -> None:
        """Wake the camera after a key frame request, because an idle one captures its next frame only after 0.5 s."""
        if self.current:
            self._camera.sender_changed(KEY_FRAME_WAKE_MS)

    def stream_ended(self) -> None:
        if self.current:
            self._camera.end()
