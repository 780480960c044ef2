"""The report of a measurement: figures with their targets, as a table, JSON and CSV."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import math
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from scripts.bench.processes import read_cpu_seconds

# Expected figures of one GPU with the 32B model in FP16 behind a server like this one.
EXPECTATION = (
    "With Qwen2.5-VL-32B in FP16 on one MI300X-class GPU expect per answer: median 0.5-1.5 s, p95 1.5-2.5 s, "
    "1-3 frames/s."
)
STAND_IN = "(The figures above were measured with a stand-in for the model: they include everything except the model.)"


def get_percentile(values: Sequence[float], q: float) -> float:
    """Return the smallest value that `q` percent do not exceed (nearest rank); NaN without values."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q / 100 * len(ordered)) - 1)]


class Sums:
    """A dataclass of counts and lists, which can be summed over the parts of a run."""

    def merge(self, other: Self) -> None:
        for name, theirs in vars(other).items():
            own = getattr(self, name)
            if isinstance(own, Sums):
                own.merge(theirs)
            elif not isinstance(own, str):
                setattr(self, name, own + theirs)


@dataclass(frozen=True, slots=True)
class Spread:
    """The percentiles and number of a set of measured values."""

    n: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Return the spread of the known values."""
        found = [value for value in values if value is not None]
        p50, p95, p99, top = (get_percentile(found, q) for q in (50, 95, 99, 100))
        return cls(len(found), p50, p95, p99, top)


@dataclass(slots=True)
class Row:
    """One line of the table."""

    # Number in the list of target figures; "" for other figures
    number: str = field(default="", kw_only=True)
    what: str
    unit: str
    # Either a spread or one value
    spread: Spread | None = None
    value: float | None = None
    # Upper bounds (lower ones if `at_least`) of p50, p95 or the value; None without a target
    target_p50: float | None = None
    target_p95: float | None = None
    target: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """True if every target is met; None without targets or figures."""
        checks: list[bool] = []
        if self.spread is not None and self.spread.n:
            if self.target_p50 is not None:
                checks.append(self.spread.p50 <= self.target_p50)
            if self.target_p95 is not None:
                checks.append(self.spread.p95 <= self.target_p95)
        if self.value is not None and self.target is not None:
            checks.append(self.value >= self.target if self.at_least else self.value <= self.target)
        return all(checks) if checks else None

    def to_cells(self) -> tuple[str, str, str, str, str]:
        if self.spread is not None:
            s = self.spread
            figure = f"p50 {_format_short(s.p50)}  p95 {_format_short(s.p95)}  p99 {_format_short(s.p99)} {self.unit} (n={s.n})"
            wanted = [
                f"{name} ≤ {_format_short(bound)}"
                for name, bound in (("p50", self.target_p50), ("p95", self.target_p95))
                if bound is not None
            ]
        else:
            figure = "-" if self.value is None else f"{_format_short(self.value)} {self.unit}"
            sign = "≥" if self.at_least else "≤"
            wanted = (
                [] if self.target is None else [f"{sign} {_format_short(self.target)} {self.unit}"]
            )
        verdict = {True: "yes", False: "NO", None: ""}[self.reached]
        return self.number, self.what, figure, ", ".join(wanted), verdict


@dataclass(slots=True)
class Report:
    """All rows of a run, with the conditions under which they were measured."""

    title: str
    conditions: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.time)
    # Further values for the JSON
    more: dict[str, Any] = field(default_factory=dict)
    _seconds: tuple[float, float] = field(default_factory=read_cpu_seconds)

    @classmethod
    def of(cls, title: str, args: argparse.Namespace) -> Report:
        """Create the report of a program with these options."""
        # Results are shared; the access code must not be in them.
        given = {k: str(v) for k, v in vars(args).items() if k != "access_code"}
        return cls(title, {"machine": describe_machine(), "arguments": given})

    def close(self) -> None:
        """Store how busy the machine was during the measurement, including other programs."""
        idle, total = (b - a for a, b in zip(self._seconds, read_cpu_seconds(), strict=True))
        if total:
            self.conditions["machine_idle_share"] = round(idle / total, 3)

    def format_table(self) -> str:
        head = ("row", "what", "measured", "target", "reached")
        lines = [head, *(row.to_cells() for row in self.rows)]
        text = align(
            [head, ["-" * max(map(len, column)) for column in zip(*lines, strict=True)], *lines[1:]]
        )
        idle = self.conditions.get("machine_idle_share")
        text.insert(0, f"{self.title}; the machine was {idle:.0%} idle" if idle else self.title)
        notes = [f"  {row.number or row.what}: {row.note}" for row in self.rows if row.note]
        return "\n".join([*text, *(["", "Notes"] if notes else []), *notes])

    def make_stem(self, folder: Path, name: str) -> Path:
        """Return the name of this run's files, without their suffixes."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(self.started))
        return folder / f"{name}-{stamp}"

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write <name>-<time>.json and .csv atomically. Return their paths. Raises OSError."""
        stem = self.make_stem(folder, name)
        as_json, as_csv = (stem.with_name(f"{stem.name}.{ending}") for ending in ("json", "csv"))
        body = {
            "title": self.title,
            "started": self.started,
            "conditions": self.conditions,
            "rows": [asdict(row) | {"reached": row.reached} for row in self.rows],
            "expectation": EXPECTATION,
            **self.more,
        }
        lines: list[list[Any]] = [
            ["row", "what", "unit", "n", "value", "p50", "p95", "p99", "reached"]
        ]
        for row in self.rows:
            s = row.spread
            figures = [s.p50, s.p95, s.p99] if s else ["", "", ""]
            lines.append(
                [row.number, row.what, row.unit, s.n if s else "", row.value, *figures, row.reached]
            )
        write_whole(as_json, (json.dumps(_replace_infinite(body), indent=1) + "\n").encode())
        text = io.StringIO()
        csv.writer(text).writerows(lines)
        write_whole(as_csv, text.getvalue().encode())
        return as_json, as_csv


def align(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, each column as wide as its longest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file atomically, and create its folder if needed. Return its path. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        return part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def draw(stem: Path, panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Path:
    """Draw in each panel, by its title, the cumulative distribution of each series. Return the picture's path.

    Raises OSError, and ModuleNotFoundError without matplotlib, which is not installed with the server
    (requirements-plots.txt).
    """
    # Not pyplot, which searches for a display and keeps every figure.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0 * len(panels), 4.2), layout="constrained")
    places = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, series) in zip(places, panels.items(), strict=True):
        for name, values in series.items():
            shares = [100 * (index + 1) / len(values) for index in range(len(values))]
            axes.step(sorted(values), shares, where="post", label=name)
        axes.set(xlabel=title, ylabel="%", ylim=(0, 102))
        axes.legend()
    image = io.BytesIO()
    figure.savefig(image, dpi=110, format="png")
    return write_whole(stem.with_name(f"{stem.name}.png"), image.getvalue())


def describe_machine() -> dict[str, Any]:
    """Return the hardware and software on which the figures depend."""
    model = platform.processor()
    with contextlib.suppress(OSError):
        if named := re.search(r"^model name[^:]*:(.*)", Path("/proc/cpuinfo").read_text(), re.M):
            model = named[1].strip()
    packages = {name: version(name) for name in ("aiortc", "av", "fastapi", "uvicorn")}
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": platform.system(),
        "packages": packages,
    }


def _format_short(value: float) -> str:
    if math.isnan(value):
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.3g}"


def _replace_infinite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _replace_infinite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace_infinite(item) for item in value]
    return value
