"""A session's background work: the parts that want sampled frames while a client listens."""

from __future__ import annotations

from typing import Protocol

from server.camera.camera import Camera
from server.core.frames import Frame
from server.session.request.builder import RequestBuilder


class BackgroundPart(Protocol):
    """One piece of background work. All methods are called on the event loop."""

    @property
    def wanted(self) -> bool:
        """True while it wants frames."""
        ...

    @property
    def working(self) -> bool:
        """True while it needs them as often as FRAME_SAMPLE_RATE, so that the camera idles less."""
        ...

    @property
    def unattended(self) -> bool:
        """True when it works on while no socket is open."""
        ...

    def frame(self, frame: Frame) -> None:
        """Take a sampled frame of a live camera."""
        ...

    def listen(self, listening: bool) -> None:
        """Note whether a socket is open."""
        ...

    def new_stream(self) -> None:
        """Note that another connection sends: its frames are not comparable with earlier ones."""
        ...

    def retry(self) -> None:
        """Ask soon, because what failed may succeed now."""
        ...

    def forget(self) -> None:
        """Free everything; the session ends."""
        ...


class AlertPart(BackgroundPart, Protocol):
    """A part that waits for a change, and takes the frames between the sampled ones as well."""

    @property
    def alert(self) -> bool:
        """True while it wants them soon after each other."""
        ...

    def between(self, frame: Frame) -> None:
        """Take a frame of a live camera that was not sampled."""
        ...


class Background:
    """Passes the camera's sampled frames to the parts that want them, and sets its rate for them."""

    def __init__(
        self,
        camera: Camera,
        requests: RequestBuilder,
        sample_rate: float,
        parts: tuple[BackgroundPart, ...],
        alert: AlertPart | None = None,
    ) -> None:
        """`sample_rate`: frames per second, when the client has chosen none.

        `alert`: the one of the parts that wants the frames between, too.
        """
        self._camera = camera
        self._requests = requests
        self._sample_rate = sample_rate
        self._parts = parts
        self._alert = alert
        self._listening = True
        # Those that get frames now
        self._active: list[BackgroundPart] = []
        camera.on_stream = self._new_stream

    def changed(self) -> None:
        """Apply the wishes of all parts. To be called when one of them or a setting has changed."""
        self._active = [
            part for part in self._parts if part.wanted and (self._listening or part.unattended)
        ]
        alert = self._alert if self._alert in self._active else None
        chosen = self._requests.preferences.sample_rate
        self._camera.set_sample_rate(
            chosen or self._sample_rate,
            working=any(part.working for part in self._active),
            # A chosen rate is not exceeded.
            alert=chosen is None and alert is not None and alert.alert,
        )
        self._camera.on_sample = self._frame if self._active else None
        self._camera.on_between = alert.between if alert is not None else None

    def listen(self, listening: bool) -> None:
        """Note whether a socket is open: without one only unattended parts ask."""
        self._listening = listening
        for part in self._parts:
            part.listen(listening)
        self.changed()

    def retry(self) -> None:
        for part in self._parts:
            part.retry()

    def close(self) -> None:
        self._listening = False
        self._camera.on_sample = self._camera.on_between = None
        for part in self._parts:
            part.forget()

    def _frame(self, frame: Frame) -> None:
        for part in self._parts:
            if part in self._active:
                part.frame(frame)

    def _new_stream(self) -> None:
        for part in self._parts:
            part.new_stream()
