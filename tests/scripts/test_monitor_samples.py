"""Prometheus text as numbers: quantiles, what came between two readings, sums over labels."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from scripts.monitoring.reading import Samples


def reading(*values: float, registry: CollectorRegistry | None = None) -> Samples:
    registry = registry or CollectorRegistry()
    seconds = Histogram("x_seconds", "x", ("kind",), registry=registry, buckets=(0.1, 0.2, 1.0))
    for value in values:
        seconds.labels("chat").observe(value)
    return Samples.parse(generate_latest(registry).decode())


def test_a_quantile_is_where_promql_has_it() -> None:
    """Linear within its bucket."""
    found = reading(*[0.05] * 10, *[0.15] * 10).histogram("x_seconds")
    assert found is not None
    assert found.count == 20
    assert found.quantile(0.25) == pytest.approx(0.05)
    assert found.quantile(0.5) == pytest.approx(0.1)
    assert found.quantile(0.95) == pytest.approx(0.19)


def test_beyond_the_last_bucket_nothing_is_known() -> None:
    """Infinite, with the last bound at hand; NaN without any value."""
    found = reading(0.05, 5.0, 5.0).histogram("x_seconds", kind="chat")
    assert found is not None
    assert math.isinf(found.quantile(0.95))
    assert found.largest == 1.0
    nothing = found.since(found)
    assert nothing.count == 0
    assert math.isnan(nothing.quantile(0.5))
    assert reading().histogram("x_seconds", kind="chat") is None
    assert found.since(None) is found


def test_between_two_readings_and_over_a_restart() -> None:
    """Only what came in between counts; when counts have fallen, everything is new."""
    before = reading(*[0.05] * 10).histogram("x_seconds")
    after = reading(*[0.05] * 10, 0.15, 0.15).histogram("x_seconds")
    assert before is not None
    assert after is not None
    lately = after.since(before)
    assert lately.count == 2
    assert 0.1 < lately.quantile(0.5) <= 0.2
    assert before.since(after) is before


def test_sums_over_labels_and_names_of_several_releases() -> None:
    """The first name that is there counts; the others are not added."""
    samples = Samples.parse(
        "# TYPE vllm:running gauge\n"
        'vllm:running{engine="0"} 2\nvllm:running{engine="1"} 3\n'
        "# TYPE old_name gauge\nold_name 7\n"
    )
    assert samples.total("vllm:running") == 5
    assert samples.total("new_name", "vllm:running", "old_name") == 5
    assert samples.largest("vllm:running") == 3
    assert samples.total("vllm:running", engine="1") == 3
    assert samples.total("nothing") is None
    assert samples.by("vllm:running", "engine") == {"0": 2.0, "1": 3.0}
    assert samples.has("vllm:")
    assert not samples.has("qwen_camera_")


def test_what_is_no_metrics_page_is_refused() -> None:
    """A page of HTML, say."""
    with pytest.raises(ValueError):
        Samples.parse("<!doctype html>\n<title>x</title>\n")
