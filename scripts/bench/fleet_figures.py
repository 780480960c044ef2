"""The figures of a fleet under a fault. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.bench.fleet_visitor import Asked, Away

PHASES = ("before", "during", "after")


@dataclass(frozen=True, slots=True)
class Span:
    """The times of a fault: its phases begin, and the last one ends. Monotonic seconds."""

    before: float
    during: float
    after: float
    end: float

    def phase(self, at: float) -> str:
        """Return the phase of a time; "" outside."""
        if self.before <= at < self.during:
            return "before"
        if self.during <= at < self.after:
            return "during"
        return "after" if self.after <= at < self.end else ""


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank percentile; None of nothing."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def figures(
    fault: str,
    span: Span,
    asked: Sequence[Asked],
    aways: Sequence[Away],
    people: tuple[int, int],
    requests: Sequence[int],
) -> dict[str, Any]:
    """Work out one fault's row. `people`: those there, and those of them whose camera is live at
    the end; `requests`: those that each engine got since the fault began.
    """
    mine = [one for one in asked if span.phase(one.at)]
    gone = [one for one in aways if span.before <= one.began < span.end]
    away = [one.seconds for one in gone]
    lost = [one for one in mine if one.end not in ("ok", "mid-answer", "")]
    first = {
        phase: [
            one.first - one.at
            for one in mine
            if one.first is not None and span.phase(one.at) == phase
        ]
        for phase in PHASES
    }
    whole = [value for value in away if math.isfinite(value)]
    return {
        "fault": fault,
        "people": people[0],
        "live_at_end": people[1],
        "moved": sum(one.why == "moved" for one in gone),
        "cut_off": sum(one.why == "lost" for one in gone),
        "away_p50_s": _round(percentile(whole, 0.5)),
        "away_max_s": _round(max(whole, default=None)),
        "never_back": len(away) - len(whole),
        "chats_due": sum(one.before > 0 and one.live is not None for one in gone),
        "chats_kept": sum(one.after >= one.before > 0 and one.live is not None for one in gone),
        "questions": len(mine),
        "asked_again": sum(one.again for one in mine),
        "mid_answer": sum(one.end == "mid-answer" for one in mine),
        "lost": len(lost),
        "lost_why": sorted({one.end for one in lost}),
        **{
            f"first_token_{name}_ms_{phase}": _round(percentile(first[phase], share), 1000)
            for phase in PHASES
            for name, share in (("p50", 0.5), ("p95", 0.95))
        },
        "requests": list(requests),
    }


def _round(value: float | None, times: float = 1) -> float | None:
    return None if value is None else round(value * times, 2 if times == 1 else 0)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Print the rows below each other, for people."""
    lines = []
    for row in rows:
        ttft = "; ".join(
            f"{phase} {_said(row[f'first_token_p50_ms_{phase}'])}/{_said(row[f'first_token_p95_ms_{phase}'])}"
            for phase in PHASES
        )
        lines += [
            f"{row['fault']}",
            f"  people          {row['people']}, live at the end {row['live_at_end']}",
            f"  sessions        {row['moved']} moved, {row['cut_off']} cut off; picture away"
            f" p50 {_said(row['away_p50_s'])} s, most {_said(row['away_max_s'])} s;"
            f" {row['never_back']} never back; chat kept {row['chats_kept']} of {row['chats_due']}",
            f"  questions       {row['questions']}, lost {row['lost']}"
            f"{' (' + ', '.join(row['lost_why']) + ')' if row['lost_why'] else ''}, in mid-answer"
            f" {row['mid_answer']}, asked again {row['asked_again']}",
            f"  first token     p50/p95 in ms: {ttft}",
            f"  engines         requests {' / '.join(str(count) for count in row['requests'])}",
        ]
    return "\n".join(lines)


def _said(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
