"""The figures of a fleet under a fault. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.bench.fleet_peer import Asked, Away
from scripts.bench.report import percentile
from scripts.bench.usage import PAUSE_SECONDS

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


def figures(
    fault: str,
    span: Span,
    asked: Sequence[Asked],
    aways: Sequence[Away],
    people: tuple[int, int],
    requests: Sequence[int],
    machine: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Work out one fault's row. `people`: those there, and those of them whose camera is live at
    the end; `requests`: those that each engine got since the fault began; `machine`: what `Since` has.
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
        "offered_again": sum(one.why == "camera" for one in gone),
        "away_p50_s": _round(percentile(whole, 50)),
        "away_max_s": _round(max(whole, default=None)),
        "never_back": len(away) - len(whole),
        "chats_due": sum(one.before > 0 and one.live is not None for one in gone),
        "chats_kept": sum(one.after >= one.before > 0 and one.live is not None for one in gone),
        "questions": len(mine),
        "asked_again": sum(one.again for one in mine),
        "mid_answer": sum(one.end == "mid-answer" for one in mine),
        "lost": len(lost),
        # Their cameras had no pictures to send, since this process did not get its time.
        "lost_unmade": sum((one.unmade or 0.0) > PAUSE_SECONDS for one in lost),
        "lost_why": dict(Counter(one.end for one in lost).most_common()),
        **{
            f"first_token_p{q}_ms_{phase}": _round(percentile(first[phase], q), 1000)
            for phase in PHASES
            for q in (50, 95)
        },
        "requests": list(requests),
        **(machine or {}),
        # For those who look for the cause
        "lost_questions": [_described(one, span) for one in lost],
        "slowest": [_described(one, span) for one in sorted(mine, key=_took)[-3:]],
    }


def _took(one: Asked) -> float:
    return 0.0 if one.first is None else one.first - one.at


def _described(one: Asked, span: Span) -> dict[str, Any]:
    return {
        "seconds_after_the_fault": round(one.at - span.during, 1),
        "end": one.end,
        "why": one.why,
        "gateway": one.gateway,
        "again": one.again,
        "waited_for_camera_ms": _round(None if one.live is None else one.live - one.at, 1000),
        "first_token_ms": _round(None if one.first is None else one.first - one.at, 1000),
        "unmade_s": _round(one.unmade),
        "unsent_s": _round(one.unsent),
        "timings": one.timings,
    }


# Of several runs of a fault: what people lost counts in all, times and the rest by their median
_SUMS = frozenset(
    [
        "questions",
        "lost",
        "lost_unmade",
        "mid_answer",
        "asked_again",
        "never_back",
        "moved",
        "cut_off",
        "offered_again",
        "chats_due",
        "chats_kept",
        "people",
        "live_at_end",
    ]
)


def median_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one row of the runs of one fault: sums, medians, and the worst `away_max_s`."""
    found: dict[str, Any] = {"fault": rows[0]["fault"], "runs": len(rows)}
    for name, value in rows[0].items():
        values = [row[name] for row in rows]
        if name in _SUMS:
            found[name] = sum(values)
        elif name in ("away_max_s", "pause_max_ms"):
            found[name] = max((one for one in values if one is not None), default=None)
        elif name == "lost_why":
            found[name] = dict(sum((Counter(one) for one in values), Counter()).most_common())
        elif name == "requests":
            found[name] = [sum(counts) for counts in zip(*values, strict=True)]
        elif name.startswith(("away_", "first_token_", "idle_", "people_c")):
            found[name] = percentile([one for one in values if one is not None], 50)
            if math.isnan(found[name]):
                found[name] = None
        elif name not in ("fault", "lost_questions", "slowest"):
            found[name] = value
    return found


def _round(value: float | None, times: float = 1) -> float | None:
    if value is None or math.isnan(value):
        return None
    return round(value * times, 2 if times == 1 else 0)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Print the rows below each other, for people."""
    lines = []
    for row in rows:
        ttft = "; ".join(
            f"{phase} {_said(row[f'first_token_p50_ms_{phase}'])}/{_said(row[f'first_token_p95_ms_{phase}'])}"
            for phase in PHASES
        )
        lines += [
            f"{row['fault']}" + (f" ({row['runs']} runs)" if "runs" in row else ""),
            f"  people          {row['people']}, live at the end {row['live_at_end']}",
            f"  sessions        {row['moved']} moved, {row['cut_off']} cut off,"
            f" {row['offered_again']} cameras offered again; picture away"
            f" p50 {_said(row['away_p50_s'])} s, most {_said(row['away_max_s'])} s;"
            f" {row['never_back']} never back; chat kept {row['chats_kept']} of {row['chats_due']}",
            f"  questions       {row['questions']}, lost {row['lost']}"
            f"{_causes(row)}, in mid-answer"
            f" {row['mid_answer']}, asked again {row['asked_again']}",
            f"  first token     p50/p95 in ms: {ttft}",
            f"  engines         requests {' / '.join(str(count) for count in row['requests'])}",
        ]
        if "idle_share" in row:
            lines.append(
                f"  machine         {row['idle_share']:.0%} idle; the people's process used"
                f" {row['people_cores']:g} cores and paused for {row['pause_max_ms']:g} ms at most"
            )
    return "\n".join(lines)


def _causes(row: dict[str, Any]) -> str:
    """Return the errors of what was lost, and how much of it is the measuring machine's."""
    if not row["lost"]:
        return ""
    errors = ", ".join(f"{why} {count}" for why, count in row["lost_why"].items())
    return f" ({errors}; {row['lost_unmade']} while no pictures were made)"


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Return one table of all faults, a line each, in Markdown."""
    lines = [
        "| fault | runs | asked | lost | mid-answer | asked again | away p50 / most | chats kept"
        " | first token p95 before / during / after | idle | longest pause |",
        "|---" * 11 + "|",
    ]
    for row in rows:
        away = f"{_said(row['away_p50_s'])} / {_said(row['away_max_s'])} s"
        first = " / ".join(_said(row[f"first_token_p95_ms_{phase}"]) for phase in PHASES)
        idle = "-" if row.get("idle_share") is None else f"{row['idle_share']:.0%}"
        lines.append(
            f"| {row['fault']} | {row.get('runs', 1)} | {row['questions']}"
            f" | {row['lost']}{_causes(row)} | {row['mid_answer']} | {row['asked_again']} | {away}"
            f" | {row['chats_kept']} of {row['chats_due']} | {first} ms | {idle}"
            f" | {_said(row.get('pause_max_ms'))} ms |"
        )
    return "\n".join(lines)


def _said(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
