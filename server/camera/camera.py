"""One session's camera as the rest of the program sees it: the newest frame, its state, how it should send.

It lives as long as the session; connections come and go, each through a `Feed` of its own (feed.py).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from server.camera.feed import Feed
from server.camera.scene_watch import SceneWatch
from server.camera.sender import Sending
from server.core.aio import Pulse
from server.core.errors import CameraFrozen, CameraStalled, NoCamera
from server.core.frames import CameraState, Frame, Scene
from server.core.messages import Sender
from server.core.metrics import Metrics
from server.rtc.media.camera_state import CameraWatch
from server.rtc.media.capture_clock import SENT_AT_BOUND_S, captured_after, stamps_disagree
from server.vision.luma import SceneReader
from server.vision.sampler import Sampler

# How long a question waits for a frame captured after it, and after which time whoever asked hears that it waits.
FRAME_WAIT_SECONDS = 3.0
FRAME_TELL_SECONDS = 0.6
# A question that waited this long has its camera woken and a key frame asked for.
NUDGE_SECONDS = 0.15
# A frame rate that moved by more than this is told again.
FPS_STEP = 0.5
# How long `sharpest` looks on before it takes the best it saw.
HOLD_SECONDS = 0.4
WAKE_MS = 1500
KEY_FRAME_WAKE_MS = 1000
# An idle camera's first key frame is more than its bits of a second: of H.264 Chromium leaves out one to three pictures
# behind it, a gap of 0.9 to 1.8 s (measured; not of VP8). Awake it is paid off at once.
START_WAKE_MS = 1500


@dataclass(frozen=True, slots=True)
class Asked:
    """When a question was asked, by the clocks that matter."""

    # Monotonic seconds, at its arrival here.
    at: float
    # Seconds since the epoch by this machine's clock, at its arrival here.
    wall: float
    # Seconds since the epoch by the page's clock; None when the client did not say.
    sent: float | None


class Camera:
    """Owner of the newest frame. All methods belong to the event loop."""

    def __init__(
        self,
        *,
        sample_rate: float,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives monotonic seconds, the same as the event loop's."""
        self._metrics = metrics
        self._clock = clock
        # The connection that sends; None while there is none.
        self._feed: Feed | None = None
        # Of that connection, or of the last one
        self._watch = CameraWatch()
        self._newest: Frame | None = None
        # When there was no picture yet, or the last camera ended.
        self._dark_since = clock()
        self._arrivals = Pulse()
        self._sampler = Sampler(sample_rate)
        self._sending = Sending(sample_rate)
        self._scene = SceneWatch()
        # Whether somebody hears of the hints: without, nothing is looked at.
        self.watched = True
        # Frames a second as they were told last.
        self._told_fps = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._told: CameraState | None = None
        # Asks the sender for a key frame; None while nothing is connected.
        self.request_key_frame: Callable[[], None] | None = None
        # Called with each sampled frame, on the event loop; None while nobody wants them.
        self.on_sample: Callable[[Frame], None] | None = None
        # Called when something that `status` tells has changed.
        self.on_status: Callable[[], None] = lambda: None
        # Called when the sender should send otherwise; the argument says how long to wake for, in ms.
        self.on_sender: Callable[[int | None], None] = lambda wake_ms: None

    def new_feed(self, *, steered: bool = True) -> Feed:
        """For a connection that is being made; `open_feed` has it take over."""
        return Feed(self, self._metrics, steered=steered)

    def open_feed(self, feed: Feed | None = None) -> Feed:
        """A new connection takes over; what the last one still says is ignored."""
        self._feed = feed or self.new_feed()
        self._watch = self._feed.watch
        self._scene.forget()
        self._sending.forget_path()
        self._arm()
        self._state_changed()
        return self._feed

    @property
    def clock_doubted(self) -> bool:
        """Tell whether what the sender's clock says was not believed last."""
        return self._feed is not None and self._feed.clock_doubted

    @property
    def newest(self) -> Frame | None:
        return self._newest

    @property
    def scene(self) -> Scene | None:
        """What a frame of about the last second looked like; None before the first."""
        return self._scene.scene

    @property
    def feed(self) -> Feed | None:
        """The connection that sends; None while there is none."""
        return self._feed

    @property
    def offered(self) -> bool:
        """Whether a camera is connected or connecting."""
        return self._feed is not None

    @property
    def last_picture(self) -> float:
        """When the newest picture came; before the first and after the end, since when there is none."""
        return self._newest.arrived if self._newest is not None else self._dark_since

    @property
    def steered(self) -> bool:
        """Whether whoever sends it does as it is told; True also while nobody sends."""
        return self._feed is None or self._feed.steered

    def state(self) -> CameraState | None:
        """None while no camera was offered."""
        return self._watch.state(self._clock()) if self._told is not None else None

    def fps(self) -> float:
        return self._watch.fps(self._clock())

    def close(self) -> None:
        self._feed = None
        self._newest = None
        self._scene.forget()
        self.on_sample = None
        self.request_key_frame = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._arrivals.wake()

    # What the current feed says

    def take(self, frame: Frame) -> None:
        """A frame came."""
        first = self._newest is None or (frame.width, frame.height) != (
            self._newest.width,
            self._newest.height,
        )
        self._newest = frame
        if frame.clock_doubted:
            self._doubt_clock(True)
        self._watch.frame(self._clock(), frame.captured)
        self._arrivals.wake()
        if self._sampler.take(frame.captured):
            self._metrics.frames_sampled.inc()
            if self.watched and self._scene.due(frame.captured):
                self._look(frame)
            if self.on_sample is not None and self.state() is CameraState.LIVE:
                self.on_sample(frame)
        if first or self._told is not CameraState.LIVE:
            self._state_changed(force=first)
            self._arm()

    def connected(self) -> None:
        """The connection came about; the first frame may be waited for."""
        self._watch.connected(self._clock())
        if self._feed is not None and self._feed.codec == "H264":
            self.on_sender(START_WAKE_MS)
        self._arm()

    def end(self) -> None:
        """The connection has ended."""
        self._watch.end()
        self._dark_since = self._clock()
        self._feed = None
        self._newest = None
        self._scene.forget()
        self.request_key_frame = None
        self._arrivals.wake()
        self._state_changed()

    def rate_changed(self, cap: int, frame_rate: int) -> None:
        """The path carries so much now: bit/s for an encoder, and frames/s that fit into it."""
        self._sending.measured(cap, frame_rate)
        self.on_sender(None)

    def key_frame_asked(self) -> None:
        """A browser answers with its next captured frame, which an idle camera makes half a second later: wake it."""
        self.on_sender(KEY_FRAME_WAKE_MS)

    # Frames

    def _look(self, frame: Frame) -> None:
        hints = self._scene.look(frame)
        if hints or abs(self.fps() - self._told_fps) > FPS_STEP:
            self._tell_status()

    async def _next_frame(self, deadline: float) -> None:
        """Wait for any frame to come, the camera to end, or the deadline."""
        await self._arrivals.wait(deadline)

    async def frame_after(self, asked: Asked, on_wait: Callable[[], None] = lambda: None) -> Frame:
        """The first frame captured after the question, of a camera that is live. Safe to cancel.

        `on_wait` is called once when it takes longer than usual. Raises NoCamera, CameraFrozen or CameraStalled: after
        0.6 s where waiting does not help, when none comes within 3 s otherwise.
        """
        self._require()
        deadline = asked.at + FRAME_WAIT_SECONDS
        tell = asked.at + FRAME_TELL_SECONDS
        nudge = asked.at + NUDGE_SECONDS
        seen: Frame | None = None
        while True:
            frame = self._newest
            if (
                frame is not None
                and frame is not seen
                and self.state() is CameraState.LIVE
                and captured_after(
                    frame.captured_sender, frame.captured, asked.sent, asked.wall, asked.at
                )
            ):
                self._compare_stamps(frame, asked)
                return frame
            seen = frame
            now = self._clock()
            if now >= deadline:
                raise self._why_no_frame()
            if now >= tell:
                tell = math.inf
                if self._hopeless():
                    raise self._why_no_frame()
                on_wait()
                # Once more: the sender may have fallen asleep again, or missed the first one.
                self.nudge()
            if now >= nudge:
                nudge = math.inf
                self.nudge()
            await self._next_frame(min(nudge, tell, deadline))
            self._require()

    def _compare_stamps(self, frame: Frame, asked: Asked) -> None:
        stamp, sent = frame.captured_sender, asked.sent
        if stamp is not None and sent is not None and abs(sent - asked.wall) <= SENT_AT_BOUND_S:
            self._doubt_clock(stamps_disagree(stamp, frame.captured, sent, asked.at))

    def _doubt_clock(self, doubted: bool) -> None:
        if self._feed is not None and self._feed.clock_doubted is not doubted:
            self._feed.clock_doubted = doubted
            self._tell_status()

    async def sharpest(self) -> Frame:
        """The sharpest frame from now on, of at most 0.4 s; an early one that is sharp enough is taken at once.

        Raises like `frame_after`.
        """
        self._require()
        start = self._clock()
        tell = start + FRAME_TELL_SECONDS
        usual = self._scene.sharpness
        best: tuple[float, Frame] | None = None
        seen: Frame | None = None
        while True:
            frame = self._newest
            fresh = frame is not None and frame is not seen and start - frame.captured < 1.0
            if frame is not None and fresh and self.state() is CameraState.LIVE:
                seen = frame
                scene = SceneReader().read(frame.image, frame.captured)
                if best is None or scene.sharpness > best[0]:
                    best = (scene.sharpness, frame)
                if not scene.blurred and scene.sharpness >= 0.9 * usual:
                    return frame
            now = self._clock()
            deadline = start + (FRAME_WAIT_SECONDS if best is None else HOLD_SECONDS)
            if now >= deadline:
                if best is None:
                    raise self._why_no_frame()
                return best[1]
            if now >= tell and best is None:
                tell = math.inf
                if self._hopeless():
                    raise self._why_no_frame()
                self.nudge()
            await self._next_frame(min(deadline, tell) if best is None else deadline)
            self._require()

    def wake(self) -> None:
        """Somebody is about to want frames: the sender should be awake."""
        self.on_sender(WAKE_MS)

    def nudge(self) -> None:
        """Somebody waits: wake the sender, and ask for a key frame in case pictures are stuck behind a loss."""
        self.wake()
        if self.request_key_frame is not None and self._newest is None:
            self.request_key_frame()

    def _require(self) -> None:
        if self._feed is None:
            raise NoCamera(
                "No camera is connected to this session. Press Start Camera (or send an offer to "
                "/api/webrtc/offer), then ask again."
            )

    def _hopeless(self) -> bool:
        """Tell whether waiting longer for a frame does not help: its pictures are refused, or stand still."""
        return bool(self._refused()) or self._watch.stands_still(self._clock())

    def _refused(self) -> str:
        return self._feed.refusal if self._feed is not None else ""

    def _why_no_frame(self) -> CameraStalled | CameraFrozen:
        state = self._watch.state(self._clock())
        if state is CameraState.FROZEN:
            return CameraFrozen(
                "The camera is connected but its picture stands still: it delivers no new frames. Check that "
                "no other program uses it and that it is not covered or paused, or stop and start it."
            )
        if self._refused() == "format":
            return CameraStalled(
                "The camera sends H.264 that this server does not decode: only 4:2:0 with 8 bits (profiles baseline, main, "
                "extended and high). Choose one of these, or VP8, in the program that sends, and ask again."
            )
        if self._refused():
            return CameraStalled(
                "The camera's pictures are larger than this server has memory for now: up to 1920×1080 there always is. "
                "Send smaller ones, or ask again when other cameras have left."
            )
        return CameraStalled(
            f"No new picture came from the camera within {FRAME_WAIT_SECONDS:g} s, so this was not answered from an old "
            "one. Check the connection and ask again."
        )

    # State

    def _state_changed(self, *, force: bool = False) -> None:
        state = self._watch.state(self._clock())
        if force or state is not self._told:
            self._told = state
            self._tell_status()

    def _tell_status(self) -> None:
        self._told_fps = self.fps()
        self.on_status()

    def _arm(self) -> None:
        """One timer that looks again when time alone may change the state; frames do not touch it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        deadline = self._watch.deadline(now)
        if self._feed is not None:
            # Not before 50 ms from now: the deadline moves on with every frame.
            delay = 1.0 if deadline is None else max(0.05, deadline - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._state_changed()
        self._arm()

    # Sending

    def set_sample_rate(self, rate: float, *, working: bool) -> None:
        """`working`: background work runs at this rate, so the idle camera has to be a step ahead of it."""
        if self._sending.want(rate, working=working):
            self._sampler.set_rate(rate)
            self.on_sender(None)

    def sender(self, wake_ms: int | None = None) -> Sender:
        """How the page should send now."""
        return self._sending.message(wake_ms)
