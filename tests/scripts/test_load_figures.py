"""Figures of a load run: vLLM's definitions, goodput, stages, and the settings to lower."""

from __future__ import annotations

from itertools import pairwise

import pytest

from scripts.bench.load_run import LoadFigures, suggest_settings
from scripts.bench.open_loop import Sample
from scripts.bench.report import Row, Spread

LIMITS = {"max_tokens": 128, "visual_tokens": 512}


def answered(number: int, *, planned: float, waited: float, ttft: float, e2el: float) -> Sample:
    """An answer of five tokens, all of whose time after the wait is the model's writing; seconds."""
    pieces = [ttft + i * (e2el - ttft) / 4 for i in range(5)]
    in_server = (e2el - waited) * 1000
    return Sample(
        number,
        planned,
        sent=planned + waited,
        first_text=planned + ttft,
        ended=planned + e2el,
        gaps=[(b - a) * 1000 for a, b in pairwise(pieces)],
        timings={
            "wait_frame_ms": 30.0,
            "prepare_ms": 4.0,
            "queue_ms": 0.0,
            "first_token_ms": (ttft - waited) * 1000 - 34.0,
            "total_ms": in_server,
        },
        frame_age_ms=12.0,
        prompt_tokens=100,
        completion_tokens=5,
    )


def figures(*samples: Sample, asked: int | None = None, slo: float = 3.0) -> LoadFigures:
    return LoadFigures(samples, asked or len(samples), slo)


def test_times_count_from_the_planned_arrival() -> None:
    """A wait for a free session is in ttft and e2el, not in tpot and itl."""
    found = figures(answered(0, planned=10.0, waited=2.0, ttft=2.5, e2el=3.5))
    assert found.get_values("ttft") == pytest.approx([2500])
    assert found.get_values("e2el") == pytest.approx([3500])
    assert found.get_values("tpot") == pytest.approx([250])
    assert found.get_values("itl") == pytest.approx([250] * 4)


def test_rates_are_of_the_time_from_first_planned_arrival_to_last_end() -> None:
    """Good met the objective; what was still open, refused or slow is counted."""
    good = answered(0, planned=1.0, waited=0.0, ttft=0.5, e2el=1.0)
    slow = answered(1, planned=2.0, waited=2.0, ttft=2.5, e2el=4.0)
    busy = Sample(2, 3.0, sent=3.0, ended=3.1, error="busy")
    found = figures(good, slow, busy, asked=4)
    assert found.seconds == pytest.approx(5.0)
    expected = {"completed": 2, "failed": 1, "unfinished": 1, "errors": {"busy": 1}}
    assert found.get_counts() == expected
    rows = {row.what.partition(":")[0]: row for row in found.to_rows()}
    assert "errors: busy 1; 1 were still open" in rows["answered"].note
    assert rows["answered"].value == pytest.approx(0.4)
    assert rows["goodput"].value == pytest.approx(0.2)
    assert rows["output tokens"].value == pytest.approx(2.0)
    spread = rows["e2el"].spread
    assert spread is not None
    assert [spread.p50, spread.p99] == pytest.approx([1000, 4000])


@pytest.mark.parametrize(
    ("sample", "named", "not_named"),
    [
        (
            answered(0, planned=0, waited=0.0, ttft=0.2, e2el=5.0),
            "RESPONSE_MAX_TOKENS (now 128)",
            "VISUAL_TOKEN_BUDGET",
        ),
        (
            answered(0, planned=0, waited=0.0, ttft=4.5, e2el=5.0),
            "VISUAL_TOKEN_BUDGET (now 512)",
            "--rate",
        ),
        (answered(0, planned=0, waited=4.5, ttft=4.7, e2el=5.0), "--rate", "VISUAL_TOKEN_BUDGET"),
    ],
)
def test_slow_answers_name_the_settings_of_where_the_time_goes(
    sample: Sample, named: str, not_named: str
) -> None:
    """The part that takes the time decides; the present load stands beside it."""
    quick = answered(1, planned=1, waited=0, ttft=0.5, e2el=1)
    text = "\n".join(suggest_settings(figures(sample, quick), LIMITS))
    assert "1 of 2 questions took over 3 s" in text
    assert named in text
    assert not_named not in text
    assert suggest_settings(figures(quick), LIMITS) == []


# The report


def test_a_row_is_reached_when_each_of_its_targets_is() -> None:
    """Upper bounds for times, a lower one for counts, nothing without a figure."""
    spread = Spread.of([10, 20, 30])
    assert Row("x", "ms", spread, target_p50=20, target_p95=30, number="2").reached is True
    assert Row("x", "ms", spread, target_p50=20, target_p95=29, number="2").reached is False
    assert Row("x", "", value=99, target=100, at_least=True, number="9").reached is False
    assert Row("x", "", value=100, target=100, at_least=True, number="9").reached is True
    assert Row("x", "ms", Spread.of([]), target_p50=20, number="2").reached is None
    assert Row("x", "ms", value=1).reached is None
