"""The picture of a voice run, by matplotlib, which is not installed with the server
(requirements-plots.txt).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.bench.report import write_whole
from scripts.bench.voice_figures import VoiceFigures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(figures: VoiceFigures, path: Path) -> Path:
    """Draw the turns and the interruptions; the path. Raises ModuleNotFoundError and OSError."""
    # Not pyplot, which looks for a screen and keeps every figure.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 4.2), layout="constrained")
    _draw(figure, figures)
    image = io.BytesIO()
    figure.savefig(image, dpi=110, format="png")
    return write_whole(path, image.getvalue())


def _draw(figure: Figure, figures: VoiceFigures) -> None:
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
        if axes.get_legend_handles_labels()[0]:
            axes.legend()


def _share(axes: Any, values: list[float], name: str) -> None:
    if values:
        shares = [100 * (index + 1) / len(values) for index in range(len(values))]
        axes.step(sorted(values), shares, where="post", label=name)
