"""Messages with the state of a session to its client: `ready`, `status`, `sender`."""

from __future__ import annotations

from dataclasses import replace

from server.core import messages as wire
from server.core.frames import Detail, Role
from server.session.part import FeatureParts, SessionFacts


class StateReporter:
    """Sends the state of one session.

    Bounds of the last status: one, to detect changes.
    """

    def __init__(self, session: SessionFacts, features: FeatureParts, began_at: float) -> None:
        """`began_at`: seconds since the epoch."""
        self._session, self._features, self._began_at = session, features, began_at
        # The last status; None before the first one on a socket
        self._last: wire.Status | None = None

    def greet(self) -> None:
        """Send the first messages of a socket, and again when the engine changes."""
        self._session.outbox.put(self._make_ready())
        self.send_sender(None)
        self._last = None
        self.report()
        for part in self._features:
            part.greet()

    def report(self) -> None:
        """Send the status: after changes of the camera's state, and after each hold."""
        before, self._last = self._last, self._make_status()
        self._session.outbox.put(self._last)
        measured = self._last.model_dump(include={"fps", "queue_depth"})
        if before is None or before.model_copy(update=measured) != self._last:
            for part in self._features:
                part.on_reported()

    def _make_ready(self) -> wire.Ready:
        session = self._session
        services, requests, consent = session.services, session.requests, session.requests.consent
        engine = services.current_engine()
        status, capabilities = engine.status, engine.status.capabilities
        others = {role: services.current_engine(role) for role in Role}
        return wire.Ready(
            session_id=session.id,
            began_at=round(self._began_at * 1000),
            engine=engine.name,
            model=status.model_name,
            engine_state=status.state,
            engine_detail=status.visitor_detail,
            operator_detail=status.detail,
            stands_in=services.fallback_notice(),
            roles={
                role: wire.RoleEngine(engine=one.name, model=one.status.model_name)
                for role, one in others.items()
                if one is not engine
            },
            capabilities=wire.EngineCapabilities.model_validate(
                replace(capabilities, tools=capabilities.calls_tools), from_attributes=True
            ),
            limits=wire.Limits(
                max_tokens=requests.max_tokens(capabilities),
                context_length=capabilities.context_length,
                visual_tokens=services.preparer.budget(capabilities, Detail.LOW),
                visual_tokens_high=services.preparer.budget(capabilities, Detail.HIGH),
                session_timeout=session.limits.timeout,
            ),
            sensitivity=requests.preferences.sensitivity or session.limits.sensitivity,
            held=session.held_frame is not None,
            elsewhere=consent.elsewhere,
            confirmed=consent.for_pictures,
            features=self._features.ready(),
        )

    def _make_status(self) -> wire.Status:
        camera = self._session.camera
        frame, scene = camera.newest, camera.scene
        engine = self._session.services.current_engine()
        return wire.Status(
            camera=camera.state(),
            source=("page" if camera.sender_controlled else "whip") if camera.offered else None,
            dark=scene.dark if scene is not None else None,
            blurred=scene.blurred if scene is not None else None,
            black=scene.black if scene is not None else None,
            width=frame.width if frame is not None else None,
            height=frame.height if frame is not None else None,
            fps=round(camera.fps(), 1) if frame is not None else None,
            clock_doubted=camera.clock_doubted,
            held=self._session.held_frame is not None,
            queue_depth=sum(self._session.services.inference.count_waiting().values()),
            engine=engine.name,
            engine_state=engine.status.state,
            engine_detail=engine.status.visitor_detail,
            operator_detail=engine.status.detail,
        )

    def send_sender(self, wake_ms: int | None) -> None:
        if not self._session.camera.sender_controlled:
            return  # Another device chooses its own rate.
        self._session.outbox.put(self._session.camera.sender(wake_ms))
