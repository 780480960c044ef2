"""Questions about where something is: the places in the answer, and a second look at a part of the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Answer questions about places; the built-in detector finds boxes for models that give none."""
    from functools import partial

    from server.core.aio import in_pool
    from server.features.pointing.pointing import Pointing

    builtin = api.find("builtin")
    things = builtin.things if builtin is not None else None
    find = partial(in_pool, api.pools.heavy, things.boxes) if things is not None else None
    api.session_part(lambda context: Pointing(context, find))
