"""OpenAI's Realtime protocol on the live camera: a conversation over a WebSocket or a call, in text and sound.

The feature `grants` checks access; `openai_api` turns a conversation into a question about the camera.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api

NEEDS = ("grants", "openai_api")


def register(api: Api) -> None:
    """Register the WebSocket endpoint of the Realtime protocol, for programs with access to a camera, and its calls."""
    from server.features.grants.guard import ProgramGuard
    from server.features.openai_api.request import BoundedPool
    from server.features.realtime.calls import PATH, Calls
    from server.features.realtime.connection import ConnectionTools
    from server.features.realtime.endpoint import RealtimeEndpoint
    from server.shared.services import Recogniser, Voices

    tools = ConnectionTools(
        BoundedPool(api.pools.add("realtime")), api.get_service(Recogniser), api.get_service(Voices)
    )
    endpoint = RealtimeEndpoint(api.require_service(ProgramGuard), tools, api.metrics)
    api.add_routes(*endpoint.routes())
    calls = Calls(api.services, tools)
    calls.add_routes(api.make_router())
    api.accept_form(PATH)
    api.run("calls", close=calls.close)
