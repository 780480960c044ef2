"""A load run from beginning to end: a server (a running one, or one started here), cameras, warm-up, questions, figures.

Names and definitions are those of vLLM's serving benchmark. ttft: from the planned arrival to the first text; itl:
between pieces of text as they arrive (the server may merge pieces for a slow reader); tpot: the time after the first
text, per token; e2el: from the planned arrival to the end. Goodput: questions per second answered within the objective
(`slo`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scripts.bench import program
from scripts.bench.http_json import request
from scripts.bench.open_loop import OpenLoop, PlannedQuestion, Sample, ServerGone, plan_poisson
from scripts.bench.processes import MeasurementError, ServerProcess, StandInProcess
from scripts.bench.report import EXPECTATION, STAND_IN, Report, Row, Spread
from server.features.hosting.gpu import Gpu, GpuError, GpuReader

# Idle fraction of the processors below which the machine itself limits the result
FULL = 0.1
# The server's steps of an answer, in order, with their names
STAGES = {
    "wait_frame_ms": "waiting for a frame captured after it",
    "prepare_ms": "preparing the frame",
    "queue_ms": "waiting for the model",
    "first_token_ms": "request → first token",
    "total_ms": "question → whole answer",
}


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """Figures of a run. `asked`: number of due questions, including those still open when the run ended."""

    samples: Sequence[Sample]
    asked: int
    slo: float

    @property
    def seconds(self) -> float:
        """Seconds from the first planned arrival to the last end."""
        first = min((s.planned for s in self.samples), default=0.0)
        last = max((s.ended for s in self.samples if s.ended is not None), default=first)
        return max(1e-9, last - first)

    @property
    def answered(self) -> list[Sample]:
        return [s for s in self.samples if not s.error]

    @property
    def good(self) -> int:
        return sum((s.e2el_ms or math.inf) <= self.slo * 1000 for s in self.answered)

    @property
    def errors(self) -> dict[str, int]:
        return dict(sorted(Counter(s.error for s in self.samples if s.error).items()))

    def get_values(self, name: str) -> list[float]:
        """Return ttft, tpot, itl, e2el or a stage of each answered question, in ms."""
        if name == "itl":
            return [gap for s in self.answered for gap in s.gaps]
        if name in STAGES:
            found = [s.timings.get(name) for s in self.answered]
        else:
            found = [getattr(s, f"{name}_ms") for s in self.answered]
        return [value for value in found if value is not None]

    def get_counts(self) -> dict[str, Any]:
        return {
            "completed": len(self.answered),
            "failed": len(self.samples) - len(self.answered),
            "unfinished": self.asked - len(self.samples),
            "errors": self.errors,
        }

    def to_rows(self) -> list[Row]:
        answered, seconds = self.answered, self.seconds
        errors = ", ".join(f"{code} {n}" for code, n in self.errors.items()) or "none"
        unfinished = self.asked - len(self.samples)
        held_up = sum((s.waited_ms or 0) > 50 for s in self.samples)
        rates = (
            (
                "answered",
                len(answered),
                f"{len(answered)} of {self.asked} in {seconds:.1f} s; errors: {errors}"
                + (f"; {unfinished} were still open at the end" if unfinished else ""),
            ),
            (
                f"goodput: answered within {self.slo:g} s",
                self.good,
                f"{self.good / max(1, len(self.samples)):.0%} of all questions",
            ),
            ("output tokens", sum(s.completion_tokens or 0 for s in answered), ""),
        )
        spreads: tuple[tuple[str, Sequence[float | None], str], ...] = (
            ("ttft: planned arrival → first text", self.get_values("ttft"), ""),
            ("tpot: time per output token", self.get_values("tpot"), ""),
            ("itl: between pieces of text", self.get_values("itl"), ""),
            ("e2el: planned arrival → whole answer", self.get_values("e2el"), ""),
            (
                "waiting here for a free session",
                [s.waited_ms for s in self.samples],
                f"{held_up} questions waited over 50 ms; it is part of ttft and e2el",
            ),
            *((f"server: {what}", self.get_values(name), "") for name, what in STAGES.items()),
            ("server: frame's age at the model", [s.frame_age_ms for s in answered], ""),
        )
        return [
            Row(what, "/s", value=count / seconds, at_least=True, note=note)
            for what, count, note in rates
        ] + [Row(what, "ms", Spread.of(values), note=note) for what, values, note in spreads]

    def find_slow(self) -> list[Sample]:
        """Return the answers that took longer than the objective, and those that a time limit ended."""
        return [
            s
            for s in self.samples
            if (s.e2el_ms or 0) > self.slo * 1000 or s.error in ("timeout", "engine_timeout")
        ]


# Settings to lower


def _decode(sample: Sample) -> float:
    stages = [sample.timings.get(name) or 0.0 for name in STAGES]
    return max(0.0, stages[-1] - sum(stages[:-1])) if stages[3] else 0.0


def _make_stage_getter(name: str) -> Callable[[Sample], float]:
    return lambda sample: sample.timings.get(name) or 0.0


# The time of each part of an answer, and the advice about it
_PARTS: dict[str, tuple[Callable[[Sample], float], str]] = {
    "session": (
        lambda sample: sample.waited_ms or 0.0,
        "all sessions here were busy. Slow answers delay the next questions: lower the settings named below, or"
        " --rate; more --sessions ask more questions at once.",
    ),
    "frame": (
        _make_stage_getter("wait_frame_ms"),
        "waiting for the camera. No setting helps: check the cameras' network and this machine's processor load.",
    ),
    "prepare": (
        _make_stage_getter("prepare_ms"),
        "preparing frames. Turn ENABLE_FACE_BLUR and ENABLE_NSFW_FILTER off, or give the server more processor time.",
    ),
    "queue": (
        _make_stage_getter("queue_ms"),
        "waiting for the model. Lower RESPONSE_MAX_TOKENS (now {max_tokens}) and VISUAL_TOKEN_BUDGET "
        "(now {visual_tokens}), so that requests end sooner, and FRAME_SAMPLE_RATE if descriptions run.",
    ),
    "first_token": (
        _make_stage_getter("first_token_ms"),
        "the model reading the picture. Lower VISUAL_TOKEN_BUDGET (now {visual_tokens}), and "
        "MAX_CONCURRENT_INFERENCES if many answers share the GPU.",
    ),
    "decode": (
        _decode,
        "the model writing. Lower RESPONSE_MAX_TOKENS (now {max_tokens}), and MAX_CONCURRENT_INFERENCES if many"
        " answers share the GPU; a model in 8 bits (scripts/convert_model.py) writes faster.",
    ),
}


def suggest_settings(figures: LoadFigures, limits: dict[str, Any]) -> list[str]:
    """Name the settings to lower if answers take longer than the objective. `limits`: those of `ready`.

    Each part that makes up a sixth or more of the slow answers is named, the largest first.
    """
    slow, known = figures.find_slow(), defaultdict(lambda: "unknown", limits)
    refused = sum(figures.errors.get(code, 0) for code in ("busy", "engine_timeout", "timeout"))
    if not slow and not refused:
        return []
    lines = [
        f"{len(slow)} of {len(figures.samples)} questions took over {figures.slo:g} s"
        + (f", {refused} were refused or abandoned" if refused else "")
        + "."
    ]
    parts = {
        name: statistics.fmean(map(part, slow)) if slow else 0.0
        for name, (part, _) in _PARTS.items()
    }
    whole = sum(parts.values())
    for name in sorted(parts, key=lambda name: -parts[name]):
        if whole and parts[name] >= whole / 6:
            share = f"{parts[name] / whole:.0%} of that time ({parts[name] / 1000:.1f} s)"
            lines.append(f"- {share}: {_PARTS[name][1].format_map(known)}")
    if refused and not whole:
        lines.append(f"- {_PARTS['queue'][1].format_map(known)}")
    return lines


# The GPUs during the run


class GpuWatch:
    """Reads the state of the GPUs once per second in a thread, while it is open."""

    def __init__(self, reader: GpuReader) -> None:
        self.readings: list[list[Gpu]] = []
        self.why_none = reader.why_none
        self._reader = reader
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._reader.source:
            self._task = asyncio.create_task(self._watch(), name="gpu-watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            try:
                self.readings.append(list(await asyncio.to_thread(self._reader.read)))
            except GpuError as error:
                self.why_none = str(error)
            await asyncio.sleep(1.0)

    def to_rows(self) -> list[Row]:
        """Return the use, memory and power of each GPU, or one row with the reason if there are none."""
        if not self.readings:
            return [Row("GPU", "", note=self.why_none or "no reading arrived in time")]
        rows = []
        for gpu in self.readings[0]:
            mine = [one for reading in self.readings for one in reading if one.index == gpu.index]
            total = "" if gpu.memory_total is None else f" of {gpu.memory_total / 2**30:.0f} GiB"
            found = (
                ("in use", "%", [None if g.use is None else 100 * g.use for g in mine]),
                (f"memory{total}", "GiB", [g.memory_used and g.memory_used / 2**30 for g in mine]),
                ("power", "W", [g.watts for g in mine]),
            )
            rows += [
                Row(f"GPU {gpu.index}: {what}", unit, Spread.of(values))
                for what, unit, values in found
            ]
            rows[-3].note = f"{gpu.name}, by {self._reader.source}"
        return rows

    def to_json(self) -> dict[str, Any]:
        readings = [[asdict(gpu) for gpu in reading] for reading in self.readings]
        return {"source": self._reader.source, "why_none": self.why_none, "readings": readings}


# The run


@dataclass(slots=True)
class LoadRun:
    report: Report
    plan: list[PlannedQuestion]
    slo: float
    samples: list[Sample] = field(default_factory=list)
    gpus: GpuWatch | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    # A stand-in replaced the model.
    stand_in: bool = False
    # Frames dropped because the simulated cameras were too slow
    frames_dropped: int = 0
    # The reason for an early end; "" if the run was complete
    cut_short: str = ""

    @property
    def due(self) -> int:
        """Number of questions that were due when the run ended."""
        if not self.cut_short:
            return len(self.plan)
        passed = max((s.ended or s.planned for s in self.samples), default=0.0)
        return max(len(self.samples), sum(p.at <= passed for p in self.plan))

    @property
    def figures(self) -> LoadFigures:
        return LoadFigures(self.samples, self.due, self.slo)


async def run_load(args: argparse.Namespace, console: Console) -> LoadRun:
    """Measure. Questions answered before SIGINT, SIGTERM or the server's end are included.

    Raises MeasurementError, HttpError, OSError and asyncio.CancelledError if there are none.
    """
    width, height = args.size
    report = Report.of(
        f"qwen-camera under load, simulated {width}×{height} VP8 cameras, open loop", args
    )
    run = LoadRun(report, plan_poisson(args.num_requests, args.rate, args.seed), args.slo)
    async with contextlib.AsyncExitStack() as stack:
        url = args.server_url
        if url is None:
            console.print("... starting a server and a stand-in for the model")
            times = {"first_token_ms": args.first_token_ms, "between_ms": args.between_ms}
            model = await stack.enter_async_context(StandInProcess(**times))
            server = await stack.enter_async_context(
                ServerProcess.for_model(model, level=args.server_log)
            )
            await server.wait_for_engine()
            url, run.stand_in = server.url, True
        report.conditions["health"] = await check_health(url)
        loop = OpenLoop(url, args)
        stack.push_async_callback(loop.close)
        run.samples = loop.samples
        console.print(f"... connecting {args.sessions} cameras")
        await loop.open(lambda text: console.print(f"... {text}"))
        report.conditions["engine"] = {key: loop.ready.get(key) for key in ("engine", "model")}
        run.limits = loop.ready.get("limits", {})
        if args.warm_up:
            console.print(f"... warming up: {args.warm_up} questions per session")
            await loop.warm_up(args.warm_up)
        if args.monitor_gpu:
            run.gpus = await stack.enter_async_context(GpuWatch(await asyncio.to_thread(GpuReader)))
        await _ask(loop, run, console)
        run.frames_dropped = loop.frames_dropped
    return run


async def check_health(url: str) -> Any:
    """Return the body of a server's /health. Raises MeasurementError if the server cannot answer questions."""
    try:
        # Without the token the server reports less.
        token = os.environ.get("METRICS_TOKEN") or None
        reply = await request("GET", f"{url}/health", token=token)
        body = reply.parse_json()
    except (ValueError, IndexError, EOFError):
        raise MeasurementError(f"the program at {url} is not a qwen-camera server") from None
    except TimeoutError:
        raise MeasurementError(f"{url} does not respond") from None
    except OSError as error:
        raise MeasurementError(
            f"{url} cannot be reached ({error.strerror or error}): check the address, and that the server is running"
        ) from None
    if not isinstance(body, dict) or "engine" not in body:
        raise MeasurementError(f"the program at {url} is not a qwen-camera server")
    if reply.status != 200:
        raise MeasurementError(f"the server cannot answer questions: {body.get('reason')}")
    return body


async def _ask(loop: OpenLoop, run: LoadRun, console: Console) -> None:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}"),
        console=console,
        disable=not console.is_terminal,
    )
    if not console.is_terminal:
        console.print(f"... asking {len(run.plan)} questions")
    with progress:
        bar = progress.add_task("asking", total=len(run.plan), detail="")

        def on_end(sample: Sample) -> None:
            failed = sum(bool(s.error) for s in run.samples)
            took = "" if sample.e2el_ms is None else f"last {sample.e2el_ms / 1000:.2f} s  "
            progress.update(bar, advance=1, detail=f"{took}errors {failed}")

        try:
            if not await program.run_until_signal(loop.ask(run.plan, on_end)):
                run.cut_short = "interrupted"
        except ServerGone:
            run.cut_short = "the server can no longer be reached"


def finish(run: LoadRun) -> None:
    figures, report = run.figures, run.report
    report.rows += figures.to_rows()
    dropped = float(run.frames_dropped)
    report.rows.append(
        Row("frames dropped because the cameras here were too slow", "", value=dropped)
    )
    if run.gpus is not None:
        report.rows += run.gpus.to_rows()
        report.more["gpu"] = run.gpus.to_json()
    sent = [s for s in run.samples if s.sent is not None]
    report.more |= {
        "interrupted": run.cut_short,
        "counts": figures.get_counts(),
        "questions": [asdict(sample) for sample in sent],
        "advice": suggest_settings(figures, run.limits),
    }
    report.close()


def publish(run: LoadRun, args: argparse.Namespace) -> int:
    """Print the results and write them. Return the exit status."""
    finish(run)
    figures = run.figures
    panels = {
        "s from the planned arrival": {
            name: [value / 1000 for value in figures.get_values(name)] for name in ("ttft", "e2el")
        },
        "ms, as the server reports": {
            what: figures.get_values(name)
            for name, what in STAGES.items()
            if figures.get_values(name)
        },
    }
    status = program.publish(run.report, "load", args, format_text(run), panels)
    if run.cut_short == "interrupted":
        return status or 130
    return status if figures.answered and not run.cut_short else 1


def format_text(run: LoadRun) -> str:
    """Return the lines below the table."""
    lines = []
    if run.cut_short:
        lines.append(
            f"The run ended early ({run.cut_short}): {len(run.samples)} of {len(run.plan)} questions had ended;"
            " the figures above cover only these."
        )
    idle = run.report.conditions.get("machine_idle_share", 1.0)
    if run.frames_dropped or idle < FULL:
        lines.append(
            f"This machine was too busy for its cameras ({run.frames_dropped} frames dropped, {idle:.0%} idle),"
            " which affects the figures: use fewer --sessions, --steady, or another machine to measure from."
        )
    lines += run.report.more["advice"]
    lines += ["", EXPECTATION, *([STAND_IN] if run.stand_in else [])]
    return "\n".join(lines)
