"""Other devices as cameras: WHIP, further cameras that join by a link, stills for the page, and questions
about several cameras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Add the routes for WHIP and for joining cameras, and the sessions' part."""
    from server.core.aio import TaskSet
    from server.features.cameras.cameras import (
        OWN,
        AdditionalCameras,
        make_connection_key,
        register_stills_counter,
    )
    from server.features.cameras.messages import CameraSettings
    from server.features.cameras.routes import CameraGuard, add_cameras, add_whip

    services, sessions = api.services, api.sessions
    tasks = TaskSet("cameras")

    def notify_ended(session_id: str, camera: str) -> None:
        slot = make_connection_key(session_id, camera)
        tasks.spawn(services.webrtc.disconnect(slot), name="disconnect")
        # The own camera uses the session's slot, which is kept.
        if camera != OWN:
            tasks.spawn(sessions.replicas.leave(slot), name="free slot")

    register_stills_counter(api.metrics)
    api.add_session_part(lambda context: AdditionalCameras(context, notify_ended), CameraSettings)
    guard = CameraGuard(services)
    add_cameras(api.make_router(), services, guard)
    add_whip(api.make_router(), services, guard)
    api.run("further cameras", close=tasks.close, last=True)
