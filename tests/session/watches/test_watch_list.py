"""The person's time of day, by which watches have their hours."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.session.watches.watch_list import day_minute, zone_of


@pytest.mark.parametrize(
    ("at", "minute"),
    [
        # Berlin: summer time begins on March 29th and ends on October 25th.
        (datetime(2026, 3, 28, 20, 30, tzinfo=UTC), 21 * 60 + 30),
        (datetime(2026, 3, 29, 0, 59, tzinfo=UTC), 1 * 60 + 59),
        (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), 3 * 60),
        (datetime(2026, 3, 29, 20, 30, tzinfo=UTC), 22 * 60 + 30),
        (datetime(2026, 10, 25, 20, 30, tzinfo=UTC), 21 * 60 + 30),
    ],
)
def test_hours_follow_summer_time(at: datetime, minute: int) -> None:
    """A watch from 22 to 6 begins at ten in the evening on both days."""
    zone = zone_of("Europe/Berlin")
    assert zone is not None
    assert day_minute(at.timestamp(), zone, 60) == minute


@pytest.mark.parametrize("name", ["", "Europe", "Mars/Base", "../../etc/passwd", "/etc/passwd"])
def test_an_unknown_zone_leaves_the_offset(name: str) -> None:
    """Also where there is no database of zones."""
    assert zone_of(name) is None
    assert day_minute(23 * 3600.0, None, 120) == 60
