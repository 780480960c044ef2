"""The writing end of a camera: one connection's receiver reports frames, packets and drops to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from server.core.frames import Frame
from server.core.metrics import Metrics
from server.rtc.media.camera_state import CameraWatch
from server.vision.luma import unwritten


class FeedReader(Protocol):
    """The session's camera, which receives the calls of its current feed."""

    @property
    def feed(self) -> Feed | None: ...
    def take(self, frame: Frame) -> None: ...
    def connected(self) -> None: ...
    def rate_changed(self, cap: int, frame_rate: int) -> None: ...
    def key_frame_asked(self) -> None: ...
    def end(self) -> None: ...


class Feed:
    """One connection's state and its way to the camera. A replaced feed no longer reaches the camera."""

    def __init__(self, camera: FeedReader, metrics: Metrics, *, steered: bool = True) -> None:
        """`steered`: the page sends and follows our limits; False for a device with its own rate and clock."""
        self._camera = camera
        self._metrics = metrics
        self.steered = steered
        # The first codec of the answer, which a browser then sends; "" before the answer.
        self.codec = ""
        self.watch = CameraWatch()
        # Reason for which pictures after the newest were refused (see `refused`); "" for none.
        self.refusal = ""
        # True when frames' capture times contradict their arrival or a question's time; then our clock decides.
        self.clock_doubted = False
        # False until the first real picture; before it a decoder may return memory that was never written.
        self._seen = False

    @property
    def current(self) -> bool:
        return self._camera.feed is self

    def frame(self, frame: Frame) -> None:
        if not self.current:
            return
        self._metrics.frames_received.inc()
        if not self._seen and unwritten(frame.image):
            self.dropped("unwritten")
            return
        self._seen = True
        self.refusal = ""
        # Questions carry the page's clock, which is not this device's.
        if not self.steered:
            frame = replace(frame, captured_sender=None, clock_doubted=False)
        self._camera.take(frame)

    def connected(self) -> None:
        if self.current:
            self._camera.connected()

    def packet(self, now: float) -> None:
        self.watch.packet(now)

    def report(self, now: float) -> None:
        self.watch.report(now)

    def rate(self, cap: int, frame_rate: int) -> None:
        """Report a new path measurement: `cap` in bit/s for the encoder, `frame_rate` in frames/s."""
        if self.current:
            self._camera.rate_changed(cap, frame_rate)

    def dropped(self, reason: str, count: int = 1) -> None:
        self._metrics.frames_skipped.labels(reason).inc(count)

    def refused(self, reason: str) -> None:
        """Note that pictures were not decoded: no "memory" is left for their size, no camera may have their "size", or
        their "format" is unknown."""
        self.refusal = reason

    def key_frame_asked(self) -> None:
        if self.current:
            self._camera.key_frame_asked()

    def ended(self) -> None:
        if self.current:
            self._camera.end()
