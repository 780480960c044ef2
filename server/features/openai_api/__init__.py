"""OpenAI's chat interface for the live camera: parses requests and picture URLs, and formats answers and errors.

The feature `grants`, which this one needs, checks access.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api

NEEDS = ("grants",)


def register(api: Api) -> None:
    """Add the routes of OpenAI's interface, for programs that a person has given access."""
    from server.features.grants.guard import ProgramGuard
    from server.features.openai_api import errors
    from server.features.openai_api.program_chat import ProgramChats
    from server.features.openai_api.request import BoundedPool
    from server.features.openai_api.routes import add_routes
    from server.web.middleware import ErrorForm

    api.add_session_part(ProgramChats)
    api.add_error_form(ErrorForm(errors.PATHS, errors.make_error_body, errors.make_error_headers))
    add_routes(
        api.make_router(), api.require_service(ProgramGuard), BoundedPool(api.pools.add("read"))
    )
