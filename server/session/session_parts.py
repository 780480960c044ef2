"""The parts of one session: built and joined, and closed in order. `session.py` gives them their work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from server.camera.camera import Camera
from server.core.aio import TaskSet, in_pool
from server.core.errors import QwenCameraError
from server.engines.builtin.intents import language_of
from server.session.background import Background
from server.session.cameras.cameras import Cameras
from server.session.cameras.stills import Stills
from server.session.feature_parts import FeatureParts, SessionFeatures
from server.session.listening.listening import Listening
from server.session.listening.recognising import Recognising
from server.session.part import SessionContext
from server.session.questions import Questions
from server.session.request.builder import RequestBuilder
from server.session.request.history import History
from server.session.request.outbox import Outbox
from server.session.request.picture_reuse import PictureReuse
from server.session.request.sent_pictures import SentPictures
from server.session.request.session_tools import SessionLimits, SessionTools
from server.session.speech.speaking import Speaking
from server.voice.line import VoiceLine


class SessionParts:
    """All that one session holds. It ends with `close`."""

    def __init__(
        self,
        id: str,
        limits: SessionLimits,
        tools: SessionTools,
        features: SessionFeatures,
        *,
        send_error: Callable[[QwenCameraError, str | None], None],
        touch: Callable[[], None],
        on_status: Callable[[], None],
    ) -> None:
        """`send_error(error, id)` sends to the client, `touch` marks activity.

        `on_status` is called when the camera's state changes, and after each hold.
        """
        self._id = id
        self._inference, self._tools = tools.inference, tools
        self.camera = Camera(sample_rate=limits.sample_rate, metrics=tools.metrics)
        self.outbox = Outbox(on_drop=tools.metrics.messages_dropped.inc)
        self.voice = VoiceLine()
        self.voice.on_dropped = lambda reason, count: tools.metrics.sound_dropped.labels(
            reason
        ).inc(count)
        self.history = History()
        self.requests = RequestBuilder(id, limits, tools, self.history)
        self.tasks = TaskSet("session")
        self.features = FeatureParts(id, features)
        self.background = Background(
            self.camera, self.requests, limits.sample_rate, self.features.background
        )
        context = SessionContext(
            id=id,
            limits=limits,
            tools=tools,
            camera=self.camera,
            outbox=self.outbox,
            requests=self.requests,
            history=self.history,
            tasks=self.tasks,
            touch=touch,
            send_error=send_error,
            report=on_status,
            held=lambda: self.questions.held_frame,
            behind=lambda: self.speaking.behind,
            part=self.features.find,
            wants_changed=self.background.changed,
            source=lambda: self.features.source,
            alerted=self.features.alerted,
        )
        self.cameras = Cameras(
            id,
            own=self.camera,
            sample_rate=limits.sample_rate,
            outbox=self.outbox,
            tools=tools,
        )
        self.reuse = PictureReuse(
            id, camera=self.camera, requests=self.requests, history=self.history, tools=tools
        )
        self.sent_pictures = SentPictures(
            lambda what, number: tools.metrics.sent_pictures.labels(what).inc(number)
        )
        self.speaking = Speaking(
            line=self.voice,
            voice=tools.voice,
            outbox=self.outbox,
            metrics=tools.metrics,
            tasks=self.tasks,
            language=self._language_of,
            allowed=lambda: self.requests.consent.voice_given,
        )
        self.questions = Questions(
            context,
            history=self.history,
            reuse=self.reuse,
            cameras=self.cameras,
            speaking=self.speaking,
            sent=self.sent_pictures,
            routes=self.features.routes,
        )
        self.listening = Listening(
            line=self.voice,
            camera=self.camera,
            outbox=self.outbox,
            questions=self.questions,
            reuse=self.reuse,
            tools=tools,
            send_error=send_error,
            touch=touch,
            on_noise=self.features.sounded,
            recognising=Recognising(tools, self.requests),
            talker=self.speaking,
        )
        self.requests.ear = self.listening
        self.features.make(context)
        self.stills = Stills(camera=self.camera, outbox=self.outbox, tools=tools)
        self.camera.on_status = on_status

    def socket_opened(self) -> None:
        """Begin the work that needs a listener."""
        self.camera.watched = True
        self.stills.listen(True)
        self.cameras.listen(True)
        self.features.set_connected(True)
        self.background.set_connected(True)
        self.listening.attend(True)

    def socket_closed(self) -> None:
        """Stop the work that needs a listener; history and settings stay."""
        self.speaking.drop()
        self.questions.cancel(None, "socket_closed")
        self.listening.attend(False)
        self._inference.cancel_session(self._id, "socket_closed")
        self.features.set_connected(False)
        self.background.set_connected(False)
        # What goes on has to know when it is too dark.
        self.camera.watched = self.background.unattended
        self.stills.listen(False)
        self.cameras.listen(False)

    async def _language_of(self, answer: str) -> str | None:
        """Return the language that the visitor chose, else that of the text: in a thread, as the first
        look makes the patterns of all languages.
        """
        chosen = self.requests.preferences.language
        return chosen or await in_pool(self._tools.prepare_pool, language_of, answer)

    async def close(self, reason: str) -> None:
        """Stop and forget everything; a failure skips nothing. Safe to call more than once."""
        async with AsyncExitStack() as stack:
            # Callbacks run last to first.
            stack.callback(self.outbox.close)
            stack.push_async_callback(asyncio.sleep, 0)
            stack.push_async_callback(self.tasks.close)
            stack.push_async_callback(self.stills.close)
            stack.push_async_callback(self.cameras.close)
            stack.push_async_callback(self.listening.close)
            stack.push_async_callback(self.reuse.close)
            stack.callback(self._forget)
            stack.callback(self.voice.close)
            stack.callback(self.speaking.close)
            stack.callback(self.camera.close)
            stack.callback(self._inference.cancel_session, self._id, reason)
            stack.callback(self.questions.cancel, None, reason)
            stack.push_async_callback(self.features.close)
            stack.callback(self.features.stop)
            stack.callback(self.background.close)

    def _forget(self) -> None:
        self.questions.forget()
        self.history.clear()
        self.sent_pictures.clear()
