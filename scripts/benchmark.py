#!/usr/bin/env python3
"""Measure qwen-camera with simulated cameras and real sockets.

    python3 scripts/benchmark.py --num-requests 100 --monitor-gpu    questions at planned times, to a server started here
                                                                     and a stand-in for the model
    python3 scripts/benchmark.py --server-url URL --rate 2           the same to a running server and its model
    python3 scripts/benchmark.py --compare A.json B.json             compares two results
    python3 scripts/benchmark.py --watch --minutes 2                 WatchBench: what watches see, miss and cost, through a
                                                                     simulated camera or, with --browser, the page
    python3 scripts/benchmark.py --watch --clips made                from an event in a clip to the alert: made clips, those of
                                                                     a folder, StreamingBench's
    python3 scripts/benchmark.py --voice                             spoken questions and answers: what a visitor hears
                                                                     when, and what it costs; with stand-ins,
                                                                     --configured-speech or a --server-url, or, with
                                                                     --browser, through the page
    python3 scripts/benchmark.py --plan 100 10000                    machines for so many people, with the formulas, and what
                                                                     breaks first (--ask-every, --answers-per-gpu)
    python3 scripts/benchmark.py --machine                           how fast this machine answers with a small model: a table
                                                                     by visual tokens and threads, nothing fetched
    python3 scripts/benchmark.py --fleet                             several gateways under faults: what people lose
                                                                     (--gateways, --cameras, --rate, --phase, --faults, --repeat;
                                                                     --namespaces for hosts of their own, as root)
    python3 scripts/benchmark.py --simulate --sessions 1 8 32 128    questions beside background work, on a simulated GPU
    python3 scripts/benchmark.py --builtin                           400 questions to the built-in engine, its answers, and
                                                                     readers' verdicts (--table)
    python3 scripts/benchmark.py --truth                             questions about things that are not in the picture: what
                                                                     an engine invents (--engine-url with --wording,
                                                                     --server-url)

Questions arrive as a Poisson process, in an open loop: their times are fixed before the first question (--seed), and the
latency is measured from the planned time, so that it includes queueing. Results go to benchmark_results/ as JSON, CSV
and, if matplotlib is installed, PNG. --voice, --watch, --simulate, --builtin, --truth, --plan and --machine have their
own options (see --voice --help). --watch, --simulate, --builtin, --truth and --voice --browser are in benchmarks/,
which only a checkout has; --browser needs the packages installed by `bash scripts/test.sh`.

Exit status: 0 measured, 1 not (or nothing was answered, or the results could not be written), 2 wrong options, 130
interrupted (what was measured until then is written).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.arguments import (
    create_parser,
    make_number_parser,
    make_option_adder,
    restart_in_environment,
)
from server.core import core_dumps

try:
    from rich.console import Console

    from scripts.bench import fleet_run, machine_run, plan, program, voice_run
    from scripts.bench.compare import compare, read
    from scripts.bench.load_run import LoadRun, publish, run_load
    from scripts.bench.processes import MeasurementError
except ModuleNotFoundError as missing:
    restart_in_environment(missing)

# Programs of benchmarks/ that this script starts. An installed server does not have them.
APART = {
    "--watch": "benchmarks.watch_bench",
    "--simulate": "benchmarks.simulate",
    "--builtin": "benchmarks.builtin_asked",
    "--truth": "benchmarks.truth",
}
OWN = (*APART, "--voice", "--plan", "--fleet", "--machine")


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = create_parser(__doc__)
    program.add_options(parser, questions=100, sessions=4, rate=1.0, warm_up=2)
    positive = make_number_parser(0.001, 1e6)
    add, value = parser.add_argument, make_option_adder(parser)
    add(
        "--compare", nargs=2, type=Path, metavar=("A", "B"), help="print B's figures divided by A's"
    )
    add("--watch", action="store_true", help="WatchBench (--watch --help has its options)")
    add("--simulate", action="store_true", help="many sessions on a simulated GPU (the same)")
    add("--builtin", action="store_true", help="what the built-in engine answers (the same)")
    add("--truth", action="store_true", help="what an engine invents (the same)")
    add("--voice", action="store_true", help="spoken questions and answers (the same)")
    add("--plan", action="store_true", help="plan machines for a number of people (the same)")
    add("--fleet", action="store_true", help="several gateways under faults (the same)")
    add(
        "--machine",
        action="store_true",
        help="the speed of small models on this machine (the same)",
    )
    add("--monitor-gpu", action="store_true", help="read the GPUs of this machine every second")
    value("--slo", positive, 3.0, "objective for the time of an answer, in seconds")
    value("--timeout", positive, 120.0, "seconds after which a question is abandoned")
    add(
        "--size",
        type=_parse_size,
        default=(1280, 720),
        help="size of the cameras' pictures (1280x720)",
    )
    add(
        "--steady",
        type=make_number_parser(0.1, 30),
        metavar="FPS",
        help="cameras send this number of frames per second from shared encoders, for many sessions (cameras wake with the question)",
    )
    value("--between-ms", make_number_parser(0, 1e6), 10.0, "between the stand-in's tokens")
    add("--no-plots", action="store_true", help="draw nothing")
    chosen = parser.parse_args(arguments)
    own = [option for option in OWN if getattr(chosen, option[2:])]
    if own:
        parser.error(f"write {', '.join(OWN[:-1])} or {OWN[-1]} in full, and only one of them")
    if chosen.compare and chosen.server_url:
        parser.error("--compare measures nothing: remove the other options")
    return chosen


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{3,4})x(\d{3,4})", text, re.ASCII)
    if match is None or int(match[1]) % 2 or int(match[2]) % 2:
        raise argparse.ArgumentTypeError(f"{text} is not a size with even numbers such as 1280x720")
    return int(match[1]), int(match[2])


def measure(args: argparse.Namespace) -> int:
    console = Console(stderr=True, highlight=False)
    run: LoadRun = asyncio.run(program.run_until_sigterm(run_load(args, console)))
    if not run.samples:
        print(
            f"Nothing was written: {run.cut_short} before any question had ended.", file=sys.stderr
        )
        return 130 if run.cut_short == "interrupted" else 1
    return publish(run, args)


def go_on_in(name: str, arguments: Sequence[str]) -> int:
    """Run a program of benchmarks/ or tools/. Return its exit status."""
    try:
        apart = import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name in (name, name.partition(".")[0]):
            sys.exit(f"{name} was not found: it is only in a checkout of the project.")
        sys.exit(f"{missing.name} is not installed: `bash scripts/test.sh` installs it.")
    return int(apart.main(arguments))


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    chosen = [option for option in OWN if option in given]
    if len(chosen) == 1:
        (way,) = chosen
        rest = [argument for argument in given if argument != way]
        if way == "--plan":
            return plan.main(rest)
        if way == "--machine":
            return machine_run.main(rest)
        if way == "--watch" and any(one.startswith("--clips") for one in rest):
            return go_on_in("tools.eyes_to_alert", rest)
        if way in APART:
            return go_on_in(APART[way], rest)
        if "--browser" in rest:
            rest.remove("--browser")
            return go_on_in("benchmarks.voice_line", rest)
        return fleet_run.main(rest) if way == "--fleet" else voice_run.main(rest)
    args = parse_options(arguments)
    if not args.compare:
        return program.run(lambda: measure(args), args.output)
    try:
        print(compare(*(read(path) for path in args.compare)))
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())
