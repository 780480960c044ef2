"""One connection's camera, as whoever reads its packets writes to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from server.core.frames import Frame
from server.core.metrics import Metrics
from server.rtc.media.camera_state import CameraWatch
from server.vision.luma import unwritten


class FeedReader(Protocol):
    """The session's camera, which takes what its current feed says."""

    @property
    def feed(self) -> Feed | None: ...
    def take(self, frame: Frame) -> None: ...
    def connected(self) -> None: ...
    def rate_changed(self, cap: int, frame_rate: int) -> None: ...
    def key_frame_asked(self) -> None: ...
    def end(self) -> None: ...


class Feed:
    """The writing end of a camera, and all that is known of one connection. A replaced feed changes nothing."""

    def __init__(self, camera: FeedReader, metrics: Metrics, *, steered: bool = True) -> None:
        """`steered`: the page sends, as it is told to; else another device does, at its own rate and by its own clock."""
        self._camera = camera
        self._metrics = metrics
        self.steered = steered
        # The codec that was answered first, which a browser sends; "" before.
        self.codec = ""
        self.watch = CameraWatch()
        # Why pictures were refused since the newest: "memory" for their size, or "format"; "" while none were.
        self.refusal = ""
        # Whether the stamps of frames contradict their arrivals, or a question's, so that this machine's clock decides.
        self.clock_doubted = False
        # Whether a picture was there; the first ones may be memory that nobody wrote.
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
        # Another device's clock says nothing about the page's, by which questions are sent.
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
        """What the path carries has changed: bit/s for an encoder, and frames/s that fit into it."""
        if self.current:
            self._camera.rate_changed(cap, frame_rate)

    def dropped(self, reason: str, count: int = 1) -> None:
        self._metrics.frames_skipped.labels(reason).inc(count)

    def refused(self, reason: str) -> None:
        """Pictures were not decoded: there is no "memory" for their size now, or they have another "format"."""
        self.refusal = reason

    def key_frame_asked(self) -> None:
        if self.current:
            self._camera.key_frame_asked()

    def ended(self) -> None:
        if self.current:
            self._camera.end()
