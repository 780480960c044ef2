"""The message about one comparison of the scene."""

from __future__ import annotations

from server.shared.attention.attention import Change, Region, Why, scene_change


def test_a_change_as_the_client_gets_it() -> None:
    """Rounded, with the sides of what changed; without a place where nothing changed."""
    region = Region(0.12345, 0.25, 0.5, 1.0)
    found = scene_change(Change(Why.OBJECT, 1.2345, region, 0.01234), "watches", asks=True)
    assert found.model_dump(exclude_none=True) == {
        "type": "change",
        "about": "watches",
        "value": 1.23,
        "why": "object",
        "region": [0.123, 0.25, 0.5, 1.0],
        "busy": 0.012,
        "asks": True,
    }
    calm = scene_change(Change(Why.SAME, 0.2, None, 0.0), "description", asks=False)
    assert (calm.about, calm.region, calm.asks) == ("description", None, False)
