#!/usr/bin/env python3
"""Measure qwen-camera with simulated cameras and real sockets.

    python scripts/benchmark.py --num-requests 100 --monitor-gpu     questions at planned times, to a server started here
                                                                     and a stand-in for the model
    python scripts/benchmark.py --server-url URL --rate 2            the same to a running server and its model
    python scripts/benchmark.py --compare A.json B.json              two results beside each other

    python scripts/benchmark.py --rows                               the figures to reach, with their targets
    python scripts/benchmark.py --rows --browser                     the same through headless Chromium and the page
    python scripts/benchmark.py --rows --network                     narrow, lossy and broken links, through the page

Questions arrive as a Poisson process, in an open loop: when each is due is fixed before the first is asked (--seed), and
its latency counts from then, so that time spent queueing shows. Results go to benchmark_results/ as JSON, CSV and, where
matplotlib is installed, PNG.

Exit status: 0 measured, 1 not (or nothing was answered, or the results could not be written), 2 wrong options, 130
interrupted (what was measured until then is written).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.arguments import address  # noqa: E402
from scripts.own_environment import go_on_inside  # noqa: E402
from server.core import core_dumps  # noqa: E402

try:
    from rich.console import Console

    from scripts.bench.compare import NoResult, compare, read
    from scripts.bench.http_json import HttpError
    from scripts.bench.load_run import LoadRun, check_folder, finish, run_load, words, write
    from scripts.bench.processes import MeasurementError
    from scripts.bench.report import EXPECTATION, STAND_IN, Report
    from scripts.bench.rows import run_rows
except ModuleNotFoundError as missing:
    go_on_inside(missing)

# Of the load run, and of the rows
DEFAULTS = {
    "num_requests": (100, 60),
    "sessions": (4, 2),
    "rate": (1.0, 0.8),
    "warm_up": (2, 3),
}
LOAD_ONLY = ("monitor_gpu", "size", "steady", "slo", "timeout", "between_ms", "no_plots")
MAX_REQUESTS, MAX_SESSIONS = 100_000, 1000


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    positive, share = _number(0.001, 1e6), _number(0, 1)
    add = parser.add_argument
    add("--server-url", type=address, help="measure this server instead of starting one")
    add("--access-code", help="its access code (ACCESS_CODE of the environment)")
    add("--num-requests", type=_whole(1, MAX_REQUESTS), help="questions after the warm-up (100)")
    add("--sessions", type=_whole(1, MAX_SESSIONS), help="pages that ask, each with a camera (4)")
    add("--rate", type=_number(0.001, 1000), help="questions a second, of all together (1)")
    add("--warm-up", type=_whole(0, 1000), help="questions a session before any is counted (2)")
    add("--detail", choices=("auto", "low", "high"), default="auto")
    add("--seed", type=int, default=1, help="of when what is asked (1)")
    add("--output", type=Path, default=ROOT / "benchmark_results", help="folder for the results")
    add("--first-token-ms", type=positive, default=50, help="of the stand-in model (50)")
    add("--server-log", default="", help="log level of the started server (warning)")
    add(
        "--compare", nargs=2, type=Path, metavar=("A", "B"), help="print B's figures divided by A's"
    )

    load = parser.add_argument_group("load run")
    add = load.add_argument
    add("--monitor-gpu", action="store_true", help="read the GPUs of this machine each second")
    add("--slo", type=positive, help="seconds within which an answer is good (3)")
    add("--timeout", type=positive, help="seconds after which a question is given up (120)")
    add("--size", type=_size, help="of the cameras' pictures (1280x720)")
    add(
        "--steady",
        type=_number(0.1, 30),
        metavar="FPS",
        help="cameras send so many frames a second, from shared encoders: for many sessions (wake with the question)",
    )
    add("--between-ms", type=_number(0, 1e6), help="between the stand-in's tokens (10)")
    add("--no-plots", action="store_true", help="draw nothing")

    rows = parser.add_argument_group("figures to reach")
    add = rows.add_argument
    add("--rows", action="store_true", help="measure them in place of a load run")
    add("--browser", action="store_true", help="through headless Chromium and the page")
    add("--network", action="store_true", help="narrow, lossy and broken links (about 25 minutes)")
    add(
        "--only",
        default="",
        help="parts: questions,first,idle,memory,capacity,start; narrow,step,loss,cut (all)",
    )
    add("--typed-share", type=share, default=0.5, help="share of questions typed, not tapped (0.5)")
    add("--idle-seconds", type=positive, default=20, help="how long idle cameras are watched (20)")
    add(
        "--idle-cameras",
        type=_whole(1, 1000),
        default=10,
        help="idle cameras for processor and memory (10)",
    )
    add(
        "--cameras",
        type=_whole(0, 1000),
        default=0,
        help="most cameras of the ramp; 0 leaves it out (0)",
    )
    add("--sample-rate", type=positive, action="append", help="cameras' idle rates (2 and 5)")
    add(
        "--soak-rounds",
        type=_whole(1, 1000),
        default=3,
        help="times that all cameras come and go (3)",
    )
    add(
        "--server-pid",
        type=_whole(1, 2**31),
        help="the server's process, for processor and memory (same machine)",
    )
    add(
        "--camera-apart",
        action="store_true",
        help="with --browser: questions to a camera that a worker draws, since no real one waits for the page's work",
    )
    add(
        "--uplink-kbps",
        type=positive,
        help="with --network: this narrow link in place of all (none)",
    )
    add(
        "--seeds",
        type=_whole(1, 1000),
        default=3,
        help="with --network: runs of each lossy or cut link (3)",
    )

    chosen = parser.parse_args(arguments)
    chosen.rows = chosen.rows or chosen.browser or chosen.network
    if chosen.browser and chosen.network:
        parser.error("--browser and --network are two measurements: one at a time")
    if chosen.compare and (chosen.rows or chosen.server_url):
        parser.error("--compare measures nothing: leave the other options out")
    if chosen.rows:
        for name in LOAD_ONLY:
            if getattr(chosen, name):
                parser.error(f"--{name.replace('_', '-')} belongs to the load run, not to --rows")
    elif chosen.only:
        parser.error("--only goes with --rows")
    for name, (of_load, of_rows) in DEFAULTS.items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, of_rows if chosen.rows else of_load)
    chosen.size = chosen.size or (1280, 720)
    chosen.slo = chosen.slo or 3.0
    chosen.timeout = chosen.timeout or 120.0
    chosen.between_ms = 10.0 if chosen.between_ms is None else chosen.between_ms
    chosen.access_code = chosen.access_code or os.environ.get("ACCESS_CODE") or None
    return chosen


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read_it(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {low} to {high}")
        return value

    return read_it


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{3,4})x(\d{3,4})", text, re.ASCII)
    if match is None or int(match[1]) % 2 or int(match[2]) % 2:
        raise argparse.ArgumentTypeError(f"{text} is no size of even numbers like 1280x720")
    return int(match[1]), int(match[2])


def _number(low: float, high: float) -> Callable[[str], float]:
    def read_it(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is no number from {low:g} to {high:g}")
        return value

    return read_it


def measure_load(args: argparse.Namespace) -> int:
    run: LoadRun = asyncio.run(run_load(args, Console(stderr=True, highlight=False)))
    if not run.samples:
        print(
            f"Nothing is written: {run.cut_short} before any question had ended.", file=sys.stderr
        )
        return 130 if run.cut_short == "interrupted" else 1
    finish(run)
    print(run.report.table())
    print(f"\n{words(run)}\n")
    try:
        paths, no_plots = write(run, args.output, with_plots=not args.no_plots)
    except OSError as error:
        return _unwritten(args.output, error)
    print(f"Written: {', '.join(os.path.relpath(p) for p in paths)}")
    if no_plots:
        print(no_plots)
    if run.cut_short == "interrupted":
        return 130
    return 0 if run.figures.answered and not run.cut_short else 1


def measure_rows(args: argparse.Namespace) -> int:
    if args.browser:
        # Playwright is needed for this way and the next alone.
        from scripts.bench.browser_figures import run_browser

        report, name = asyncio.run(_until_asked(run_browser(args))), "browser"
    elif args.network:
        from scripts.bench.network_figures import run_network

        report, name = asyncio.run(_until_asked(run_network(args))), "network"
    else:
        report, name = asyncio.run(_until_asked(run_rows(args))), "benchmark"
    report.close()
    # Results are passed on; the code is not.
    report.conditions["arguments"].pop("access_code", None)
    print(report.table())
    note = "" if args.server_url else f" {STAND_IN}"
    print(f"\n{EXPECTATION}{note}\n")
    try:
        paths = report.write(args.output, name)
    except OSError as error:
        return _unwritten(args.output, error)
    print(f"Written: {', '.join(os.path.relpath(p) for p in paths)}")
    return 0


async def _until_asked(rows: Awaitable[Report]) -> Report:
    """Asked to end by SIGTERM it is cancelled, so that what it started ends with it. (A load run has its own way.)

    Not by way of SIGINT, which is ignored in a shell's background.
    """
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await rows


def _unwritten(folder: Path, error: OSError) -> int:
    print(f"Results cannot be written to {folder}: {error.strerror}.", file=sys.stderr)
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    args = options(arguments)
    logging.basicConfig(level=logging.ERROR)
    try:
        if args.compare:
            print(compare(*(read(path) for path in args.compare)))
            return 0
        check_folder(args.output)
    except NoResult as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        return _unwritten(args.output, error)
    try:
        return measure_rows(args) if args.rows else measure_load(args)
    except ModuleNotFoundError as error:
        print(
            f"{error.name} is not installed: `bash scripts/test.sh` installs it.", file=sys.stderr
        )
        return 1
    except (MeasurementError, HttpError, OSError) as error:
        # A TimeoutError has no text of its own.
        print(f"The measurement was broken off: {error or 'no answer in time'}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("Interrupted before anything was measured: nothing is written.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())
