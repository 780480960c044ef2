"""Prefill: sends the picture to the engine before its question, and reuses it while the scene is unchanged.

It is only for engines with a prefix cache, which process the common beginning of two prompts once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Add prefill to each session, with its counter."""
    from server.features.prefill.prefill import Prefill, get_counter

    get_counter(api.metrics)
    api.add_session_part(Prefill)
