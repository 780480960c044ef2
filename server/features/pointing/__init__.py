"""Places in the picture: questions about where something is, about what is at a place that the person points at, and
second looks for answers about safety and medicine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Add places to each session. The built-in detector finds the boxes for models that return none."""
    from server.core.aio import run_in_pool
    from server.features.pointing.messages import Point
    from server.features.pointing.pointing import Pointing
    from server.features.pointing.twice import get_counter
    from server.shared.boxes import count_overshoots
    from server.shared.services import LanguageDetector, SceneReader

    scene, heavy = api.get_service(SceneReader), api.pools.heavy
    things = scene.things if scene is not None else None
    find = (lambda *of: run_in_pool(heavy, things.find_boxes, *of)) if things is not None else None
    find_at = (lambda *of: run_in_pool(heavy, scene.find_at, *of)) if scene is not None else None
    read = (lambda *of: run_in_pool(heavy, scene.read, *of)) if scene is not None else None
    detect = api.get_service(LanguageDetector)
    get_counter(api.metrics)
    count_overshoots(api.metrics, 0, 0)
    api.add_session_part(lambda context: Pointing(context, find, find_at, read, detect), Point)
