"""Prefill: the model reads the picture while somebody types or speaks, and a picture that stays true once alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Prepare pictures for engines that compute the same beginning of two prompts once."""
    from server.features.prefill.prefill import Prefill, counter

    counter(api.metrics)
    api.session_part(Prefill)
