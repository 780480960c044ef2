"""A session's background work: gives the parts that want them the camera's frames while a client listens."""

from __future__ import annotations

from collections.abc import Sequence

from server.core.frames import Frame
from server.media.camera import Camera
from server.session.part import BackgroundPart
from server.session.request.builder import RequestBuilder


class Background:
    """Passes the camera's sampled frames to the parts that want them, and sets its rate for them."""

    def __init__(
        self,
        camera: Camera,
        requests: RequestBuilder,
        sample_rate: float,
        parts: Sequence[BackgroundPart],
    ) -> None:
        """`sample_rate`: frames per second, when the client has chosen none."""
        self._camera = camera
        self._requests = requests
        self._sample_rate = sample_rate
        self._parts = parts
        self._connected = True
        # Those that get frames now, and those of them that get the frames between
        self._active: list[BackgroundPart] = []
        self._alert: list[BackgroundPart] = []
        camera.on_stream = self._new_stream

    def changed(self) -> None:
        """Apply the wishes of all parts. To be called when one of them or a setting has changed."""
        self._active = [
            part for part in self._parts if part.wanted and (self._connected or part.unattended)
        ]
        self._alert = [part for part in self._active if part.alert]
        chosen = self._requests.preferences.sample_rate
        self._camera.set_sample_rate(
            chosen or self._sample_rate,
            working=any(part.working for part in self._active),
            # A chosen rate is not exceeded.
            alert=chosen is None and bool(self._alert),
        )
        self._camera.on_sample = self._frame if self._active else None
        self._camera.on_between = self._between if self._alert else None

    @property
    def unattended(self) -> bool:
        """True while a part works on without a socket."""
        return any(part.wanted and part.unattended for part in self._parts)

    def set_connected(self, connected: bool) -> None:
        """Note whether a socket is open: without one only unattended parts get frames."""
        self._connected = connected
        self.changed()

    def retry(self) -> None:
        for part in self._parts:
            part.retry()

    def close(self) -> None:
        self._connected = False
        self._camera.on_sample = self._camera.on_between = None

    def _frame(self, frame: Frame) -> None:
        for part in list(self._active):
            if part in self._active:
                part.frame(frame)

    def _between(self, frame: Frame) -> None:
        for part in list(self._alert):
            part.between(frame)

    def _new_stream(self) -> None:
        for part in self._parts:
            part.new_stream()
