"""All the background work of one session: descriptions, watches, the recent past, and guidance."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from server.attention.attention import Attention
from server.camera.camera import Camera
from server.core.aio import TaskSet
from server.core.errors import QwenCameraError
from server.session.aiming import Aiming
from server.session.background.background import Background
from server.session.background.live_description import LiveDescription
from server.session.background.recalling import Recalling
from server.session.request.builder import RequestBuilder
from server.session.request.outbox import Outbox
from server.session.request.preferences import Preferences
from server.session.request.session_tools import SessionLimits, SessionTools
from server.session.watches.watching import Watching


class BackgroundWork:
    """The four pieces of background work, and what gives them frames. All methods are called on the event loop."""

    def __init__(
        self,
        id: str,
        *,
        limits: SessionLimits,
        camera: Camera,
        outbox: Outbox,
        requests: RequestBuilder,
        tools: SessionTools,
        tasks: TaskSet,
        send_error: Callable[[QwenCameraError, str | None], None],
        touch: Callable[[], None],
    ) -> None:
        """`send_error(error, id)` sends to the client, `touch` marks activity."""
        self._camera = camera
        self.describing = LiveDescription(
            id,
            attention=Attention(tools.scratch, sensitivity=limits.sensitivity),
            camera=camera,
            inference=tools.inference,
            outbox=outbox,
            requests=requests,
            metrics=tools.metrics,
            send_error=send_error,
            touch=touch,
        )
        self.watching = Watching(
            attention=Attention(tools.scratch, sensitivity=limits.sensitivity),
            camera=camera,
            outbox=outbox,
            requests=requests,
            tools=tools,
            spawn=lambda work: tasks.spawn(work, name="watch"),
            touch=touch,
        )
        self.recalling = Recalling(
            seconds=limits.recall_seconds,
            most_bytes=limits.recall_bytes,
            camera=camera,
            outbox=outbox,
            requests=requests,
            tools=tools,
        )
        self.aiming = Aiming(camera=camera, outbox=outbox, requests=requests, tools=tools)
        self._background = Background(
            camera,
            requests,
            limits.sample_rate,
            (self.watching, self.describing, self.recalling, self.aiming),
            alert=self.watching,
        )
        self.watching.on_wanted = self._background.changed

    def apply(self, was: Preferences, now: Preferences) -> None:
        """Apply the client's settings. `was`: those before."""
        if now.sensitivity is not None:
            self.describing.sensitive(now.sensitivity)
            self.watching.sensitive(now.sensitivity)
        self._background.changed()
        if was.recall != now.recall:
            self.recalling.switched()
        if was.guidance != now.guidance:
            self.aiming.switched()
        if was.describe and not now.describe:
            self.describing.stop()
        elif now.describe and not was.describe:
            self.describing.begin()
            # The first description is about the present view.
            self._camera.wake()

    def retry(self) -> None:
        """Ask soon, because what failed may succeed now."""
        self._background.retry()

    def listen(self, listening: bool) -> None:
        """Note whether a socket is open: without one only watches go on."""
        self._background.listen(listening)

    def stop(self) -> None:
        """Take no more frames, and free everything; `close` waits for what still runs."""
        self._background.close()

    async def close(self) -> None:
        """End the tasks; a failure skips nothing."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.recalling.close)
            stack.push_async_callback(self.aiming.close)
