"""Measure the figures of docs/FIGURES.md, with their targets.

    python -m benchmarks --rows          simulated cameras: rows 1 to 11
    python -m benchmarks --browser       headless Chromium and the page: rows 1 to 7 and 10
    python -m benchmarks --network       measure narrow, lossy and cut links, through the page: rows 12 to 14 (about 25 minutes)

A stand-in answers instead of the model. Results are written to benchmark_results/ as JSON and CSV.

Exit status: 0 measured, 1 not (or the results could not be written), 2 wrong options, 130 interrupted (nothing is
written).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

# `go_on_inside` starts this file by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.arguments import (
    create_parser,
    make_integer_parser,
    make_number_parser,
    restart_in_environment,
)
from server.core import core_dumps

try:
    from benchmarks.rows import run_rows
    from scripts.bench import program
    from scripts.bench.report import EXPECTATION, STAND_IN, Report
except ModuleNotFoundError as missing:
    restart_in_environment(missing)

PARTS = {
    "rows": ("questions", "first", "idle", "memory", "capacity", "start"),
    "browser": ("questions", "idle", "reading"),
    "network": ("narrow", "step", "loss", "cut"),
}


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = create_parser(__doc__, prog="python -m benchmarks")
    positive = make_number_parser(0.001, 1e6)
    way = parser.add_mutually_exclusive_group(required=True)
    for name, text in (
        ("rows", "simulated cameras"),
        ("browser", "headless Chromium and the page"),
        ("network", "measure narrow, lossy and cut links"),
    ):
        way.add_argument(
            f"--{name}", dest="way", action="store_const", const=name, help=f"measure with {text}"
        )
    parts = "; ".join(f"--{name}: {','.join(found)}" for name, found in PARTS.items())
    parser.add_argument("--only", default="", help=f"parts to measure ({parts})")
    program.add_options(parser, questions=60, sessions=2, rate=0.8, warm_up=3)

    add = parser.add_argument_group("with --rows").add_argument
    add(
        "--typed-share",
        type=make_number_parser(0, 1),
        default=0.5,
        help="fraction of questions that are typed (0.5)",
    )
    add(
        "--idle-cameras",
        type=make_integer_parser(1, 1000),
        default=10,
        help="for processor and memory (10)",
    )
    add(
        "--cameras",
        type=make_integer_parser(0, 1000),
        default=0,
        help="maximum of the ramp; 0 omits it (0)",
    )
    add("--sample-rate", type=positive, action="append", help="cameras' idle rates (2 and 5)")
    add(
        "--soak-rounds",
        type=make_integer_parser(1, 1000),
        default=3,
        help="number of times that all cameras connect and disconnect (3)",
    )
    add(
        "--server-pid",
        type=make_integer_parser(1, 2**31),
        help="process ID of the server at --server-url, if it runs on this machine",
    )

    add = parser.add_argument_group("with --rows or --browser").add_argument
    add(
        "--idle-seconds",
        type=positive,
        default=20,
        help="seconds for which idle cameras are measured (20)",
    )
    add(
        "--microphone",
        action="store_true",
        help="microphones are on in a quiet room, which must not change rows 2 to 7",
    )

    parser.add_argument_group("with --browser").add_argument(
        "--camera-apart",
        action="store_true",
        help="a worker draws the camera's picture, because a real camera does not wait for the page",
    )
    add = parser.add_argument_group("with --network").add_argument
    add("--uplink-kbps", type=positive, help="only this narrow link (all)")
    add(
        "--seeds",
        type=make_integer_parser(1, 1000),
        default=3,
        help="runs of each lossy or cut link (3)",
    )

    args = parser.parse_args(arguments)
    program.choose_parts(parser, args, f"--{args.way}", PARTS[args.way])
    if args.server_url and args.way != "rows":
        parser.error(f"--{args.way} starts its own server: --server-url requires --rows")
    if args.microphone and args.way == "network":
        parser.error("--microphone requires --rows or --browser")
    return args


def measure(args: argparse.Namespace) -> int:
    report = asyncio.run(program.run_until_sigterm(_measure(args)))
    name = "benchmark" if args.way == "rows" else args.way
    words = EXPECTATION if args.server_url else f"{EXPECTATION} {STAND_IN}"
    return program.publish(report, name, args, words)


async def _measure(args: argparse.Namespace) -> Report:
    # Only these two need Playwright.
    if args.way == "browser":
        from benchmarks.live_page import run_browser

        return await run_browser(args)
    if args.way == "network":
        from benchmarks.network_figures import run_network

        return await run_network(args)
    return await run_rows(args)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse_options(arguments)
    return program.run(lambda: measure(args), args.output)


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())
