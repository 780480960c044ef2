"""Measure the rows of the list of targets with simulated cameras: questions, first frames, the server's costs for
cameras (CPU, memory, threads), the number of cameras per core, and the start of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from scripts.bench.camera_peer import AT_ONCE, CameraPeer, close_all
from scripts.bench.chat_client import Answer
from scripts.bench.live_encoder import TICKS, LiveEncoder, Scene
from scripts.bench.processes import ServerProcess, StandInProcess, Usage, measure_cores
from scripts.bench.program import say
from scripts.bench.report import Report, Row, Spread
from scripts.bench.voice_peer import VoicePeer
from scripts.bench.voice_sounds import make_hiss

IDLE_TARGETS = {2.0: 0.007, 5.0: 0.015}
CAPACITY_TARGETS = {2.0: 100, 5.0: 55}


class CameraBank:
    """Cameras at a constant frame rate that are never woken; their frames are spread over the period."""

    def __init__(self, base_url: str, *, rate: float, microphone: bool = False) -> None:
        self.base_url = base_url
        self._kind = VoicePeer if microphone else CameraPeer
        self.peers: list[CameraPeer] = []
        scene = Scene()
        phases = max(1, round(TICKS / rate))
        self._encoders = [LiveEncoder(scene, rate=rate, phase=phase) for phase in range(phases)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.remove_all()
        for encoder in self._encoders:
            await encoder.close()

    async def grow(self, count: int) -> None:
        """Connect cameras, each with its socket, until there are `count`."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def add(number: int) -> None:
            peer = self._kind(self.base_url, self._encoders[number % len(self._encoders)])
            async with limit:
                try:
                    await peer.connect(timeout=30)
                    await peer.open_socket()
                    await switch_on(peer)
                except BaseException:
                    await peer.close()
                    raise
                self.peers.append(peer)

        async with asyncio.TaskGroup() as group:
            for number in range(len(self.peers), count):
                group.create_task(add(number))

    async def remove_all(self) -> None:
        peers, self.peers = self.peers, []
        await close_all(peers)

    def count_sent(self) -> tuple[int, int]:
        """Return the numbers of bits and frames sent so far."""
        tracks = [peer.track for peer in self.peers if peer.track]
        return 8 * sum(track.bytes for track in tracks), sum(track.sent for track in tracks)

    def count_dropped_frames(self) -> int:
        """Return the number of frames that the simulated senders were too slow to send. It has to be 0."""
        return sum(peer.dropped for peer in self.peers)


# A core counts as full at this load; the rest is for answers.
FULL = 0.9
MAX_AGE_P95_MS = 300


class MeasuredServer:
    """The measured server.

    `pid`: None if it is remote; `model`: its stand-in or None; `args`: the benchmark's options.
    """

    def __init__(
        self, url: str, pid: int | None, model: StandInProcess | None, args: argparse.Namespace
    ) -> None:
        self._url, self._pid, self._model, self._args = url, pid, model, args

    @property
    def pid(self) -> int:
        assert self._pid is not None
        return self._pid

    async def measure_first_frames(self, count: int) -> Row:
        """Measure row 10: the time from sending the offer to the `status` "live" of the camera, on an open socket."""
        seconds: list[float] = []
        for _ in range(count):
            encoder = LiveEncoder()
            peer = CameraPeer(self._url, encoder)
            try:
                await peer.get_token()
                await peer.open_socket()
                since = peer.seen
                await peer.connect()
                live = await peer.wait_live(since=since)
                seconds.append(live.at - peer.offered_at)
            finally:
                await peer.close()
                await encoder.close()
        what = "first frame, from the offer, local"
        return Row(what, "s", Spread.of(seconds), target_p95=0.5, number="10")

    async def measure_idle_cpu(self, rate: float) -> Row:
        """Measure row 6: the server's CPU time with idle cameras minus that without them, per camera.

        With microphones, each records a quiet room; this CPU time has a separate target.
        """
        args = self._args
        cameras, seconds, microphone = args.idle_cameras, args.idle_seconds, args.microphone
        async with CameraBank(self._url, rate=rate, microphone=microphone) as bank:
            # Wait until the effects of the previous measurement have settled.
            await asyncio.sleep(4)
            without = await measure_cores(self.pid, seconds / 2)
            await bank.grow(cameras)
            await asyncio.sleep(3)
            before, begin = bank.count_sent(), time.monotonic()
            used = await measure_cores(self.pid, seconds)
            shared = (time.monotonic() - begin) * cameras
            bits, arrived = (
                (b - a) / shared for a, b in zip(before, bank.count_sent(), strict=True)
            )
            note = (
                f"{cameras} cameras, {seconds:g} s; {arrived:.2f} frames/s and {bits / 1000:.0f} kbit/s a camera sent; "
                f"server without cameras {without:.4f} core; the simulated senders dropped {bank.count_dropped_frames()} frames"
            )
        return Row(
            f"server CPU of an idle 720p camera, {rate:g} frames/s"
            + (", and its microphone" if microphone else ""),
            "core",
            value=(used - without) / cameras,
            target=None if microphone else IDLE_TARGETS.get(rate),
            note=note,
            number="6",
        )

    async def measure_memory(self, seconds: float) -> list[Row]:
        """Measure row 8, in rounds: memory and threads per additional camera, and those left after all disconnect."""
        cameras, rounds = self._args.idle_cameras, self._args.soak_rounds
        async with CameraBank(self._url, rate=2.0) as bank:
            # The first cameras load libraries and fill pools shared by all.
            await bank.grow(2)
            await asyncio.sleep(2)
            with_two = Usage.of(self.pid)
            await bank.grow(2 + cameras)
            await asyncio.sleep(seconds)
            full = Usage.of(self.pid)
            left: list[Usage] = []
            # Threads with all cameras, after the shared pools have grown
            grown = full.threads
            for number in range(rounds):
                if number:
                    await bank.grow(2 + cameras)
                    await asyncio.sleep(2)
                    grown = Usage.of(self.pid).threads
                await bank.remove_all()
                await asyncio.sleep(4)
                left.append(Usage.of(self.pid))
        mib = (full.rss - with_two.rss) / cameras
        threads = (grown - left[-2 if rounds > 1 else -1].threads) / (2 + cameras)
        note = (
            f"RSS {with_two.rss:.0f} MiB with 2 cameras, {full.rss:.0f} with {2 + cameras}; after all had gone, "
            f"{rounds} times: RSS {[round(u.rss) for u in left]}, threads {[u.threads for u in left]} "
            f"(with 2: {with_two.threads}), descriptors {[u.descriptors for u in left]}"
        )
        kept = left[0].rss - with_two.rss
        growth = (left[-1].rss - left[0].rss) / max(1, rounds - 1)
        return [
            Row(what, unit, value=value, target=target, note=about, number="8")
            for what, unit, value, target, about in (
                ("memory of a further 720p camera", "MiB", mib, 6, note),
                ("threads of a further camera", "threads", threads, 0.2, ""),
                ("kept over 2 cameras after all left", "MiB", kept, None, ""),
                (f"growth of that a round of {cameras} cameras", "MiB", growth, None, ""),
            )
        ]

    async def measure_capacity(self, rate: float, seconds: float) -> Row:
        """Measure row 9: add cameras until the server uses 0.9 core or the age of frames exceeds 300 ms (p95)."""
        most, target = self._args.cameras, CAPACITY_TARGETS.get(rate, 0)
        rng = random.Random(self._args.seed)
        held, usage, age, ended = 0, 0.0, float("nan"), "--cameras"
        trail: list[str] = []
        step = max(5, most // 6)
        numbers = itertools.count(1_000_000 + int(rate * 10_000), 1000)
        async with CameraBank(self._url, rate=rate) as bank:
            while len(bank.peers) < most and ended == "--cameras":
                await bank.grow(min(most, len(bank.peers) + step))
                await asyncio.sleep(2)
                count = len(bank.peers)
                before, dropped = Usage.of(self.pid), bank.count_dropped_frames()
                ages = await self._measure_ages(bank, rng, next(numbers), seconds)
                used = Usage.of(self.pid).compute_cores_since(before)
                lost = bank.count_dropped_frames() - dropped
                trail.append(f"{count}: {used:.2f} core, age p95 {ages.p95:.0f} ms (n={ages.n})")
                if lost:
                    ended = f"the simulated senders could not keep up at {count} ({lost} frames dropped)"
                elif used >= FULL:
                    ended = f"{FULL:g} core"
                elif ages.p95 > MAX_AGE_P95_MS:
                    ended = f"age p95 over {MAX_AGE_P95_MS} ms"
                else:
                    held, usage, age = count, used, ages.p95
        note = f"ended by {ended}; {'; '.join(trail)}"
        if held:
            note += f"; {usage / held:.4f} core a camera at {held}, age p95 {age:.0f} ms"
        return Row(
            f"cameras on one core, {rate:g} frames/s",
            "cameras",
            value=float(held),
            # A run that was limited to fewer cameras than the target does not show whether it is reached.
            target=float(target) if ended != "--cameras" or held >= target else None,
            at_least=True,
            note=note,
            number="9",
        )

    async def _measure_ages(
        self, bank: CameraBank, rng: random.Random, first_number: int, seconds: float
    ) -> Spread:
        """Ask about some cameras for this many seconds. Return the ages of their frames at the stand-in."""
        if self._model is None:
            await asyncio.sleep(seconds)
            return Spread.of([])
        some = rng.sample(bank.peers, min(12, len(bank.peers)))
        count = max(12, int(seconds * 4))
        results = await ask_many(some, count, rate=4, rng=rng, first_number=first_number)
        results.join(await self._model.fetch_records())
        return Spread.of(a.age_ms for a in results.asked)

    async def ask_questions(self, report: Report) -> None:
        """Measure rows 1 to 5."""
        args = self._args
        rng = random.Random(args.seed)
        encoders = [
            LiveEncoder(Scene(seed=i), phase=int(30 * i / args.sessions))
            for i in range(args.sessions)
        ]
        kind = VoicePeer if args.microphone else CameraPeer
        peers = [kind(self._url, e, wake=True, access_code=args.access_code) for e in encoders]
        asking = {"rate": args.rate, "typed_share": args.typed_share, "detail": args.detail}
        try:
            for peer in peers:
                await peer.connect()
                await peer.open_socket()
                await switch_on(peer)
            ready = peers[0].ready
            report.conditions["engine"] = {key: ready.get(key) for key in ("engine", "model")}
            await asyncio.sleep(2)
            count = args.warm_up * len(peers)
            await ask_many(peers, count, rng=rng, first_number=900_000, **asking)
            results = await ask_many(peers, args.num_requests, rng=rng, **asking)
        finally:
            await close_all(peers)
            for encoder in encoders:
                await encoder.close()
        report.conditions["held_up_questions"] = results.held_up
        if self._model is not None:
            results.join(await self._model.fetch_records())
            report.rows += results.to_rows()
        report.rows += results.make_client_rows()


async def switch_on(peer: CameraPeer) -> None:
    """Switch a visitor's microphone on, hands-free in a quiet room, if it has one. Its socket is open."""
    if isinstance(peer, VoicePeer):
        peer.microphone.room = make_hiss(10)
        await peer.listen(silence_ms=500, speak=False)


async def run_rows(args: argparse.Namespace) -> Report:
    """Measure all rows, or those that `--only` names. `args`: the options of the benchmark."""
    report = Report.of(
        "qwen-camera, simulated 1280×720 VP8 cameras over loopback"
        + (", microphones on" if args.microphone else ""),
        args,
    )

    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        url, pid, model = args.server_url, args.server_pid, None
        starts: list[float] = []
        if url is None:
            model = await enter(StandInProcess(first_token_ms=args.first_token_ms))
            for _ in range(2 if "start" in args.only else 0):
                async with ServerProcess.for_model(model, level=args.server_log) as once:
                    starts.append(once.seconds_to_first_page)
            server = await enter(ServerProcess.for_model(model, level=args.server_log))
            starts.append(server.seconds_to_first_page)
            url, pid = server.url, server.pid
            report.conditions["health"] = await server.wait_for_engine()
        measured = MeasuredServer(url, pid, model, args)
        if "questions" in args.only:
            say("asking questions")
            await measured.ask_questions(report)
        if "first" in args.only:
            say("timing first frames")
            report.rows.append(await measured.measure_first_frames(10))
        if pid is not None:
            await _with_cameras(measured, report, args)
        if starts and "start" in args.only:
            took, note = statistics.median(starts), f"starts {[round(x, 2) for x in starts]}"
            what = "start to first page, installed"
            report.rows.append(Row(what, "s", value=took, target=2, note=note, number="11"))
    return report


async def _with_cameras(measured: MeasuredServer, report: Report, args: argparse.Namespace) -> None:
    """Measure rows 6, 8 and 9: the costs of cameras for a server on this machine."""
    rates = args.sample_rate or [2.0, 5.0]
    for rate in rates if "idle" in args.only else []:
        say(f"measuring {args.idle_cameras} idle cameras at {rate:g} frames/s")
        report.rows.append(await measured.measure_idle_cpu(rate))
    if "memory" in args.only:
        say("connecting and disconnecting cameras")
        report.rows += await measured.measure_memory(seconds=8)
    for rate in rates if "capacity" in args.only and args.cameras else []:
        say(f"adding cameras at {rate:g} frames/s")
        report.rows.append(await measured.measure_capacity(rate, seconds=6))


# Questions


_TAG = re.compile(r"\[#(\d+)\]")


@dataclass(slots=True)
class AskedQuestion:
    """One question and its measurements. Times are seconds since the epoch."""

    number: int
    # True if the question was typed, so that the camera was woken before it was sent
    typed: bool
    answer: Answer
    # The stand-in's record; None if the question never arrived there
    record: dict[str, Any] | None = None

    @property
    def to_model_ms(self) -> float | None:
        return None if self.record is None else (self.record["arrived"] - self.answer.asked) * 1000

    @property
    def age_ms(self) -> float | None:
        age: float | None = None if self.record is None else self.record["age_ms"]
        return age

    @property
    def captured_after(self) -> bool | None:
        """True if the frame was captured after the question was sent; None if its clock is unreadable."""
        to_model, age = self.to_model_ms, self.age_ms
        # The clock shows whole milliseconds, rounded down.
        return None if to_model is None or age is None else age <= to_model + 1

    @property
    def first_token_ms(self) -> float | None:
        """Time in ms from the model's first piece of text until it arrives at the page."""
        first = None if self.record is None else self.record["first_token"]
        came = self.answer.first_delta_at
        return None if first is None or came is None else (came - first) * 1000


@dataclass(slots=True)
class Results:
    asked: list[AskedQuestion] = field(default_factory=list)
    # Number of questions that had to wait because every session was busy, so that the load was not an open loop
    held_up: int = 0

    def join(self, records: Sequence[dict[str, Any]]) -> None:
        """Assign to each question its record from the stand-in."""
        by_number = {}
        for record in records:
            # A line from the server may precede a question, so find it by our tag.
            if tags := _TAG.findall(record["question"]):
                by_number[int(tags[-1])] = record
        for asked in self.asked:
            asked.record = by_number.get(asked.number)

    def get_asked(self, typed: bool | None) -> list[AskedQuestion]:
        return [a for a in self.asked if typed is None or a.typed == typed]

    def list_errors(self) -> list[str]:
        return [str(a.answer.error["code"]) for a in self.asked if a.answer.error]

    def to_rows(self) -> list[Row]:
        """Return rows 1 to 5 of the list, as far as they were measured."""
        sizes = sorted({(a.record["width"], a.record["height"]) for a in self.asked if a.record})
        sources = sorted(
            {
                (frame["source_width"], frame["source_height"])
                for a in self.asked
                if a.answer.response and (frame := a.answer.response.get("frame"))
            }
        )
        rows = [
            Row(
                "camera resolution that the model's frame was cut from",
                "px wide",
                value=float(min((w for w, _ in sources), default=0)),
                target=1280,
                at_least=True,
                note=f"camera {sources}, picture at the model {sizes}",
                number="1",
            )
        ]
        typed, tapped = self.get_asked(True), self.get_asked(False)
        for number, some, name, p50, p95 in (
            ("2", typed, "typed question → model request", 35, 55),
            ("3", tapped, "tapped question → model request", 60, 120),
        ):
            if some:
                row = Row(name, "ms", Spread.of(a.to_model_ms for a in some), number=number)
                row.target_p50, row.target_p95, row.note = p50, p95, _format_evidence(some)
                rows.append(row)
        rows += [
            Row(
                f"age of that frame at the model, {name}",
                "ms",
                Spread.of(a.age_ms for a in some),
                target_p50=12,
                target_p95=25,
                number="4",
            )
            for some, name in ((typed, "typed"), (tapped, "tapped"))
            if some
        ]
        first = Row("model's first token → client", "ms", number="5", target_p50=1.5, target_p95=4)
        first.spread = Spread.of(a.first_token_ms for a in self.asked)
        return [*rows, first]

    def make_client_rows(self) -> list[Row]:
        """Return the client's times: from the question to the first text and to the end."""
        done = [a.answer for a in self.asked if a.answer.response]
        first = [(at - a.asked) * 1000 for a in done if (at := a.first_delta_at) is not None]
        timings = [a.response["timings"] for a in done if a.response]
        steps = [
            Row(f"server: {name}", "ms", Spread.of(t[key] for t in timings))
            for key, name in (
                ("wait_frame_ms", "waiting for the frame"),
                ("prepare_ms", "preparing it"),
                ("queue_ms", "queue"),
            )
        ]
        return [
            *steps,
            Row("question → first text at the client", "ms", Spread.of(first)),
            Row(
                "question → whole answer",
                "ms",
                Spread.of((a.ended_at - a.asked) * 1000 for a in done),
                note=f"{len(done)} of {len(self.asked)} answered, errors: {_format_counted(self.list_errors())}",
            ),
            Row(
                "in the engine, as the server reports",
                "ms",
                Spread.of(a.response["inference_time"] * 1000 for a in done if a.response),
            ),
        ]


def _format_evidence(some: Sequence[AskedQuestion]) -> str:
    after = [a.captured_after for a in some]
    missing = [a for a in some if a.record is None]
    text = f"{after.count(True)} frames captured after the question, {after.count(False)} before"
    if after.count(None):
        text += f", {after.count(None)} without a readable clock"
    if missing:
        codes = _format_counted(
            [str((a.answer.error or {"code": "none"})["code"]) for a in missing]
        )
        text += f"; {len(missing)} questions never reached the model: {codes}"
    return text


def _format_counted(names: Sequence[str]) -> str:
    return ", ".join(f"{name} {names.count(name)}" for name in sorted(set(names))) or "none"


async def ask_many(
    peers: Sequence[CameraPeer],
    count: int,
    *,
    rate: float,
    rng: random.Random,
    typed_share: float | None = None,
    first_number: int = 0,
    detail: str = "auto",
) -> Results:
    """Ask `count` questions, with Poisson arrivals at `rate` per second, each in an idle session.

    Typing a question takes 0.5 to 1.2 s; before a tapped question the camera has become idle. If `typed_share` is None,
    nothing wakes the cameras.
    """
    free: asyncio.Queue[CameraPeer] = asyncio.Queue()
    order = list(peers)
    rng.shuffle(order)
    for peer in order:
        free.put_nowait(peer)
    results = Results()

    async def ask_one(number: int, typed: bool, peer: CameraPeer, pause: float) -> None:
        try:
            if typed_share is not None:
                await peer.rate.wait_idle()
                await asyncio.sleep(0.5 + pause)
                if typed:
                    await peer.type_for(0.5 + 1.4 * pause)
            answer = await peer.ask(f"What do you see? [#{number}]", detail=detail, timeout=60)
            results.asked.append(AskedQuestion(number, typed, answer))
        finally:
            free.put_nowait(peer)

    loop = asyncio.get_running_loop()
    at = loop.time()
    async with asyncio.TaskGroup() as group:
        for i in range(count):
            at += rng.expovariate(rate)
            typed, pause = rng.random() < (typed_share or 0.0), rng.uniform(0, 0.5)
            await asyncio.sleep(max(0.0, at - loop.time()))
            results.held_up += free.empty()
            group.create_task(ask_one(first_number + i, typed, await free.get(), pause))
    return results
