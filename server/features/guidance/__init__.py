"""Hints how to move the camera, the way to a thing, and what is around a person who turns, without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api
    from server.features.builtin.reader import Finder

# It finds text, faces and things.
NEEDS = ("builtin",)


def register(api: Api) -> None:
    """Give hints, and lead to things, in sessions that want it, where something finds them."""
    import time
    from collections.abc import Sequence
    from functools import partial

    from server.core.aio import in_pool
    from server.features.builtin.seeking import Sought, Spotted
    from server.features.builtin.surroundings import Around, Extra
    from server.features.guidance.guidance import Guidance, Looker, counter
    from server.features.guidance.leading import Bgr, Seeker, look_counter
    from server.features.guidance.messages import (
        Goal,
        GuidanceSettings,
        Scan,
        WhereWas,
    )
    from server.features.guidance.scanning import Scanner, scan_counter
    from server.media.picture.grounding import Box

    finder: Finder = api.find("builtin")
    heavy = api.pools.heavy

    def timed(bgr: Bgr, wish: Sought, known: Box | None) -> tuple[list[Spotted], float]:
        began = time.thread_time()
        return finder.seek(bgr, wish, known), time.thread_time() - began

    def around(bgr: Bgr, known: Sequence[Box], extra: Extra) -> tuple[list[Around], float]:
        began = time.thread_time()
        return finder.around(bgr, known, extra), time.thread_time() - began

    looker = Looker(lambda frame, thorough: in_pool(heavy, finder.find, frame.image, thorough))
    seeker = Seeker(partial(in_pool, heavy, timed), things=finder.things is not None)
    scanner = Scanner(partial(in_pool, heavy, around))
    counter(api.metrics)
    look_counter(api.metrics)
    scan_counter(api.metrics)
    api.session_part(
        lambda context: Guidance(context, looker, seeker, scanner),
        *(GuidanceSettings, Goal, Scan, WhereWas),
    )
    api.offer(looker)
