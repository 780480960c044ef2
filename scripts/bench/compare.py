"""Compare two results of the benchmark: the figures of the second divided by those of the first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scripts.bench.processes import MeasurementError
from scripts.bench.report import align

QUANTILES = ("p50", "p95", "p99")
# Conditions whose differences are not reported
_SAME = ("output", "compare", "server_log", "no_plots")


def read(path: Path) -> dict[str, Any]:
    """Read a result. Raises MeasurementError if it is not one."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MeasurementError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise MeasurementError(f"{path} is not JSON. Give the .json file of a result.") from None
    if (
        not isinstance(body, dict)
        or not isinstance(body.get("rows"), list)
        or not isinstance(body.get("conditions", {}), dict)
        or not all(_is_row(row) for row in body["rows"])
    ):
        raise MeasurementError(
            f"{path} has no figures of the benchmark. Give the .json file of a result."
        )
    return body


def _is_row(row: Any) -> bool:
    """Return True if this is a row as written by report.Row."""
    if not isinstance(row, dict) or not all(isinstance(row.get(k), str) for k in ("what", "unit")):
        return False
    spread = row.get("spread")
    if spread is not None and not isinstance(spread, dict):
        return False
    figures = [row.get("value"), *((spread or {}).get(q) for q in QUANTILES)]
    return all(figure is None or isinstance(figure, int | float) for figure in figures)


def compare(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Return a table of common figures with their ratio, below the differences of the runs."""
    lines = [("", "A", "B", "B/A", "")]
    theirs = {_get_key(row): row for row in second["rows"]}
    shared = 0
    for row in first["rows"]:
        other = theirs.get(_get_key(row))
        if other is None:
            continue
        shared += 1
        for name, a, b in _pair_figures(row, other):
            ratio = b / a if a else None
            lines.append(
                (
                    f"{row['what']}{name}",
                    f"{a:.4g} {row['unit']}",
                    f"{b:.4g} {row['unit']}",
                    "-" if ratio is None else f"{ratio:.2f}",
                    _name_better(ratio, at_least=bool(row.get("at_least"))),
                )
            )
    head = [
        f"A: {_get_title(first)}",
        f"B: {_get_title(second)}",
        *_list_differences(first, second),
    ]
    left_out = len(first["rows"]) + len(second["rows"]) - 2 * shared
    foot = [f"{left_out} figures are only in one of the two results."] if left_out else []
    if not shared:
        foot = ["The results have no figure in common: they are different kinds of measurement."]
    return "\n".join([*head, "", *align(lines), *foot])


def _get_key(row: dict[str, Any]) -> tuple[str, str]:
    return str(row.get("number", "")), str(row.get("what", ""))


def _pair_figures(row: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, float, float]]:
    if row.get("spread") and other.get("spread"):
        pairs = [(f", {q}", row["spread"].get(q), other["spread"].get(q)) for q in QUANTILES]
    else:
        pairs = [("", row.get("value"), other.get("value"))]
    return [(name, a, b) for name, a, b in pairs if a is not None and b is not None]


def _name_better(ratio: float | None, *, at_least: bool) -> str:
    """Return the word for the better run; "" within 5 %, the noise between two equal runs."""
    if ratio is None or 0.95 <= ratio <= 1.05:
        return ""
    return "B better" if (ratio > 1) == at_least else "A better"


def _get_title(body: dict[str, Any]) -> str:
    return str(body.get("title", "")) + (" (interrupted)" if body.get("interrupted") else "")


def _list_differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Return the arguments, machine and engine that differ."""
    found = []
    for part in ("arguments", "machine", "engine"):
        a, b = (body.get("conditions", {}).get(part) or {} for body in (first, second))
        if not isinstance(a, dict) or not isinstance(b, dict):
            continue
        for key in sorted(a.keys() | b.keys()):
            if a.get(key) != b.get(key) and key not in _SAME:
                found.append(f"  different {part}: {key}: {a.get(key)} and {b.get(key)}")
    return found
