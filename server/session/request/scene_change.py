"""Build the message about one comparison of the scene."""

from __future__ import annotations

from typing import Literal

from server.attention.gate import Change
from server.core import messages as wire


def scene_change(
    change: Change, about: Literal["description", "watches"], *, asks: bool
) -> wire.SceneChange:
    """Build `change`. `asks`: the frame goes to the engine."""
    region = change.region
    return wire.SceneChange(
        about=about,
        value=round(change.value, 2),
        why=change.why,
        region=(
            [round(side, 3) for side in (region.left, region.top, region.right, region.bottom)]
            if region is not None
            else None
        ),
        busy=round(change.busy, 3),
        asks=asks,
    )
