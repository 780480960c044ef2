"""OpenAI's chat interface on the live camera: requests read and checked, addresses of the camera's pictures, answers and
errors in its form.

Access is checked in `grants`, which it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api

NEEDS = ("grants",)


def register(api: Api) -> None:
    """Answer programs of OpenAI's interface about the camera that a person lets them look through."""
    from server.features.grants.guard import ProgramGuard
    from server.features.openai_api import errors
    from server.features.openai_api.program_chat import ProgramChats
    from server.features.openai_api.request import BoundedPool
    from server.features.openai_api.routes import add_routes
    from server.web.middleware import ErrorForm

    api.session_part(ProgramChats)
    api.error_form(ErrorForm(errors.PATHS, errors.error_body, errors.error_headers))
    add_routes(api.router(), api.require_service(ProgramGuard), BoundedPool(api.pools.add("read")))
