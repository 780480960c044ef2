"""Prefill: sends the picture ahead of its question, and reuses it while the scene shows the same.

Only for engines with a prefix cache, which compute the common beginning of two prompts once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Add prefill to each session, with its counter."""
    from server.features.prefill.prefill import Prefill, counter

    counter(api.metrics)
    api.session_part(Prefill)
