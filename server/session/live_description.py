"""The running description: queues sampled frames and sends the answers to the client."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from server.camera.camera import Camera
from server.core.errors import Draining, NotConfirmed, QwenCameraError
from server.core.frames import Detail, Frame, Kind
from server.engines.prompts import DESCRIBE
from server.inference import Inference
from server.session.answers import AnswerSink
from server.session.outbox import Outbox
from server.session.request_builder import RequestBuilder, View


class LiveDescription:
    """One session's running description. `frame` is called with each sampled frame while it is on.

    At most one description waits and one runs; the newest frame replaces the one that waits.
    """

    def __init__(
        self,
        session_id: str,
        *,
        camera: Camera,
        inference: Inference,
        outbox: Outbox,
        requests: RequestBuilder,
        send_error: Callable[[QwenCameraError, str | None], None],
        touch: Callable[[], None],
    ) -> None:
        """`send_error(error, id)` sends to the client; `touch` marks activity."""
        self._session_id = session_id
        self._camera = camera
        self._inference = inference
        self._outbox = outbox
        self._requests = requests
        self._send_error = send_error
        self._touch = touch
        self._numbers = itertools.count(1)
        # The code of the last error, so that it is sent once; None after a success
        self._last_error: str | None = None

    def begin(self) -> None:
        self._last_error = None

    def stop(self) -> None:
        self._inference.cancel_background(self._session_id, "user")

    def frame(self, frame: Frame) -> None:
        """Queue a sampled frame, in place of one that still waits."""
        id = f"d{next(self._numbers)}"
        question = self._requests.preferences.prompt.strip() or DESCRIBE
        # The present scene: the camera may show another one when the request starts.
        view = View(frame, Detail.LOW, self._camera.scene)
        sink = AnswerSink(
            id=id,
            kind=Kind.DESCRIBE,
            outbox=self._outbox,
            began=time.monotonic(),
            on_end=lambda text, whole: self._ended(whole),
            on_error=lambda error: self._failed(error, id),
        )
        try:
            self._requests.submit(question, Kind.DESCRIBE, view, sink)
        except (Draining, NotConfirmed) as error:
            # It goes on by itself after the confirmation.
            self._failed(error, None)

    def _ended(self, whole: bool) -> None:
        if whole:
            self._last_error = None
            # Work for a client that listens keeps its session alive, as its own messages do.
            self._touch()

    def _failed(self, error: QwenCameraError, id: str | None) -> None:
        if error.code != self._last_error:
            self._last_error = error.code
            self._send_error(error, id)
