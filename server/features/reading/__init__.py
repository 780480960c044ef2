"""Reading aloud: reads a text from several pictures, and gives hints on how to move the camera."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Add the route `read` to each session."""
    from server.features.reading.reading import ReadingPart
    from server.shared.services import TextLooker

    looker = api.get_service(TextLooker)
    api.add_session_part(lambda context: ReadingPart(context, looker))
