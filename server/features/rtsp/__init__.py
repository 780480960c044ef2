"""Fixed cameras, without a browser: their list, their connections, their sessions.

`worker/` reads and decodes one camera in its own process. Visitors' cameras are in `media/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Connect to the cameras of STANDING_CAMERAS, and add the operator's routes."""
    from server.features.rtsp.fixed_cameras import FixedCameras, add_routes
    from server.features.rtsp.settings import RtspSettings
    from server.shared.services import ListedCameras

    listed = RtspSettings.of(api.settings).read_listed_cameras()
    cameras = FixedCameras(
        listed, api.sessions, api.metrics, api.new_session_id, on_alert=api.alert
    )
    api.run("fixed cameras", start=cameras.start, close=cameras.close)
    api.on_engine_changed(cameras.on_engine_changed)
    add_routes(api, cameras)
    api.provide(ListedCameras, cameras)
