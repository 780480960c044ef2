"""A load run from beginning to end: a server (a running one, or one started here), cameras,
warm-up, questions, results.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scripts.bench import plots, program
from scripts.bench.gpu_watch import GpuWatch
from scripts.bench.http_json import request
from scripts.bench.load_figures import LoadFigures, Sample, advice
from scripts.bench.open_loop import OpenLoop, Planned, ServerGone, poisson
from scripts.bench.processes import MeasurementError, ServerProcess, StandInProcess
from scripts.bench.report import EXPECTATION, STAND_IN, Report, Row, write_csv
from server.features.hosting.gpu import GpuReader

# A machine that is idle for less of the time than this measures itself.
FULL = 0.1
COLUMNS = (
    *("number", "planned_s", "sent_s", "session_wait_ms", "ttft_ms", "tpot_ms", "e2el_ms"),
    *("wait_frame_ms", "prepare_ms", "queue_ms", "first_token_ms", "total_ms", "frame_age_ms"),
    *("visual_tokens", "prompt_tokens", "completion_tokens", "error"),
)


@dataclass(slots=True)
class LoadRun:
    report: Report
    plan: list[Planned]
    slo: float
    samples: list[Sample] = field(default_factory=list)
    gpus: GpuWatch | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    # A stand-in took the model's place
    stand_in: bool = False
    # Epoch seconds
    began: float = 0.0
    # Those that the cameras here were too slow for
    frames_dropped: int = 0
    # The reason for an early end; "" without one
    cut_short: str = ""

    @property
    def due(self) -> int:
        """Questions whose time had come when it ended."""
        if not self.cut_short:
            return len(self.plan)
        passed = max((s.ended or s.planned for s in self.samples), default=0.0)
        return max(len(self.samples), sum(p.at <= passed for p in self.plan))

    @property
    def figures(self) -> LoadFigures:
        return LoadFigures.of(self.samples, asked=self.due, slo=self.slo)


async def run_load(args: argparse.Namespace, console: Console) -> LoadRun:
    """Measure.

    The result has the figures from before SIGINT or SIGTERM, or before the server went, too.

    Raises MeasurementError, HttpError, OSError and asyncio.CancelledError when nothing could be
    measured.
    """
    report = Report.of(
        f"qwen-camera under load, simulated {args.size[0]}×{args.size[1]} VP8 cameras, open loop",
        args,
    )
    run = LoadRun(report, poisson(args.num_requests, args.rate, args.seed), args.slo)
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(Stop())
        url = args.server_url
        if url is None:
            console.print("... starting a server and a stand-in for the model")
            url, run.stand_in = await _start(stack, args), True
        report.conditions["health"] = await check_health(url)
        loop = OpenLoop(
            url,
            sessions=args.sessions,
            size=args.size,
            steady=args.steady,
            access_code=args.access_code,
            detail=args.detail,
            timeout=args.timeout,
        )
        stack.push_async_callback(loop.close)
        run.samples = loop.samples
        console.print(f"... connecting {args.sessions} cameras")
        await loop.open(lambda text: console.print(f"... {text}"))
        report.conditions["engine"] = {key: loop.ready.get(key) for key in ("engine", "model")}
        run.limits = loop.ready.get("limits", {})
        if args.warm_up:
            console.print(f"... warming up: {args.warm_up} questions a session")
            await loop.warm_up(args.warm_up)
        if args.monitor_gpu:
            run.gpus = await stack.enter_async_context(GpuWatch(await asyncio.to_thread(GpuReader)))
        await _ask(loop, run, stop, console)
        run.frames_dropped = loop.frames_dropped
    return run


async def _start(stack: contextlib.AsyncExitStack, args: argparse.Namespace) -> str:
    model = await stack.enter_async_context(
        StandInProcess(first_token_ms=args.first_token_ms, between_ms=args.between_ms)
    )
    environment = {"ENGINE": "vllm", "VLLM_BASE_URL": model.base_url}
    if args.server_log:
        environment["LOG_LEVEL"] = args.server_log
    server = await stack.enter_async_context(ServerProcess(**environment))
    await server.wait_for_engine()
    return server.url


async def check_health(url: str) -> Any:
    """Return the body of a server's /health. Raises MeasurementError when it cannot answer."""
    try:
        # Without it the server reports less.
        token = os.environ.get("METRICS_TOKEN") or None
        reply = await request("GET", f"{url}/health", token=token)
        body = reply.json()
    except (ValueError, IndexError, EOFError):
        raise MeasurementError(f"what answers at {url} is no qwen-camera server") from None
    except TimeoutError:
        raise MeasurementError(f"{url} gives no answer") from None
    except OSError as error:
        raise MeasurementError(
            f"{url} is not reached ({error.strerror or error}): does the server run, and there?"
        ) from None
    if not isinstance(body, dict) or "engine" not in body:
        raise MeasurementError(f"what answers at {url} is no qwen-camera server")
    if reply.status != 200:
        raise MeasurementError(f"the server cannot answer questions: {body.get('reason')}")
    return body


async def _ask(loop: OpenLoop, run: LoadRun, stop: Stop, console: Console) -> None:
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

        def ended(sample: Sample) -> None:
            failed = sum(bool(s.error) for s in run.samples)
            took = "" if sample.e2el_ms is None else f"last {sample.e2el_ms / 1000:.2f} s  "
            progress.update(bar, advance=1, detail=f"{took}errors {failed}")

        asking = asyncio.create_task(loop.ask(run.plan, ended), name="asking")
        stop.task = asking
        try:
            await asking
        except ServerGone:
            run.cut_short = "the server went away"
        except asyncio.CancelledError:
            if not stop.asked:
                raise
            run.cut_short = "interrupted"
        finally:
            stop.task = None
            run.began = loop.began


class Stop:
    """SIGINT and SIGTERM end `task` when there is one, else everything; the second time they do
    what they always do.
    """

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.asked = False
        self._main = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.__exit__()
        self.asked = True
        task = self.task or self._main
        if task is not None:
            task.cancel()


# --- results


def finish(run: LoadRun) -> None:
    """Put the figures into the report."""
    figures, report = run.figures, run.report
    report.rows += figures.rows()
    dropped = float(run.frames_dropped)
    report.add(Row("frames that the cameras here were too slow for", "", value=dropped))
    if run.gpus is not None:
        report.rows += run.gpus.rows()
        report.more["gpu"] = run.gpus.as_json()
    sent = [s for s in run.samples if s.sent is not None]
    report.more |= {
        "interrupted": run.cut_short,
        "summary": figures.summary(),
        "questions": [asdict(sample) for sample in sent],
        "advice": advice(figures, run.limits),
    }
    report.close()


def publish(run: LoadRun, args: argparse.Namespace) -> int:
    """Print the results and write them; the exit status."""
    finish(run)

    def questions(stem: Path) -> Path:
        lines = [COLUMNS, *map(_line, run.samples)]
        return write_csv(stem.with_name(f"{stem.name}-questions.csv"), lines)

    def draw(stem: Path) -> list[Path]:
        readings = run.gpus.readings if run.gpus is not None else []
        return plots.draw(run.figures, readings, run.began, stem)

    status = program.publish(run.report, "load", args, words(run), questions, draw)
    if run.cut_short == "interrupted":
        return status or 130
    return status if run.figures.answered and not run.cut_short else 1


def _line(sample: Sample) -> list[Any]:
    own = {
        "planned_s": round(sample.planned, 3),
        "sent_s": None if sample.sent is None else round(sample.sent, 3),
        "session_wait_ms": sample.waited_ms,
    }
    found = (own.get(c, sample.timings.get(c, getattr(sample, c, None))) for c in COLUMNS)
    return [round(value, 2) if isinstance(value, float) else value for value in found]


def words(run: LoadRun) -> str:
    """Return the lines below the table."""
    lines = []
    if run.cut_short:
        lines.append(
            f"The run ended early ({run.cut_short}): {len(run.samples)} of {len(run.plan)} questions had ended, and these "
            "are the figures above."
        )
    idle = run.report.conditions.get("machine_idle_share", 1.0)
    if run.frames_dropped or idle < FULL:
        lines.append(
            f"This machine was too busy for its cameras ({run.frames_dropped} frames dropped, {idle:.0%} idle), and the "
            "figures hold that, too: fewer --sessions, --steady, or another machine to measure from."
        )
    lines += run.report.more["advice"]
    lines += ["", EXPECTATION, *([STAND_IN] if run.stand_in else [])]
    return "\n".join(lines)
