"""Simulate many sessions on one GPU: questions beside background work. It needs no GPU, and takes seconds.

    python3 scripts/benchmark.py --simulate --sessions 1 8 32 128

The real queue of answers runs on simulated time, in front of a cost model of vLLM with a 32B model
on an MI300X. A session asks questions, and some describe and watch a scene that changes all the
time, so that background work always waits. The output is the time to a question's first token with
and without background work, the GPU seconds per useful answer, the least share of background work
of a session, and the time until the slot of a cancelled answer is free. Results are written to
benchmark_results/ as JSON and CSV.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.watch_scenes import STEP, TOKEN
from scripts.arguments import create_parser, make_integer_parser, make_option_adder
from scripts.bench import program
from scripts.bench.report import Report, Row, Spread, get_percentile
from server.core.frames import JobKind
from server.core.metrics import Metrics
from server.inference import Inference
from server.models.base import (
    Capabilities,
    Chunk,
    Delta,
    EngineRequest,
    EngineState,
    EngineStatus,
    Finished,
)
from server.models.scheduler.job import Job, Result
from tests.support.fakes import FakeEngines, RecordingSink, make_request
from tests.support.fakes_clock import run_clock

# Prompt tokens per step (vLLM's --max-num-batched-tokens is 2,048 or more)
CHUNK = 2048
TEXT_TOKENS, PICTURE_TOKENS = 150, 480
ANSWER_TOKENS = {JobKind.CHAT: 40, JobKind.WATCH: 60, JobKind.DESCRIBE: 20}
# Mean number of seconds between two questions of a session
BETWEEN = 20.0
CANCELLED = 0.05
WARM_UP = 60.0


@dataclass(eq=False)
class _Sequence:
    prompt: int
    tokens: asyncio.Queue[None] = field(default_factory=asyncio.Queue)


class SimulatedGpu:
    """Continuous batching: a step generates one token of each answer, and processes a part of waiting prompts."""

    name = "vllm"

    def __init__(self) -> None:
        self.busy = 0.0
        self._running: list[_Sequence] = []
        self._work = asyncio.Event()
        self._task = asyncio.create_task(self._run_steps(), name="gpu")
        self.status = EngineStatus(EngineState.READY, "", "simulated", Capabilities())

    async def _run_steps(self) -> None:
        while True:
            if not self._running:
                self._work.clear()
                await self._work.wait()
            left = CHUNK
            ready = [one for one in self._running if one.prompt == 0]
            for one in self._running:
                taken = min(left, one.prompt)
                one.prompt -= taken
                left -= taken
                if taken and one.prompt == 0:
                    ready.append(one)
            seconds = max(STEP, (CHUNK - left + len(ready)) * TOKEN)
            self.busy += seconds
            await asyncio.sleep(seconds)
            for one in ready:
                one.tokens.put_nowait(None)

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        one = _Sequence(TEXT_TOKENS + PICTURE_TOKENS)
        self._running.append(one)
        self._work.set()
        try:
            for _ in range(request.max_tokens):
                await one.tokens.get()
                yield Delta("word ")
            yield Finished("stop")
        finally:
            self._running.remove(one)

    async def probe(self) -> EngineStatus:
        return self.status

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@dataclass
class SimulationResult:
    first: list[float] = field(default_factory=list)
    answers: int = 0
    busy: float = 0.0
    background: dict[str, int] = field(default_factory=dict)
    freed: list[float] = field(default_factory=list)


class Simulation:
    def __init__(self, sessions: int, background: bool, args: argparse.Namespace) -> None:
        self._sessions = sessions
        self._slots: int = args.slots
        self._seconds = 60.0 * args.minutes
        self._background = background
        self._random = random.Random(args.seed)
        self.found = SimulationResult()

    async def run(self) -> SimulationResult:
        loop = asyncio.get_running_loop()
        gpu = SimulatedGpu()
        self._inference = Inference(
            FakeEngines(gpu),
            max_concurrent=self._slots,
            max_queue=4 * self._sessions + 64,
            metrics=Metrics("simulated"),
            clock=loop.time,
        )
        self._from = loop.time() + WARM_UP
        tasks = []
        for number in range(self._sessions):
            tasks.append(asyncio.create_task(self._run_person(f"s{number}")))
            # Two of three sessions describe or watch.
            if self._background and number % 3 < 2:
                kind = (JobKind.DESCRIBE, JobKind.WATCH)[number % 3]
                self.found.background[f"s{number} {kind}"] = 0
                tasks.append(asyncio.create_task(self._submit_works(f"s{number}", kind)))
        await asyncio.sleep(WARM_UP)
        busy = gpu.busy
        await asyncio.sleep(self._seconds)
        self.found.busy = gpu.busy - busy
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._inference.close()
        await gpu.close()
        return self.found

    def _make_job(self, session: str, kind: JobKind) -> tuple[Job, RecordingSink, asyncio.Event]:
        sink, ended = RecordingSink(), asyncio.Event()

        def on_finished(result: Result) -> None:
            ended.set()

        sink.on_finished = on_finished
        request = replace(
            make_request(kind, session_id=session, kind=kind), max_tokens=ANSWER_TOKENS[kind]
        )

        async def make(engine: object) -> EngineRequest:
            return request

        return Job(session, kind, make, sink), sink, ended

    async def _run_person(self, session: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._random.expovariate(1 / BETWEEN))
            job, sink, ended = self._make_job(session, JobKind.CHAT)
            asked = loop.time()

            def on_first_text(text: str, asked: float = asked, sink: RecordingSink = sink) -> None:
                if asked >= self._from and sink.calls.count("delta") == 1:
                    self.found.first.append(loop.time() - asked)

            sink.on_piece = on_first_text
            self._inference.submit(job)
            if self._random.random() < CANCELLED:
                await asyncio.sleep(0.3)
                if not ended.is_set() and sink.calls:
                    began = loop.time()
                    self._inference.cancel(job, "user")
                    while job in self._inference._lane_of:
                        await asyncio.sleep(0.001)
                    self.found.freed.append(loop.time() - began)
            await ended.wait()
            if asked >= self._from and sink.result is not None and not sink.result.cancel_reason:
                self.found.answers += 1

    async def _submit_works(self, session: str, kind: JobKind) -> None:
        """Submit background work continuously, as for a scene that always changes."""
        loop = asyncio.get_running_loop()
        while True:
            job, sink, ended = self._make_job(session, kind)
            self._inference.submit(job)
            await ended.wait()
            integer = sink.result is not None and sink.result.cancel_reason is None
            if integer and loop.time() >= self._from:
                self.found.background[f"{session} {kind}"] += 1
                self.found.answers += 1
            # The camera is checked at most every 0.4 s.
            await asyncio.sleep(0.4)


def simulate_sessions(sessions: int, args: argparse.Namespace) -> list[Row]:
    """Simulate this number of sessions, without and with background work."""
    idle = run_clock(Simulation(sessions, False, args).run())
    busy = run_clock(Simulation(sessions, True, args).run())
    seconds = 60.0 * args.minutes
    alone, beside = get_percentile(idle.first, 95), get_percentile(busy.first, 95)
    counts = list(busy.background.values())
    share = min(counts) / statistics.mean(counts) if counts and sum(counts) else 0.0
    freed = max(busy.freed or [0.0])
    print(
        f"{sessions:4} sessions: first token p95 {alone * 1000:6.1f} ms alone, {beside * 1000:6.1f} beside background work "
        f"(bound {(1.3 * alone + STEP) * 1000:6.1f}), p50 {statistics.median(idle.first) * 1000:5.1f} and "
        f"{statistics.median(busy.first) * 1000:5.1f}; GPU {busy.busy / busy.answers:5.3f} s an answer, busy "
        f"{busy.busy / seconds:4.0%}; background {sum(counts) / seconds:5.2f} a second, least share {share:4.2f}; "
        f"a cancelled one frees its slot within {freed * 1000:.0f} ms",
        flush=True,
    )
    name = f"{sessions} sessions"
    return [
        Row(f"{name}: first token alone", "ms", Spread.of(1000 * one for one in idle.first)),
        Row(
            f"{name}: first token beside background work",
            "ms",
            Spread.of(1000 * one for one in busy.first),
            target_p95=1000 * (1.3 * alone + STEP),
        ),
        Row(f"{name}: GPU of an answer", "s", value=busy.busy / busy.answers),
        Row(f"{name}: background answers", "a second", value=sum(counts) / seconds),
        Row(
            f"{name}: least share of a session",
            "of the mean",
            value=share,
            target=0.5,
            at_least=True,
        ),
        Row(f"{name}: slot of a cancelled one free", "ms", value=1000 * freed, target=50),
    ]


def run(args: argparse.Namespace) -> int:
    report = Report.of("Questions beside background work, simulated", args)
    for sessions in args.sessions:
        report.rows += simulate_sessions(sessions, args)
    return program.publish(report, "simulate", args)


def main(arguments: Sequence[str]) -> int:
    parser = create_parser(__doc__, prog="benchmark.py --simulate")
    add, value = parser.add_argument, make_option_adder(parser)
    many = make_integer_parser(1, 10_000)
    add("--sessions", type=many, nargs="+", default=[1, 8, 32, 128], help="(1 8 32 128)")
    value("--slots", make_integer_parser(1, 1000), 8, "MAX_CONCURRENT_INFERENCES")
    value("--minutes", make_integer_parser(1, 10_000), 10, "of simulated time")
    value("--seed", int, 1, "of when what is asked")
    program.add_output(parser)
    args = parser.parse_args(arguments)
    return program.run(lambda: run(args), args.output)
