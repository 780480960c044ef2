"""The common part of programs that measure: options, and how one ends that cannot do its work."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from scripts.arguments import address, number, whole
from scripts.bench.http_json import HttpError
from scripts.bench.processes import ROOT, MeasurementError
from scripts.bench.report import Report


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a server which runs already."""
    add = parser.add_argument
    add("--server-url", type=address, help="measure this server instead of starting one")
    add(
        "--access-code",
        default=os.environ.get("ACCESS_CODE") or None,
        help="its access code (ACCESS_CODE of the environment)",
    )


def add_options(
    parser: argparse.ArgumentParser, *, questions: int, sessions: int, rate: float, warm_up: int
) -> None:
    """Add the options that every measurement takes; the numbers are the defaults."""
    add_server(parser)
    add = parser.add_argument
    add(
        "--num-requests",
        type=whole(1, 100_000),
        default=questions,
        help=f"questions after the warm-up ({questions})",
    )
    add(
        "--sessions",
        type=whole(1, 1000),
        default=sessions,
        help=f"pages that ask, each with a camera ({sessions})",
    )
    add(
        "--rate",
        type=number(0.001, 1000),
        default=rate,
        help=f"questions a second, of all together ({rate:g})",
    )
    add(
        "--warm-up",
        type=whole(0, 1000),
        default=warm_up,
        help=f"questions a session before any is counted ({warm_up})",
    )
    add("--detail", choices=("auto", "low", "high"), default="auto")
    add("--seed", type=int, default=1, help="of when what is asked (1)")
    add("--output", type=Path, default=ROOT / "benchmark_results", help="folder for the results")
    add("--first-token-ms", type=number(0.001, 1e6), default=50, help="of the stand-in model (50)")
    add("--server-log", default="", help="log level of the started server (warning)")


def run(measure: Callable[[], int], output: Path) -> int:
    """Measure when results can be written to `output`; the exit status.

    Says in one line why there is none.
    """
    logging.basicConfig(level=logging.ERROR)
    try:
        check_folder(output)
    except OSError as error:
        return unwritten(output, error)
    try:
        return measure()
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


def check_folder(folder: Path) -> None:
    """Find out, before anything is measured, that results can be written to a folder.

    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{time.time_ns()}"
    probe.touch()
    probe.unlink()


def written(folder: Path, write: Callable[[], Iterable[Path]]) -> int:
    """Write results with `write`, and say where they are, or why not; the exit status."""
    try:
        paths = list(write())
    except OSError as error:
        return unwritten(folder, error)
    print(f"Written: {', '.join(os.path.relpath(path) for path in paths)}")
    return 0


def publish(
    report: Report,
    name: str,
    args: argparse.Namespace,
    words: str,
    more: Callable[[Path], Path],
    draw: Callable[[Path], Iterable[Path]],
) -> int:
    """Print a report with `words`, and write it to `args.output` with one file more, and with pictures unless
    `args.no_plots` is set or matplotlib is not installed; the exit status.

    `more` and `draw` get the stem of the files' names.
    """
    print(f"{report.table()}\n\n{words}\n")
    stem, no_plots = report.stem(args.output, name), ""
    try:
        paths = [*report.write(args.output, name), more(stem)]
        if not args.no_plots:
            paths += draw(stem)
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        no_plots = (
            "No plots: matplotlib is not installed."
            " .venv/bin/python -m pip install --require-hashes -r locks/requirements-plots.txt"
        )
    except OSError as error:
        return unwritten(args.output, error)
    print(f"Written: {', '.join(os.path.relpath(path) for path in paths)}")
    if no_plots:
        print(no_plots)
    return 0


def unwritten(folder: Path, error: OSError) -> int:
    """Say why results are not written; the exit status."""
    print(f"Results cannot be written to {folder}: {error.strerror}.", file=sys.stderr)
    return 1
