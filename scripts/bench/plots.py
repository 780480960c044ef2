"""Pictures of a load run and of a voice run. matplotlib draws them; it is not installed with the server
(requirements-plots.txt).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.bench.gpu_watch import GpuReading
from scripts.bench.load_figures import STAGES, LoadFigures
from scripts.bench.report import percentile, write_whole
from scripts.bench.voice_figures import VoiceFigures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ttft and e2el in every picture
COLOURS = {"ttft": "#2a7ab8", "e2el": "#c0532b"}


def draw(
    figures: LoadFigures, readings: Sequence[GpuReading], began: float, stem: Path
) -> list[Path]:
    """Write `<stem>-latency.png`, `-stages.png` and, with readings, `-gpu.png`; their paths.

    `began`: epoch seconds. Raises ModuleNotFoundError without matplotlib, and OSError.
    """
    # Not pyplot, which looks for a screen and keeps every figure.
    from matplotlib.figure import Figure

    def save(made: Figure, name: str) -> Path:
        return _saved(made, stem.with_name(f"{stem.name}-{name}.png"))

    wide, small, third = (
        Figure(figsize=(width, 4.2), layout="constrained") for width in (12.0, 7.0, 7.0)
    )
    _latency(wide, figures)
    _stages(small, figures)
    paths = [save(wide, "latency"), save(small, "stages")]
    if readings:
        _gpus(third, readings, began)
        paths.append(save(third, "gpu"))
    return paths


def _latency(figure: Figure, figures: LoadFigures) -> None:
    """Each question at its planned time, and the share that was answered within a time."""
    over_time, shares = figure.subplots(1, 2)
    for name, colour in COLOURS.items():
        points = [
            (s.planned, value / 1000)
            for s in figures.answered
            if (value := getattr(s, f"{name}_ms")) is not None
        ]
        if points:
            over_time.plot(*zip(*points, strict=True), ".", color=colour, label=name)
            _share(shares, [value for _, value in points], name, color=colour)
    failed = [s.planned for s in figures.samples if s.error]
    if failed:
        over_time.plot(failed, [0.0] * len(failed), "x", color="black", label="not answered")
    over_time.axhline(figures.slo, color="grey", linewidth=0.8, linestyle="--")
    shares.axvline(figures.slo, color="grey", linewidth=0.8, linestyle="--")
    over_time.set(xlabel="planned arrival, s", ylabel="seconds", title="Every question")
    shares.set(xlabel="seconds", ylabel="% of the answered", title="Within so many seconds")
    for axes in (over_time, shares):
        axes.set_ylim(bottom=0)
        _name_lines(axes)


def _stages(figure: Figure, figures: LoadFigures) -> None:
    axes = figure.subplots()
    for offset, q, colour in ((0.2, 50, "#7fb2d6"), (-0.2, 95, "#2a7ab8")):
        at = [len(STAGES) - i - 1 + offset for i in range(len(STAGES))]
        found = [percentile(figures.stage(name), q) for name in STAGES]
        axes.barh(
            at,
            [0.0 if value != value else value for value in found],
            0.4,
            color=colour,
            label=f"p{q}",
        )
    axes.set_yticks(range(len(STAGES)), list(STAGES.values())[::-1])
    axes.set(xlabel="ms", title="Where the time goes, as the server says")
    axes.legend()


def _gpus(figure: Figure, readings: Sequence[GpuReading], began: float) -> None:
    axes = figure.subplots()
    for gpu in readings[0].gpus:
        for what, line in (("in use", "-"), ("memory", "--")):
            points = []
            for reading in readings:
                for now in reading.gpus:
                    if now.index != gpu.index:
                        continue
                    share = now.use
                    if what == "memory":
                        known = now.memory_used is not None and now.memory_total
                        share = (now.memory_used or 0) / (now.memory_total or 1) if known else None
                    if share is not None:
                        points.append((reading.at - began, 100 * share))
            if points:
                axes.plot(*zip(*points, strict=True), line, label=f"GPU {gpu.index}: {what}")
    axes.set(xlabel="s", ylabel="%", ylim=(0, 100), title="GPU")
    _name_lines(axes)


def draw_voice(figures: VoiceFigures, path: Path) -> Path:
    """Draw the turns and the interruptions; the path. Raises ModuleNotFoundError and OSError."""
    # Not pyplot, which looks for a screen and keeps every figure.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 4.2), layout="constrained")
    stages, over = figure.subplots(1, 2)
    steps = {
        "decided": "decided",
        "text": "text",
        "model": "question at the model",
        "sound": "first sound",
    }
    for step, name in steps.items():
        found = (turn.ms("end", step) for turn in figures.whole)
        _share(stages, [value for value in found if value is not None], name)
    for what in ("lowered", "silent"):
        pairs = ((one.begin, getattr(one, what)) for one in figures.interruptions)
        _share(over, [(at - begin) * 1000 for begin, at in pairs if at is not None], what)
    stages.set(
        xlabel="ms after the end of speech", ylabel="% of the turns", title="Spoken questions"
    )
    over.set(xlabel="ms after its first sound", ylabel="% of them", title="Speech over an answer")
    for axes in (stages, over):
        axes.set_ylim(0, 102)
        _name_lines(axes)
    return _saved(figure, path)


def _share(axes: Any, values: list[float], name: str, **how: Any) -> None:
    """Draw the share of values up to each."""
    if values:
        shares = [100 * (index + 1) / len(values) for index in range(len(values))]
        axes.step(sorted(values), shares, where="post", label=name, **how)


def _name_lines(axes: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _saved(figure: Figure, path: Path) -> Path:
    image = io.BytesIO()
    figure.savefig(image, dpi=110, format="png")
    return write_whole(path, image.getvalue())
