"""Measure a fleet under scripted faults: gateways that drain and die, engines that die and slow down,
Redis that hangs or comes back empty, a host that is cut off.

    python3 scripts/benchmark.py --fleet
    python3 scripts/benchmark.py --fleet --gateways 6 --cameras 60 --rate 5 --faults kill drain
    sudo python3 scripts/benchmark.py --fleet --namespaces --gateways 6 --cameras 60 --rate 5 --repeat 3 --size 320x180 --phase 20

Everything runs on this machine and is started here: Redis, nginx, gateways, and stand-ins for the
model whose answers take longer the more they have. Cameras share their encoders. Each fault has
three phases: before, while it lasts, and after. It needs nginx and redis-server.

With --namespaces (root alone) each part has a network namespace of its own, with a bridge between
them: two gateways a host, two nginx, vLLM's router before the engines (bash scripts/router.sh
installs it), and the fault `partition`, which cuts the last host off.

The people do what the page does: they open a lost socket again, offer the camera again when its
connection is lost, begin another session when theirs has ended, and ask a question once more whose
socket was lost. A question is lost when it ends without an answer; one that had its first word by
then counts as in mid-answer. The picture is away from the moment at which a session or a camera's
connection was lost until a gateway says that the camera is live.

All people and their cameras share one process. Where that gets no time, cameras stand still, and
servers rightly say so: of the questions lost it is printed for how many the encoder had made no
picture for a while, and how long the process paused at most.

Exit status: 0 measured, 1 not, 2 wrong options.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scripts.arguments import command_line, number, whole
from scripts.bench import program
from scripts.bench.fleet import DRAINED_SECONDS, FAULTS, LEAST, NOT_APART, Fleet, Script, Size
from scripts.bench.fleet_figures import Span, figures, median_row, summary, table
from scripts.bench.fleet_peer import Asked, Away, FleetVisitor
from scripts.bench.live_encoder import TICKS, LiveEncoder, Scene
from scripts.bench.open_loop import QUESTIONS
from scripts.bench.processes import ROOT, MeasurementError
from scripts.bench.report import percentile
from scripts.bench.usage import Machine, Since

# Frames a second of the shared encoders, and how many there are
FRAME_RATE, ENCODERS = 5.0, 2
# Of a frame. Each packet costs the people's process and a gateway time.
MOST_BITS = 60_000
SIZES = ("320x180", "640x360", "1280x720")
# Beyond what the phases take: starts, connections, restarts (seconds)
SPARE_SECONDS = 240.0
CONNECT_SECONDS = 60.0
# For the end of all processes after Ctrl+C or SIGTERM
END_SECONDS = 30.0


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command_line(__doc__, prog="benchmark.py --fleet")
    add = parser.add_argument
    add("--gateways", type=whole(2, 50), default=3, help="web processes (3)")
    add("--engines", type=whole(1, 16), default=3, help="stand-ins for model servers (3)")
    add("--cameras", type=whole(1, 500), default=12, help="people with the page open (12)")
    add("--rate", type=number(0.01, 100), default=2.0, help="questions a second of all (2)")
    add("--phase", type=number(2, 600), default=10.0, help="seconds of each phase, at least (10)")
    add("--repeat", type=whole(1, 20), default=1, help="runs of each fault (1)")
    add(
        "--namespaces",
        action="store_true",
        help="a network namespace for each part, two nginx and the router; needs root",
    )
    add("--router", action="store_true", help="vLLM's router before the engines")
    add("--size", choices=SIZES, default="640x360", help="of the cameras' pictures (640x360)")
    add(
        "--turnover",
        type=number(0, 3600),
        default=5.0,
        help="seconds between two people who leave, each followed by another one; 0: nobody (5)",
    )
    add("--faults", nargs="+", choices=FAULTS, help="in this order (all that are possible)")
    add("--first-token-ms", type=number(0.001, 1e6), default=50, help="of an engine alone (50)")
    add("--between-ms", type=number(0, 1e6), default=20.0, help="between its tokens (20)")
    add("--seed", type=int, default=1, help="of who asks what when (1)")
    add("--output", type=Path, default=ROOT / "benchmark_results", help="folder for the results")
    args = parser.parse_args(arguments)
    args.router = args.router or args.namespaces
    args.faults = args.faults or list(FAULTS if args.namespaces else NOT_APART)
    if "partition" in args.faults and not args.namespaces:
        parser.error("the fault partition needs --namespaces: hosts that are one cannot be cut off")
    return args


# What vLLM's router costs

# Pairs of questions; of each the picture's bytes, as base64 has it in SECURITY.md's bounds and docs/figures/fleet.json
COST_QUESTIONS = 200
_PICTURE_BYTES = 150_000
_ANSWER_SECONDS = 20.0


async def cost(router: str, engine: str, questions: int) -> dict[str, Any]:
    """Ask an engine directly and through the router, in turn; the times to the first event in ms.

    `router` and `engine` are base URLs.
    """
    body = _question()
    took: dict[str, list[float]] = {"direct": [], "router": []}
    for turn in range(questions):
        for way, url in (("direct", engine), ("router", router)):
            async with asyncio.timeout(_ANSWER_SECONDS):
                took[way].append(1000 * await _first_event(url, body, f"cost-{turn % 8}"))
    found: dict[str, Any] = {"questions": questions}
    for way, times in took.items():
        for q in (50, 95):
            found[f"{way}_p{q}_ms"] = round(percentile(times, q), 1)
    return found


def _question() -> bytes:
    picture = base64.b64encode(os.urandom(_PICTURE_BYTES * 3 // 4)).decode()
    url = {"url": f"data:image/jpeg;base64,{picture}"}
    content = [{"type": "image_url", "image_url": url}, {"type": "text", "text": "What is it?"}]
    messages = [{"role": "user", "content": content}]
    return json.dumps(
        {"model": "stand-in", "messages": messages, "stream": True, "max_tokens": 1}
    ).encode()


async def _first_event(base_url: str, body: bytes, session: str) -> float:
    """Return the seconds from the request to its first event."""
    parts = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        head = (
            f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"X-Session-ID: {session}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        begin = time.perf_counter()
        writer.write(head.encode() + body)
        await writer.drain()
        if not (await reader.readline()).startswith(b"HTTP/1.1 200"):
            raise MeasurementError(f"{parts.netloc} refused a question")
        await reader.readuntil(b"data:")
        took = time.perf_counter() - begin
        await reader.readuntil(b"[DONE]")
        return took
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Crowd:
    """The people: they come, ask and leave."""

    def __init__(self, urls: Sequence[str], args: argparse.Namespace) -> None:
        """`urls`: where people come in, one after the other."""
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
        self.asked: list[Asked] = []
        self.aways: list[Away] = []

    @property
    def people(self) -> tuple[int, int]:
        """Return the number of people, and of those with a live camera."""
        return len(self._there), sum(one.seen for one in self._there)

    def come(self) -> FleetVisitor:
        visitor = FleetVisitor(
            self._urls[self._came % len(self._urls)],
            self._encoders[self._came % ENCODERS],
            random.Random(self._args.seed * 10_000 + self._came),
            aways=self.aways,
            asked=self.asked,
            pulse=self._args.namespaces,
        )
        self._came += 1
        self._there[visitor] = asyncio.create_task(visitor.stay(), name="fleet-stay")
        return visitor

    async def open(self) -> None:
        """Let everybody come. Raises MeasurementError when a camera is not live in time."""
        for _ in range(self._args.cameras):
            visitor = self.come()
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
        """Let people leave and others come, until cancelled."""
        while self._args.turnover:
            await asyncio.sleep(self._args.turnover)
            free = [one for one in self._there if one not in self._busy and one.seen]
            if free:
                await self.leave(self._rng.choice(free))
                self.come()

    async def leave(self, visitor: FleetVisitor) -> None:
        staying = self._there.pop(visitor)
        staying.cancel()
        await asyncio.wait({staying}, timeout=1)
        await visitor.leave()

    async def quiet(self, seconds: float) -> None:
        """Wait for the answers that are on their way."""
        if self._questions:
            await asyncio.wait(self._questions, timeout=seconds)

    async def close(self) -> None:
        await asyncio.gather(*(self.leave(visitor) for visitor in list(self._there)))
        for encoder in self._encoders:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(encoder.close(), 3)


async def measure(args: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run all faults, one after the other, as often as asked. Raises MeasurementError.

    Returns `runs`, a row for each, and `router`, what it costs.
    """
    rows = []
    tell(f"starting {args.gateways} gateways and {args.engines} engines")
    size = Size(
        args.gateways,
        args.engines,
        args.cameras,
        args.first_token_ms,
        args.between_ms,
        args.namespaces,
        args.router,
    )
    async with Fleet(size) as fleet:
        router = None
        if fleet.router is not None:
            tell("asking directly and through the router")
            router = await cost(fleet.router.base_url, f"{fleet.engines[0].url}/v1", COST_QUESTIONS)
        crowd = Crowd(fleet.urls, args)
        machine = Machine()
        script = Script(fleet)
        around: list[asyncio.Task[None]] = []
        try:
            tell(f"{args.cameras} people come")
            await crowd.open()
            around = [
                asyncio.create_task(machine.watch(), name="fleet-machine"),
                asyncio.create_task(crowd.ask_on(), name="fleet-asking"),
                asyncio.create_task(crowd.change_on(), name="fleet-turnover"),
            ]
            for run in range(args.repeat):
                for fault in args.faults:
                    tell(f"{fault}, {run + 1} of {args.repeat}")
                    since = machine.since()
                    rows.append(await _broken(fault, args.phase, fleet, crowd, script, since))
                    tell(table(rows[-1:]))
            for task in around:
                if task.done() and (error := task.exception()) is not None:
                    raise MeasurementError(f"the people stopped: {error!r}")
        finally:
            for task in around:
                task.cancel()
            await crowd.quiet(5)
            await crowd.close()
            tell("ending the processes")
    return {"runs": rows, "router": router}


async def _broken(
    fault: str, phase: float, fleet: Fleet, crowd: Crowd, script: Script, since: Since
) -> dict[str, Any]:
    """Run one fault; its row."""
    before = time.monotonic()
    await asyncio.sleep(phase)
    during, wall = time.monotonic(), time.time()
    await script.begin(fault)
    await asyncio.sleep(max(phase, LEAST.get(fault, 0.0)))
    requests = await _requests(fleet, wall)
    await script.end(fault)
    after = time.monotonic()
    await asyncio.sleep(phase)
    span = Span(before, during, after, time.monotonic())
    # Those that were asked last may still be answered, and a newcomer be on the way.
    people = await _settled(crowd)
    return figures(fault, span, crowd.asked, crowd.aways, people, requests, since.figures())


async def _settled(crowd: Crowd) -> tuple[int, int]:
    """Look at the people for two seconds; return the look with the most live cameras."""
    looks = []
    for _ in range(20):
        looks.append(crowd.people)
        await asyncio.sleep(0.1)
    return max(looks, key=lambda people: people[1] - people[0])


async def _requests(fleet: Fleet, since: float) -> list[int]:
    """Requests of each engine since a time; of one that was killed, those that it has left."""
    return [sum(at >= since for at in await engine.arrivals()) for engine in fleet.engines]


def main(arguments: Sequence[str]) -> int:
    args = options(arguments)
    once = sum(
        2 * args.phase + max(args.phase, LEAST.get(fault, 0.0)) + DRAINED_SECONDS
        for fault in args.faults
    )
    seconds = SPARE_SECONDS + args.repeat * once
    # A run that hangs ends here: aiortc's connections may wait for ever for their own end.
    limit = threading.Timer(seconds, _give_up, (seconds,))
    limit.daemon = True
    limit.start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = program.run(lambda: _run(args), args.output)
    sys.stdout.flush()
    sys.stderr.flush()
    limit.cancel()
    os._exit(status)


def _give_up(seconds: float) -> None:
    print(f"The measurement was broken off: no end after {seconds:.0f} s", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)


def _run(args: argparse.Namespace) -> int:
    # Not asyncio.run, which waits for every task that was cancelled.
    loop = asyncio.new_event_loop()
    begin = time.time()
    run = loop.create_task(measure(args, lambda text: print(text, file=sys.stderr, flush=True)))
    try:
        found = loop.run_until_complete(run)
    except KeyboardInterrupt:
        # Processes and namespaces go, whoever ended it.
        run.cancel()
        loop.run_until_complete(asyncio.wait({run}, timeout=END_SECONDS))
        raise
    rows = found["runs"]
    if args.repeat > 1:
        rows = [median_row([row for row in rows if row["fault"] == one]) for one in args.faults]
    print(table(rows), flush=True)
    print(f"\n{summary(rows)}\n", flush=True)
    if (router := found["router"]) is not None:
        print(
            f"router\n  first event     p50/p95 in ms: direct {router['direct_p50_ms']:g}/"
            f"{router['direct_p95_ms']:g}, through it {router['router_p50_ms']:g}/{router['router_p95_ms']:g}"
        )
    chosen = {name: value for name, value in vars(args).items() if name != "output"}
    path = args.output / f"fleet-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(begin))}.json"
    path.write_text(json.dumps({"options": chosen, "faults": rows, **found}, indent=1) + "\n")
    print(f"\nWritten: {os.path.relpath(path)}")
    return 0
