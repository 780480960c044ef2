"""The token bucket."""

from __future__ import annotations

from server.core.token_bucket import Bucket


def test_bucket_refills_with_time() -> None:
    """A burst at once, then a message for each 1/rate seconds; the level never passes the burst."""
    bucket = Bucket(rate=10, burst=3, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(0.1)
    assert not bucket.take(0.15)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.refused == 3
