"""A fleet: the figures of a fault, its balancer, and its hosts as network namespaces."""

from __future__ import annotations

from pathlib import Path

from scripts.bench.fleet import format_nginx_configuration
from scripts.bench.fleet_peer import Outage, QuestionRecord
from scripts.bench.fleet_run import Span, compute_figures, format_table

SPAN = Span(0, 10, 20, 30)


def test_what_people_lose() -> None:
    """Answers, words in mid-answer and losses are counted apart, by phase; what was before or after
    the fault counts elsewhere.
    """
    asked = [
        QuestionRecord(-1, end="lost"),
        QuestionRecord(1, first=1.1, end="ok"),
        QuestionRecord(2, first=2.3, end="ok"),
        QuestionRecord(11, end="mid-answer"),
        QuestionRecord(12, end="draining"),
        QuestionRecord(13, first=14, end="ok", again=True),
        QuestionRecord(29.9, end=""),
        QuestionRecord(31, end="busy"),
    ]
    aways = [
        Outage(-5, "lost", live=-4),
        Outage(11, "moved", live=11.5, before=2, after=2),
        Outage(12, "lost", live=14, before=2, after=0),
        Outage(13, "lost"),
    ]
    row = compute_figures("kill", SPAN, asked, aways, (4, 3), [5, 6])
    assert (row["questions"], row["lost"], row["mid_answer"], row["asked_again"]) == (6, 1, 1, 1)
    assert row["lost_why"] == {"draining": 1}
    assert (row["moved"], row["cut_off"], row["never_back"]) == (1, 2, 1)
    assert (row["away_p50_s"], row["away_max_s"]) == (0.5, 2)
    assert (row["chats_kept"], row["chats_due"]) == (1, 2)
    assert (row["first_token_p50_ms_before"], row["first_token_p95_ms_before"]) == (100, 300)
    assert row["first_token_p50_ms_during"] == 1000
    assert row["first_token_p50_ms_after"] is None
    told = format_table([row]).splitlines()[-1]
    for part in (
        "| kill |",
        "| 4, 3 |",
        "| 1 (draining 1; 0 while no pictures were made) |",
        "| 1 of 2 |",
        "| 5 / 6 |",
    ):
        assert part in told
    assert "; -/- |" in told


def test_the_balancer_has_the_shipped_maps() -> None:
    """Each gateway has its block with the others as backup, and its line in deploy/nginx.conf's map."""
    text = format_nginx_configuration(
        Path("/nowhere"), "127.0.0.1:8080", {"h1": "127.0.0.1:1111", "h2": "10.87.0.3:2222"}
    )
    assert "    h1 qwen_camera_h1;\n" in text
    block = text[text.index("upstream qwen_camera_h2") :].partition("}")[0]
    assert block.index("10.87.0.3:2222 max_fails=0;") < block.index("1111 max_fails=0 backup;")
    assert "127.0.0.1:8000" not in text
