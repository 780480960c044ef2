"""The common part of measuring programs: options, and the end of one that cannot measure."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from scripts.arguments import (
    ROOT,
    add_access_code,
    make_integer_parser,
    make_number_parser,
    make_option_adder,
    parse_address,
)
from scripts.bench.http_json import HttpError
from scripts.bench.processes import MeasurementError
from scripts.bench.report import Report, draw

T = TypeVar("T")


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a running server."""
    words = "measure this server instead of starting one"
    parser.add_argument("--server-url", type=parse_address, help=words)
    add_access_code(parser, os.environ.get("ACCESS_CODE") or None)


def add_output(parser: argparse.ArgumentParser, *, plots: bool = False) -> None:
    """Add the options for the output of results."""
    folder = ROOT / "benchmark_results"
    parser.add_argument("--output", type=Path, default=folder, help="folder for the results")
    if plots:
        parser.add_argument("--no-plots", action="store_true", help="draw nothing")


def choose_parts(
    parser: argparse.ArgumentParser, args: argparse.Namespace, whose: str, known: Sequence[str]
) -> None:
    """Set `args.only` to the parts to measure with an option: the named ones, else all."""
    named = set(filter(None, args.only.split(",")))
    if unknown := named - set(known):
        parser.error(f"{whose} has no part {', '.join(sorted(unknown))}: {','.join(known)}")
    args.only = [part for part in known if part in named or not named]


def say(text: str) -> None:
    """Print a progress message."""
    print(f"... {text}", file=sys.stderr, flush=True)


def add_options(
    parser: argparse.ArgumentParser, *, questions: int, sessions: int, rate: float, warm_up: int
) -> None:
    """Add the options common to all measurements; the numbers are the defaults."""
    add_server(parser)
    add, value = parser.add_argument, make_option_adder(parser)
    value(
        "--num-requests", make_integer_parser(1, 100_000), questions, "questions after the warm-up"
    )
    value(
        "--sessions", make_integer_parser(1, 1000), sessions, "simulated pages, each with a camera"
    )
    value(
        "--rate",
        make_number_parser(0.001, 1000),
        rate,
        "questions per second of all sessions together",
    )
    value(
        "--warm-up",
        make_integer_parser(0, 1000),
        warm_up,
        "questions per session that are not counted",
    )
    add("--detail", choices=("auto", "low", "high"), default="auto")
    value("--seed", int, 1, "seed of the times and kinds of questions")
    add_output(parser)
    value(
        "--first-token-ms",
        make_number_parser(0.001, 1e6),
        50,
        "milliseconds to the stand-in model's first token",
    )
    add("--server-log", default="", help="log level of the started server (warning)")


def run(measure: Callable[[], int], output: Path) -> int:
    """Measure if results can be written to `output`. Return the exit status.

    Print one line with the reason if nothing was measured. SIGTERM ends the measurement and the programs that it
    started, as SIGINT does.
    """
    logging.basicConfig(level=logging.ERROR)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output).close()
    except OSError as error:
        return _report_unwritten(output, error)
    try:
        return measure()
    except ModuleNotFoundError as error:
        print(
            f"{error.name} is not installed: `bash scripts/test.sh` installs it.", file=sys.stderr
        )
        return 1
    except (MeasurementError, HttpError, OSError) as error:
        # A TimeoutError has no text.
        print(f"The measurement was aborted: {error or 'no answer in time'}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("Interrupted before anything was measured: nothing was written.", file=sys.stderr)
        return 130


async def run_until_sigterm(work: Coroutine[Any, Any, T]) -> T:
    """Run the work of `asyncio.run`. SIGTERM cancels it, as SIGINT does unless the shell ignores SIGINT.

    An exception raised in a signal handler would end any code that is running, including aiortc's.
    """
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


async def run_until_signal(work: Awaitable[None]) -> bool:
    """Run `work`. Return False if SIGINT or SIGTERM ended it early. A second signal has its default effect."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        for one in numbers:
            loop.remove_signal_handler(one)
        task.cancel()

    for one in numbers:
        loop.add_signal_handler(one, stop)
    try:
        await asyncio.wait([task])
    finally:
        for one in numbers:
            loop.remove_signal_handler(one)
        task.cancel()
    # Cancelled by a signal: a browser that also received it may fail to close.
    if task.cancelled() or task.cancelling():
        return False
    task.result()
    return True


def publish(
    report: Report,
    name: str,
    args: argparse.Namespace,
    words: str = "",
    panels: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> int:
    """Finish a report, print it with `words`, and write it to `args.output`. Return the exit status.

    `panels` are drawn (report.draw) unless `args.no_plots` is set or matplotlib is not installed.
    """
    report.close()
    print(f"{report.format_table()}\n\n{words}".rstrip() + "\n")
    no_plots = ""
    try:
        paths = [*report.write(args.output, name)]
        if panels and not args.no_plots:
            paths.append(draw(report.make_stem(args.output, name), panels))
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        no_plots = (
            "No plots: matplotlib is not installed."
            " .venv/bin/python -m pip install --require-hashes -r locks/requirements-plots.txt"
        )
    except OSError as error:
        return _report_unwritten(args.output, error)
    print(f"Written: {', '.join(os.path.relpath(path) for path in paths)}")
    if no_plots:
        print(no_plots)
    return 0


def _report_unwritten(folder: Path, error: OSError) -> int:
    """Print why the results cannot be written. Return the exit status."""
    print(f"Results cannot be written to {folder}: {error.strerror}.", file=sys.stderr)
    return 1
