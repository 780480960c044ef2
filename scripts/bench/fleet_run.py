"""Measure a fleet under scripted faults: gateways that drain or are killed, engines that are killed or slow,
Redis that hangs or restarts empty, a host that is disconnected.

    python3 scripts/benchmark.py --fleet
    python3 scripts/benchmark.py --fleet --gateways 6 --cameras 60 --rate 5 --faults kill drain
    sudo python3 scripts/benchmark.py --fleet --namespaces --gateways 6 --cameras 60 --rate 5 --repeat 3 --size 320x180 --phase 20

It starts everything on this machine: Redis, nginx, gateways, and stand-ins for the model whose
answers take longer under load. Cameras share their encoders. Each fault has three phases: before,
during and after. It needs nginx, redis-server and vLLM's router (installed by bash
scripts/router.sh).

With --namespaces (only as root) each part has its own network namespace, with a bridge between them:
two gateways per host, two nginx, and the fault `partition`, which disconnects the last host.

The people behave like the page: they reopen a lost socket, offer the camera again when its connection
is lost, start another session when theirs has ended, and repeat a question whose socket was lost. A
question is lost if it ends without an answer; if its first word had arrived, it is counted as
"mid-answer". The picture is missing from the loss of a session or a camera's connection until a gateway
reports a live camera.

All people and their cameras share one process. If it gets no processor time, cameras freeze, and
servers report that correctly: the output shows for how many lost questions the encoder had made no
picture, and the longest pause of the process.

Exit status: 0 measured, 1 not, 2 wrong options.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import math
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from scripts.arguments import (
    create_parser,
    make_integer_parser,
    make_number_parser,
    make_option_adder,
)
from scripts.bench import program
from scripts.bench.fleet import DRAINED_SECONDS, FAULTS, LEAST, NOT_APART, Fleet, Step, make_script
from scripts.bench.fleet_peer import FleetVisitor, Outage, QuestionRecord
from scripts.bench.http_json import request
from scripts.bench.live_encoder import TICKS, LiveEncoder, Scene
from scripts.bench.open_loop import QUESTIONS
from scripts.bench.processes import PAUSE_SECONDS, Machine, MeasurementError
from scripts.bench.program import say
from scripts.bench.report import get_percentile

# Frames per second of the shared encoders, and their number
FRAME_RATE, ENCODERS = 5.0, 2
# Maximum bits of a frame, because each packet costs time in the people's process and a gateway
MOST_BITS = 60_000
SIZES = ("320x180", "640x360", "1280x720")
# Seconds in addition to the phases: starts, connections, restarts
SPARE_SECONDS = 240.0
CONNECT_SECONDS = 60.0
# Seconds for the end of all processes after Ctrl+C or SIGTERM
END_SECONDS = 30.0


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = create_parser(__doc__, prog="benchmark.py --fleet")
    add, value = parser.add_argument, make_option_adder(parser)
    value("--gateways", make_integer_parser(2, 50), 3, "web processes")
    value("--engines", make_integer_parser(1, 16), 3, "stand-ins for model servers")
    value("--cameras", make_integer_parser(1, 500), 12, "people with the page open")
    value(
        "--rate", make_number_parser(0.01, 100), 2.0, "questions per second of all people together"
    )
    value("--phase", make_number_parser(2, 600), 10.0, "minimum seconds of each phase")
    value("--repeat", make_integer_parser(1, 20), 1, "number of runs of each fault")
    add(
        "--namespaces",
        action="store_true",
        help="a network namespace for each part, two nginx; needs root",
    )
    add("--size", choices=SIZES, default="640x360", help="size of the cameras' pictures (640x360)")
    value(
        "--turnover",
        make_number_parser(0, 3600),
        5.0,
        "seconds between two departures, each followed by an arrival; 0: none",
    )
    add("--faults", nargs="+", choices=FAULTS, help="the faults, in this order (all possible ones)")
    value(
        "--first-token-ms",
        make_number_parser(0.001, 1e6),
        50,
        "milliseconds to the first token of an engine without load",
    )
    value("--between-ms", make_number_parser(0, 1e6), 20.0, "milliseconds between its tokens")
    value("--seed", int, 1, "seed of the order of questions")
    program.add_output(parser)
    args = parser.parse_args(arguments)
    args.faults = args.faults or list(FAULTS if args.namespaces else NOT_APART)
    if "partition" in args.faults and not args.namespaces:
        parser.error("the fault partition needs --namespaces, because it disconnects a host")
    return args


# Costs of vLLM's router

# Pairs of questions, and the picture's bytes in each as base64 (SECURITY.md's bounds, docs/figures/fleet.json)
COST_QUESTIONS = 200
_PICTURE_BYTES = 150_000


async def measure_cost(router: str, engine: str) -> dict[str, Any]:
    """Request one token directly and through the router (base URLs), in turn. Return the times in ms."""
    picture = base64.b64encode(os.urandom(_PICTURE_BYTES * 3 // 4)).decode()
    url = {"url": f"data:image/jpeg;base64,{picture}"}
    content = [{"type": "image_url", "image_url": url}, {"type": "text", "text": "What is it?"}]
    messages = [{"role": "user", "content": content}]
    body = {"model": "stand-in", "messages": messages, "stream": True, "max_tokens": 1}
    took: dict[str, list[float]] = {"direct": [], "router": []}
    for turn in range(COST_QUESTIONS):
        for way, base_url in (("direct", engine), ("router", router)):
            begin = time.perf_counter()
            session = {"X-Session-ID": f"cost-{turn % 8}"}
            reply = await request("POST", f"{base_url}/chat/completions", body, headers=session)
            if reply.status != 200:
                raise MeasurementError(f"{base_url} refused a question")
            took[way].append(1000 * (time.perf_counter() - begin))
    return {"questions": COST_QUESTIONS} | {
        f"{way}_p{q}_ms": round(get_percentile(times, q), 1)
        for way, times in took.items()
        for q in (50, 95)
    }


# Figures

PHASES = ("before", "during", "after")


@dataclass(frozen=True, slots=True)
class Span:
    """The times of a fault in monotonic seconds: the start of its phases, and the end of the last one."""

    before: float
    during: float
    after: float
    end: float

    def get_phase(self, at: float) -> str:
        """Return the phase of a time; "" outside."""
        if not self.before <= at < self.end:
            return ""
        return PHASES[(at >= self.during) + (at >= self.after)]


def compute_figures(
    fault: str,
    span: Span,
    asked: Sequence[QuestionRecord],
    aways: Sequence[Outage],
    people: tuple[int, int],
    requests: Sequence[int],
    machine: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Compute the row of a fault. `people`: all, and those with a live camera at the end; `requests`: requests of each
    engine since the fault began; `machine`: result of `Machine.since`.
    """
    mine = [one for one in asked if span.get_phase(one.at)]
    gone = [one for one in aways if span.get_phase(one.began)]
    lost = [one for one in mine if one.end not in ("ok", "mid-answer", "")]
    back = [one.seconds for one in gone if math.isfinite(one.seconds)]
    due = [one for one in gone if one.before > 0 and one.live is not None]
    first: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for one in mine:
        if one.first is not None:
            first[span.get_phase(one.at)].append(1000 * (one.first - one.at))
    why = Counter(one.why for one in gone)
    return {
        "fault": fault,
        "people": people[0],
        "live_at_end": people[1],
        "moved": why["moved"],
        "cut_off": why["lost"],
        "offered_again": why["camera"],
        "away_p50_s": _round_optional(get_percentile(back, 50), 2),
        "away_max_s": _round_optional(max(back, default=math.nan), 2),
        "never_back": len(gone) - len(back),
        "chats_due": len(due),
        "chats_kept": sum(one.after >= one.before for one in due),
        "questions": len(mine),
        "asked_again": sum(one.again for one in mine),
        "mid_answer": sum(one.end == "mid-answer" for one in mine),
        "lost": len(lost),
        # Their cameras had no pictures to send, because this process got no time.
        "lost_unmade": sum((one.unmade or 0.0) > PAUSE_SECONDS for one in lost),
        "lost_why": dict(Counter(one.end for one in lost).most_common()),
        **{
            f"first_token_p{q}_ms_{phase}": _round_optional(get_percentile(times, q), 0)
            for phase, times in first.items()
            for q in (50, 95)
        },
        "requests": list(requests),
        **(machine or {}),
        # For finding the cause
        "lost_questions": [asdict(replace(one, sent=None)) for one in lost],
    }


def compute_median_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one row for the runs of a fault: sums of counts, medians of times, longest absence and pause."""
    found: dict[str, Any] = {"fault": rows[0]["fault"], "runs": len(rows)}
    for name, value in rows[0].items():
        values = [row[name] for row in rows if row[name] is not None]
        if name in ("away_max_s", "pause_max_ms"):
            found[name] = max(values, default=None)
        elif isinstance(value, dict):
            found[name] = dict(sum(map(Counter, values), Counter()).most_common())
        elif name == "requests":
            found[name] = [sum(counts) for counts in zip(*values, strict=True)]
        elif isinstance(value, int):
            found[name] = sum(values)
        elif isinstance(value, float | None):
            found[name] = get_percentile(values, 50) if values else None
    return found


def _round_optional(value: float, digits: int) -> float | None:
    return None if math.isnan(value) else round(float(value), digits)


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table with a line for each fault."""
    head = (
        *("fault", "runs", "people, live at the end", "sessions moved, cut off; cameras offered again"),
        *("away p50 / most; never back", "chats kept", "asked", "lost", "mid-answer", "asked again"),
        *("first token p50/p95 before; during; after, ms", "engines' requests", "idle", "longest pause"),
    )  # fmt: skip
    lines = [head, ("---",) * len(head)]
    for row in rows:
        why = ", ".join(f"{code} {count}" for code, count in row["lost_why"].items())
        first = "; ".join(
            "/".join(_format(row[f"first_token_p{q}_ms_{phase}"]) for q in (50, 95))
            for phase in PHASES
        )
        lines.append(
            (
                row["fault"],
                str(row.get("runs", 1)),
                f"{row['people']}, {row['live_at_end']}",
                f"{row['moved']}, {row['cut_off']}; {row['offered_again']}",
                f"{_format(row['away_p50_s'])} / {_format(row['away_max_s'])} s; {row['never_back']}",
                f"{row['chats_kept']} of {row['chats_due']}",
                str(row["questions"]),
                f"{row['lost']}"
                + (f" ({why}; {row['lost_unmade']} while no pictures were made)" if why else ""),
                str(row["mid_answer"]),
                str(row["asked_again"]),
                first,
                " / ".join(map(str, row["requests"])),
                "-" if row.get("idle_share") is None else f"{row['idle_share']:.0%}",
                f"{_format(row.get('pause_max_ms'))} ms",
            )
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


# The run


class Crowd:
    """The people: they arrive, ask and leave."""

    def __init__(self, urls: Sequence[str], args: argparse.Namespace) -> None:
        """Create an empty crowd. `urls`: the addresses that people use, in turn."""
        self._urls = urls
        self._args = args
        self._rng = random.Random(args.seed)
        width, _, height = args.size.partition("x")
        size = int(width), int(height)
        self._encoders = [
            LiveEncoder(
                Scene(*size, seed=one),
                rate=FRAME_RATE,
                phase=TICKS * one // ENCODERS,
                bits_per_frame=min(MOST_BITS, size[0] * size[1] // 4),
            )
            for one in range(ENCODERS)
        ]
        self._there: dict[FleetVisitor, asyncio.Task[None]] = {}
        self._busy: set[FleetVisitor] = set()
        self._questions: set[asyncio.Task[None]] = set()
        self._came = 0
        self.asked: list[QuestionRecord] = []
        self.aways: list[Outage] = []

    @property
    def people(self) -> tuple[int, int]:
        """Return the number of people, and of those with a live camera."""
        return len(self._there), sum(one.seen for one in self._there)

    def add_visitor(self) -> FleetVisitor:
        visitor = FleetVisitor(
            self._urls[self._came % len(self._urls)],
            self._encoders[self._came % ENCODERS],
            random.Random(self._args.seed * 10_000 + self._came),
            aways=self.aways,
            asked=self.asked,
            pulse=self._args.namespaces,
        )
        self._came += 1
        self._there[visitor] = asyncio.create_task(visitor.stay_connected(), name="fleet-stay")
        return visitor

    async def open(self) -> None:
        """Connect all people. Raises MeasurementError if a camera is not live in time."""
        for _ in range(self._args.cameras):
            visitor = self.add_visitor()
            try:
                await asyncio.wait_for(visitor.live.wait(), CONNECT_SECONDS)
            except TimeoutError:
                raise MeasurementError(
                    f"camera {self._came} is not live after {CONNECT_SECONDS:.0f} s"
                ) from None

    async def ask_on(self) -> None:
        """Ask, as a Poisson process, until cancelled."""
        at = time.monotonic()
        while True:
            at += self._rng.expovariate(self._args.rate)
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            free = [one for one in self._there if one not in self._busy]
            if free:
                task = asyncio.create_task(self._ask(self._rng.choice(free)), name="fleet-ask")
                self._questions.add(task)
                task.add_done_callback(self._questions.discard)

    async def _ask(self, visitor: FleetVisitor) -> None:
        self._busy.add(visitor)
        try:
            await visitor.ask(self._rng.choice(QUESTIONS))
        finally:
            self._busy.discard(visitor)

    async def change_on(self) -> None:
        """Replace people by others, until cancelled."""
        while self._args.turnover:
            await asyncio.sleep(self._args.turnover)
            free = [one for one in self._there if one not in self._busy and one.seen]
            if free:
                await self.leave(self._rng.choice(free))
                self.add_visitor()

    async def leave(self, visitor: FleetVisitor) -> None:
        staying = self._there.pop(visitor)
        staying.cancel()
        await asyncio.wait({staying}, timeout=1)
        await visitor.leave()

    async def wait_answers(self, seconds: float) -> None:
        """Wait for the running answers."""
        if self._questions:
            await asyncio.wait(self._questions, timeout=seconds)

    async def close(self) -> None:
        await asyncio.gather(*(self.leave(visitor) for visitor in list(self._there)))
        for encoder in self._encoders:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(encoder.close(), 3)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run all faults. Return their rows in `runs`, and the cost of the router. Raises MeasurementError."""
    rows = []
    say(f"starting {args.gateways} gateways and {args.engines} engines")
    async with Fleet(args) as fleet:
        say("asking directly and through the router")
        router = await measure_cost(fleet.router.base_url, f"{fleet.engines[0].url}/v1")
        crowd = Crowd(fleet.urls, args)
        machine = Machine()
        faults = make_script(fleet)
        around: list[asyncio.Task[None]] = []
        try:
            say(f"{args.cameras} people come")
            await crowd.open()
            around = [
                asyncio.create_task(machine.watch(), name="fleet-machine"),
                asyncio.create_task(crowd.ask_on(), name="fleet-asking"),
                asyncio.create_task(crowd.change_on(), name="fleet-turnover"),
            ]
            for run in range(args.repeat):
                for fault in args.faults:
                    say(f"{fault}, {run + 1} of {args.repeat}")
                    rows.append(
                        await _run_fault(fault, faults[fault], args.phase, fleet, crowd, machine)
                    )
                    say(format_table(rows[-1:]))
            for task in around:
                if task.done() and (error := task.exception()) is not None:
                    raise MeasurementError(f"the simulated people stopped: {error!r}")
        finally:
            for task in around:
                task.cancel()
            await crowd.wait_answers(5)
            await crowd.close()
            say("ending the processes")
    return {"runs": rows, "router": router}


async def _run_fault(
    fault: str,
    steps: tuple[Step, Step],
    phase: float,
    fleet: Fleet,
    crowd: Crowd,
    machine: Machine,
) -> dict[str, Any]:
    """Run one fault. Return its row."""
    breaks, mends = steps
    before, busy = time.monotonic(), machine.begin_interval()
    await asyncio.sleep(phase)
    during, wall = time.monotonic(), time.time()
    await breaks()
    await asyncio.sleep(max(phase, LEAST.get(fault, 0.0)))
    # Of a killed engine, only the requests of its current process
    requests = [sum(at >= wall for at in await one.get_arrivals()) for one in fleet.engines]
    await mends()
    after = time.monotonic()
    await asyncio.sleep(phase)
    span = Span(before, during, after, time.monotonic())
    # The last questions may still be answered, and a new person may be connecting.
    people = await _count_people(crowd)
    return compute_figures(fault, span, crowd.asked, crowd.aways, people, requests, busy())


async def _count_people(crowd: Crowd) -> tuple[int, int]:
    """Count the people for two seconds. Return the count with the most live cameras."""
    looks = []
    for _ in range(20):
        looks.append(crowd.people)
        await asyncio.sleep(0.1)
    return max(looks, key=lambda people: people[1] - people[0])


def main(arguments: Sequence[str]) -> int:
    args = parse_options(arguments)
    once = sum(
        2 * args.phase + max(args.phase, LEAST.get(fault, 0.0)) + DRAINED_SECONDS
        for fault in args.faults
    )
    seconds = SPARE_SECONDS + args.repeat * once
    # End a run that hangs, because aiortc's connections may wait for their end for ever.
    limit = threading.Timer(seconds, _give_up, (seconds,))
    limit.daemon = True
    limit.start()
    status = program.run(lambda: _run(args), args.output)
    sys.stdout.flush()
    sys.stderr.flush()
    limit.cancel()
    os._exit(status)


def _give_up(seconds: float) -> None:
    print(
        f"The measurement was aborted, because it did not end after {seconds:.0f} s",
        file=sys.stderr,
    )
    sys.stderr.flush()
    os._exit(1)


def _run(args: argparse.Namespace) -> int:
    # Not asyncio.run, which waits for every cancelled task.
    loop = asyncio.new_event_loop()
    begin = time.time()
    run = loop.create_task(measure(args))
    try:
        found = loop.run_until_complete(run)
    except KeyboardInterrupt:
        # Remove processes and namespaces in any case.
        run.cancel()
        loop.run_until_complete(asyncio.wait({run}, timeout=END_SECONDS))
        raise
    rows = found["runs"]
    if args.repeat > 1:
        rows = [
            compute_median_row([row for row in rows if row["fault"] == one]) for one in args.faults
        ]
    print(format_table(rows), flush=True)
    router, ways = found["router"], {"direct": "direct", "router": "through the router"}
    times = (
        f"{said} {router[f'{way}_p50_ms']:g}/{router[f'{way}_p95_ms']:g}"
        for way, said in ways.items()
    )
    print(f"\nOne token, p50/p95 in ms: {', '.join(times)}")
    chosen = {name: value for name, value in vars(args).items() if name != "output"}
    path = args.output / f"fleet-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(begin))}.json"
    path.write_text(json.dumps({"options": chosen, "faults": rows, **found}, indent=1) + "\n")
    print(f"\nWritten: {os.path.relpath(path)}")
    return 0
