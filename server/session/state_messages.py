"""Build the messages about a session, its camera and its engine."""

from __future__ import annotations

from server.camera.camera import Camera
from server.core import messages as wire
from server.core.frames import Detail
from server.engines.base import Engine
from server.session.request.builder import RequestBuilder
from server.session.request.session_tools import SessionLimits, SessionTools


def ready(
    *,
    session_id: str,
    began_at: float,
    engine: Engine,
    limits: SessionLimits,
    tools: SessionTools,
    requests: RequestBuilder,
    held: bool,
) -> wire.Ready:
    """Build `ready`. `began_at`: the session's start, in seconds since the epoch."""
    status = engine.status
    capabilities = status.capabilities
    return wire.Ready(
        session_id=session_id,
        began_at=round(began_at * 1000),
        engine=engine.name,
        model=status.model_name,
        engine_state=status.state,
        engine_detail=status.visitor_detail,
        operator_detail=status.detail,
        capabilities=wire.EngineCapabilities(
            images=capabilities.images,
            video=capabilities.video,
            audio_in=capabilities.audio_in,
            speech_out=capabilities.speech_out,
            grounding=capabilities.grounding,
            json_schema=capabilities.json_schema,
            streaming=capabilities.streaming,
        ),
        limits=wire.Limits(
            max_tokens=requests.max_tokens(capabilities),
            context_length=capabilities.context_length,
            visual_tokens=tools.preparer.budget(capabilities, Detail.LOW),
            visual_tokens_high=tools.preparer.budget(capabilities, Detail.HIGH),
            session_timeout=limits.timeout,
        ),
        sensitivity=requests.preferences.sensitivity or limits.sensitivity,
        held=held,
        elsewhere=status.elsewhere,
        confirmed=requests.consent.given(engine),
        voice=tools.voice is not None and tools.voice.ready,
        voice_elsewhere=tools.voice.elsewhere if tools.voice is not None else "",
        speak=requests.preferences.speak,
        recogniser=tools.recogniser is not None and tools.recogniser.ready,
        sound_elsewhere=requests.consent.sound_elsewhere,
        microphone=tools.speech_model is not None,
    )


def status(*, camera: Camera, engine: Engine, queue_depth: int, held: bool) -> wire.Status:
    frame, scene = camera.newest, camera.scene
    engine_status = engine.status
    return wire.Status(
        camera=camera.state(),
        source=("page" if camera.steered else "whip") if camera.offered else None,
        dark=scene.dark if scene is not None else None,
        blurred=scene.blurred if scene is not None else None,
        black=scene.black if scene is not None else None,
        width=frame.width if frame is not None else None,
        height=frame.height if frame is not None else None,
        fps=round(camera.fps(), 1) if frame is not None else None,
        clock_doubted=camera.clock_doubted,
        held=held,
        queue_depth=queue_depth,
        engine=engine.name,
        engine_state=engine_status.state,
        engine_detail=engine_status.visitor_detail,
        operator_detail=engine_status.detail,
    )
