"""Places: where something is that a question asks for, with a second look, and what is at a place that somebody
points at; and the second look at answers about safety and medicine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Answer questions about places, and find what is at one: by the built-in detector, for models that give no
    boxes, too.
    """
    from functools import partial

    from server.core.aio import in_pool
    from server.features.pointing.messages import Point
    from server.features.pointing.pointing import Pointing
    from server.features.pointing.twice import counter

    builtin, heavy = api.find("builtin"), api.pools.heavy
    things = builtin.things if builtin is not None else None
    find = partial(in_pool, heavy, things.boxes) if things is not None else None
    find_at = partial(in_pool, heavy, builtin.at) if builtin is not None else None
    read = partial(in_pool, heavy, builtin.read) if builtin is not None else None
    counter(api.metrics)
    api.session_part(lambda context: Pointing(context, find, find_at, read), Point)
