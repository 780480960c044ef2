"""The rows of the list of figures to reach, with simulated cameras: questions, first frames, and what cameras cost the
server (processor, memory, threads), how many a core takes, and its start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import time
from typing import Self

from benchmarks.questions import Results, ask_many
from scripts.bench.camera_peer import CameraPeer, close_all
from scripts.bench.live_encoder import TICKS, LiveEncoder, Scene
from scripts.bench.processes import ServerProcess, StandInProcess
from scripts.bench.program import say
from scripts.bench.report import Report, Row, Spread
from scripts.bench.usage import Usage
from scripts.bench.voice_peer import VoicePeer
from scripts.bench.voice_sounds import hiss

IDLE_TARGETS = {2.0: 0.007, 5.0: 0.015}
CAPACITY_TARGETS = {2.0: 100, 5.0: 55}
# Connecting is expensive on both sides; so many at a time.
AT_ONCE = 8


class CameraBank:
    """Cameras at one steady rate, which nothing wakes.

    Their frames are spread over the period, as real ones are.
    """

    def __init__(
        self, base_url: str, *, rate: float, seed: int = 0, microphone: bool = False
    ) -> None:
        self.base_url = base_url
        self.rate = rate
        self._kind = VoicePeer if microphone else CameraPeer
        self.peers: list[CameraPeer] = []
        scene = Scene(seed=seed)
        phases = max(1, round(TICKS / rate))
        self._encoders = [LiveEncoder(scene, rate=rate, phase=phase) for phase in range(phases)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.empty()
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

    async def empty(self) -> None:
        """End every camera."""
        peers, self.peers = self.peers, []
        for i in range(0, len(peers), AT_ONCE):
            await close_all(peers[i : i + AT_ONCE])

    def sent(self) -> tuple[int, int]:
        """Bits and frames so far."""
        tracks = [peer.track for peer in self.peers if peer.track]
        return 8 * sum(track.bytes for track in tracks), sum(track.sent for track in tracks)

    def frames_dropped(self) -> int:
        """Frames that our own senders were too slow for: anything but 0 spoils a measurement."""
        return sum(peer.dropped for peer in self.peers)


# A core counts as full at this share: the rest is what answers need.
FULL = 0.9
MAX_AGE_P95_MS = 300


async def first_frames(url: str, count: int) -> Row:
    """Row 10: from sending the offer to the `status` that the camera is live, on an open socket."""
    seconds: list[float] = []
    for _ in range(count):
        encoder = LiveEncoder()
        peer = CameraPeer(url, encoder)
        try:
            await peer.get_token()
            await peer.open_socket()
            since = peer.seen
            await peer.connect()
            live = await peer.wait_for(
                lambda m: m["type"] == "status" and m.get("camera") == "live", since=since
            )
            seconds.append(live.at - peer.offered_at)
        finally:
            await peer.close()
            await encoder.close()
    return Row(
        "first frame, from the offer, local", "s", Spread.of(seconds), target_p95=0.5, number="10"
    )


async def idle_cpu(
    url: str,
    pid: int,
    *,
    cameras: int,
    rate: float,
    seconds: float,
    target: float | None,
    microphone: bool = False,
) -> Row:
    """Row 6: processor time of the server with idle cameras, less that without, for each camera.

    With `microphone` each hears a quiet room, whose processor time has a target of its own.
    """
    async with CameraBank(url, rate=rate, microphone=microphone) as bank:
        # The effects of the previous measurement have settled by then.
        await asyncio.sleep(4)
        without = await _cores(pid, seconds / 2)
        await bank.grow(cameras)
        await asyncio.sleep(3)
        before, begin = bank.sent(), time.monotonic()
        cores = await _cores(pid, seconds)
        shared = (time.monotonic() - begin) * cameras
        each = (cores - without) / cameras
        bits, arrived = ((b - a) / shared for a, b in zip(before, bank.sent(), strict=True))
        kbit = bits / 1000
        note = (
            f"{cameras} cameras, {seconds:g} s; {arrived:.2f} frames/s and {kbit:.0f} kbit/s a camera sent; server "
            f"without cameras {without:.4f} core; our senders dropped {bank.frames_dropped()} frames"
        )
    return Row(
        f"server CPU of an idle 720p camera, {rate:g} frames/s"
        + (", and its microphone" if microphone else ""),
        "core",
        value=each,
        target=None if microphone else target,
        note=note,
        number="6",
    )


async def _cores(pid: int, seconds: float) -> float:
    before = Usage.of(pid)
    await asyncio.sleep(seconds)
    return Usage.of(pid).cores_since(before)


async def memory(url: str, pid: int, *, cameras: int, rounds: int, seconds: float) -> list[Row]:
    """Row 8: memory and threads of one more camera, and what stays when all are gone, in rounds."""
    async with CameraBank(url, rate=2.0) as bank:
        # The first ones load libraries and fill pools that are there for all.
        await bank.grow(2)
        await asyncio.sleep(2)
        with_two = Usage.of(pid)
        await bank.grow(2 + cameras)
        await asyncio.sleep(seconds)
        full = Usage.of(pid)
        left: list[Usage] = []
        # Threads while all are there, once the pools that all share have grown
        grown = full.threads
        for number in range(rounds):
            if number:
                await bank.grow(2 + cameras)
                await asyncio.sleep(2)
                grown = Usage.of(pid).threads
            await bank.empty()
            await asyncio.sleep(4)
            left.append(Usage.of(pid))
    mib = (full.rss - with_two.rss) / cameras
    threads = (grown - left[-2 if rounds > 1 else -1].threads) / (2 + cameras)
    note = (
        f"RSS {with_two.rss:.0f} MiB with 2 cameras, {full.rss:.0f} with {2 + cameras}; after all had gone, {rounds} "
        f"times: RSS {[round(u.rss) for u in left]}, threads {[u.threads for u in left]} (with 2: {with_two.threads}), "
        f"descriptors {[u.descriptors for u in left]}"
    )
    growth = (left[-1].rss - left[0].rss) / max(1, rounds - 1)
    return [
        Row("memory of a further 720p camera", "MiB", value=mib, target=6, note=note, number="8"),
        Row("threads of a further camera", "threads", value=threads, target=0.2, number="8"),
        Row(
            "kept over 2 cameras after all left",
            "MiB",
            value=left[0].rss - with_two.rss,
            number="8",
        ),
        Row(f"growth of that a round of {cameras} cameras", "MiB", value=growth, number="8"),
    ]


async def capacity(
    url: str,
    pid: int,
    model: StandInProcess | None,
    *,
    rate: float,
    most: int,
    target: int,
    seconds: float,
    rng: random.Random,
) -> Row:
    """Row 9: cameras are added until the server uses 0.9 core or frames get past 300 ms (p95)."""
    held, usage, age, ended = 0, 0.0, float("nan"), "--cameras"
    trail: list[str] = []
    step = max(5, most // 6)
    numbers = 1_000_000 + int(rate * 10_000)
    async with CameraBank(url, rate=rate) as bank:
        count = 0
        while count < most:
            count = min(most, count + step)
            await bank.grow(count)
            await asyncio.sleep(2)
            before, dropped = Usage.of(pid), bank.frames_dropped()
            ages: list[float] = []
            if model is None:
                await asyncio.sleep(seconds)
            else:
                some = rng.sample(bank.peers, min(12, count))
                results = await ask_many(
                    some,
                    max(12, int(seconds * 4)),
                    rate=4,
                    typed_share=0,
                    rng=rng,
                    first_number=numbers,
                    wakes=False,
                )
                numbers += 1000
                results.join(await model.records())
                ages = [x for a in results.asked if (x := a.age_ms) is not None]
            cores = Usage.of(pid).cores_since(before)
            now = Spread.of(ages)
            lost = bank.frames_dropped() - dropped
            trail.append(f"{count}: {cores:.2f} core, age p95 {now.p95:.0f} ms (n={now.n})")
            if lost:
                ended = f"our own senders could not keep up at {count} ({lost} frames dropped)"
                break
            if cores >= FULL:
                ended = f"{FULL:g} core"
                break
            if now.p95 > MAX_AGE_P95_MS:
                ended = f"age p95 over {MAX_AGE_P95_MS} ms"
                break
            held, usage, age = count, cores, now.p95
    note = f"ended by {ended}; {'; '.join(trail)}"
    if held:
        note += f"; {usage / held:.4f} core a camera at {held}, age p95 {age:.0f} ms"
    return Row(
        f"cameras on one core, {rate:g} frames/s",
        "cameras",
        value=float(held),
        # A run that was bounded below the target shows nothing about it.
        target=float(target) if ended != "--cameras" or held >= target else None,
        at_least=True,
        note=note,
        number="9",
    )


async def switch_on(peer: CameraPeer) -> None:
    """Switch a visitor's microphone on, hands-free in a quiet room, if it has one. Its socket is open."""
    if isinstance(peer, VoicePeer):
        peer.microphone.room = hiss(10)
        await peer.listen(silence_ms=500, speak=False)


async def _questions(
    url: str, model: StandInProcess | None, args: argparse.Namespace, report: Report
) -> None:
    rng = random.Random(args.seed)
    encoders = [
        LiveEncoder(Scene(seed=i), phase=int(30 * i / args.sessions)) for i in range(args.sessions)
    ]
    kind = VoicePeer if args.microphone else CameraPeer
    peers = [kind(url, e, wake=True, access_code=args.access_code) for e in encoders]
    try:
        for peer in peers:
            await peer.connect()
            await peer.open_socket()
            await switch_on(peer)
        report.conditions["engine"] = {key: peers[0].ready.get(key) for key in ("engine", "model")}
        await asyncio.sleep(2)
        common = {"rate": args.rate, "typed_share": args.typed_share, "rng": rng}
        await ask_many(
            peers, args.warm_up * len(peers), first_number=900_000, detail=args.detail, **common
        )
        results: Results = await ask_many(peers, args.num_requests, detail=args.detail, **common)
    finally:
        await close_all(peers)
        for encoder in encoders:
            await encoder.close()
    report.conditions["held_up_questions"] = results.held_up
    if model is not None:
        results.join(await model.records())
        report.rows += results.rows()
    report.rows += results.whole_rows()


async def run_rows(args: argparse.Namespace) -> Report:
    """All of them, or those that `--only` names; `args` are the benchmark's."""
    report = Report.of(
        "qwen-camera, simulated 1280×720 VP8 cameras over loopback"
        + (", microphones on" if args.microphone else ""),
        args,
    )

    def wanted(part: str) -> bool:
        return not args.only or part in args.only.split(",")

    async with contextlib.AsyncExitStack() as stack:
        url, pid, model = args.server_url, args.server_pid, None
        if url is None:
            model = await stack.enter_async_context(
                StandInProcess(first_token_ms=args.first_token_ms)
            )
            starts: list[float] = []
            for _ in range(2 if wanted("start") else 0):
                async with ServerProcess.before(model, level=args.server_log) as once:
                    starts.append(once.seconds_to_first_page)
            server = await stack.enter_async_context(
                ServerProcess.before(model, level=args.server_log)
            )
            starts.append(server.seconds_to_first_page)
            url, pid = server.url, server.pid
            report.conditions["health"] = await server.wait_for_engine()
        if wanted("questions"):
            say("asking questions")
            await _questions(url, model, args, report)
        if wanted("first"):
            say("timing first frames")
            report.add(await first_frames(url, 10))
        if pid is not None:
            rates = args.sample_rate or [2.0, 5.0]
            for rate in rates if wanted("idle") else []:
                say(f"watching {args.idle_cameras} idle cameras at {rate:g} frames/s")
                report.add(
                    await idle_cpu(
                        url,
                        pid,
                        cameras=args.idle_cameras,
                        rate=rate,
                        seconds=args.idle_seconds,
                        target=IDLE_TARGETS.get(rate),
                        microphone=args.microphone,
                    )
                )
            if wanted("memory"):
                say("letting cameras come and go")
                report.rows += await memory(
                    url, pid, cameras=args.idle_cameras, rounds=args.soak_rounds, seconds=8
                )
            for rate in rates if wanted("capacity") and args.cameras else []:
                say(f"adding cameras at {rate:g} frames/s")
                report.add(
                    await capacity(
                        url,
                        pid,
                        model,
                        rate=rate,
                        most=args.cameras,
                        target=CAPACITY_TARGETS.get(rate, 0),
                        seconds=6,
                        rng=random.Random(args.seed),
                    )
                )
        if args.server_url is None and wanted("start"):
            took, note = statistics.median(starts), f"starts {[round(x, 2) for x in starts]}"
            what = "start to first page, installed"
            report.add(Row(what, "s", value=took, target=2, note=note, number="11"))
    return report
