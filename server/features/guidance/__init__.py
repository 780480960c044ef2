"""Guidance without a model: hints on how to move the camera, leading to an object, and scanning the surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api

# `builtin` finds text, faces and objects.
NEEDS = ("builtin",)


def register(api: Api) -> None:
    """Add guidance to each session, with its counters."""
    from server.core.aio import run_in_pool
    from server.features.builtin.finder import Finder
    from server.features.guidance.guidance import Guidance, Looker, get_counter
    from server.features.guidance.leading import Seeker, get_look_counter
    from server.features.guidance.looks import with_cpu_time
    from server.features.guidance.messages import Goal, GuidanceSettings, Scan, TargetLost, WhereWas
    from server.features.guidance.scanning import KEPT_SECONDS, Scanner, get_scan_counter
    from server.shared.services import RecallDuration, TextLooker

    finder = api.require_service(Finder)
    heavy = api.pools.heavy
    looker = Looker(lambda frame, thorough: run_in_pool(heavy, finder.find, frame.image, thorough))
    seek, around = with_cpu_time(finder.seek), with_cpu_time(finder.find_around)
    seeker = Seeker(lambda *of: run_in_pool(heavy, seek, *of), things=finder.things is not None)
    keeping = api.get_service(RecallDuration)
    kept = keeping.seconds if keeping is not None else KEPT_SECONDS
    scanner = Scanner(lambda *of: run_in_pool(heavy, around, *of), kept=kept)
    get_counter(api.metrics)
    get_look_counter(api.metrics)
    get_scan_counter(api.metrics)
    api.add_session_part(
        lambda context: Guidance(context, looker, seeker, scanner),
        *(GuidanceSettings, Goal, TargetLost, Scan, WhereWas),
    )
    api.provide(TextLooker, looker)
