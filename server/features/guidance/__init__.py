"""Hints how to move the camera so that print or a face is wholly in its picture, without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api
    from server.features.builtin.reader import Finder

# It finds text and faces.
NEEDS = ("builtin",)


def register(api: Api) -> None:
    """Give hints in sessions that want them, where something finds text and faces."""
    from server.core.aio import in_pool
    from server.features.guidance.guidance import Guidance, Looker, counter
    from server.features.guidance.messages import GuidanceSettings

    finder: Finder = api.find("builtin")
    heavy = api.pools.heavy
    looker = Looker(lambda frame, thorough: in_pool(heavy, finder.find, frame.image, thorough))
    counter(api.metrics)
    api.session_part(lambda context: Guidance(context, looker), GuidanceSettings)
    api.offer(looker)
