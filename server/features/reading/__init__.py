"""A text that is read over as many pictures as it takes, with what helps to read on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Read texts to their ends."""
    from server.features.reading.reading import ReadingPart
    from server.shared.services import TextLooker

    looker = api.get_service(TextLooker)
    api.session_part(lambda context: ReadingPart(context, looker))
