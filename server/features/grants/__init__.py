"""Access that people give to other programs: rights to look, to watch and to receive alerts, for a limited time.

A program connects over MCP here, or over OpenAI's chat interface in `openai_api`. A grant is for one
session; `programs.py` has those of one session, and checks the rights with each call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Add grants to each session, their routes, and the MCP server."""
    from server.features.grants.guard import MCP_ERRORS, SIGN_IN_ERRORS, McpEndpoint, ProgramGuard
    from server.features.grants.programs import SessionPrograms
    from server.features.grants.routes import add_camera_routes, add_operator_routes, add_routes
    from server.features.grants.settings import GrantSettings
    from server.shared.services import ListedCameras

    looks = GrantSettings.of(api.settings).program_looks_per_minute
    guard = ProgramGuard(api.services)
    api.add_session_part(lambda context: SessionPrograms(context, looks))
    add_routes(api.make_router(), api.services, guard)
    add_operator_routes(api.make_operator_router("/api/operator/programs"), api.sessions)
    if (cameras := api.get_service(ListedCameras)) is not None:
        add_camera_routes(api.make_operator_router("/api/operator/cameras"), cameras)
    api.add_error_form(MCP_ERRORS)
    api.add_error_form(SIGN_IN_ERRORS)
    mcp = McpEndpoint(guard)
    api.serve(mcp.run)
    api.add_routes(*mcp.routes())
    api.provide(ProgramGuard, guard)
