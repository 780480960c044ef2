"""The token bucket."""

from __future__ import annotations

from server.core.aio import Bucket, take_all


def test_bucket_refills_with_time() -> None:
    """A burst at once, then a message for each 1/rate seconds; the level never passes the burst."""
    bucket = Bucket(rate=10, burst=3, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(0.1)
    assert not bucket.take(0.15)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.refused == 3


def test_one_that_refuses_costs_the_others_nothing() -> None:
    own, shared = Bucket(rate=1, burst=2, now=0.0), Bucket(rate=1, burst=1, now=0.0)
    assert take_all((own, shared), 0.0)
    assert not any(take_all((own, shared), 0.0) for _ in range(9))
    assert own.ready(0.0)
    assert own.take(0.0)
    assert not take_all((shared, own), 0.0)
