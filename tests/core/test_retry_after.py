"""`Retry-After` of other servers: seconds, dates, and whatever else comes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from server.core.retry_after import parse_retry_after

# Sun, 06 Nov 1994 08:49:37 GMT
NOW = 784_111_777.0


@pytest.fixture(autouse=True)
def _far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("Sun, 06 Nov 1994 08:49:57 GMT", 20.0),
        ("Sunday, 06-Nov-94 08:49:57 GMT", 20.0),
        ("Sun Nov  6 08:49:57 1994", 20.0),
        ("Sun, 06 Nov 1994 08:49:57 +9999", None),
        ("Sun, 06 Nov 1994 07:00:00 GMT", 0.0),
        *((odd, None) for odd in ("", "-1", "nan", "inf", "soon", "²", "1e9", "9" * 99)),
        *((odd, None) for odd in ("Sun, 99 Nov 1994 08:49:37 GMT", "1 Jan 99999 00:00:00 GMT")),
    ],
)
def test_the_seconds_of_a_header(header: str, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds
