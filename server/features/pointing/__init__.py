"""Questions about where something is: the places in the answer, and a second look at a part of the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Answer questions about places."""
    from server.features.pointing.pointing import Pointing

    api.session_part(Pointing)
