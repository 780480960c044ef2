"""The rows of the list of figures to reach, with simulated cameras: questions, first frames, idle
cameras, memory, capacity.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random

from benchmarks.camera_costs import capacity, first_frames, idle_cpu, memory, start_row
from benchmarks.microphones import peer_type, switch_on
from benchmarks.questions import Results, ask_many
from scripts.bench.camera_peer import close_all
from scripts.bench.live_encoder import LiveEncoder, Scene
from scripts.bench.processes import ServerProcess, StandInProcess
from scripts.bench.program import say
from scripts.bench.report import Report

IDLE_TARGETS = {2.0: 0.007, 5.0: 0.015}
CAPACITY_TARGETS = {2.0: 100, 5.0: 55}


async def _questions(
    url: str, model: StandInProcess | None, args: argparse.Namespace, report: Report
) -> None:
    rng = random.Random(args.seed)
    encoders = [
        LiveEncoder(Scene(seed=i), phase=int(30 * i / args.sessions)) for i in range(args.sessions)
    ]
    kind = peer_type(args.microphone)
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
    parts = set(filter(None, args.only.split(",")))
    report = Report.of(
        "qwen-camera, simulated 1280×720 VP8 cameras over loopback"
        + (", microphones on" if args.microphone else ""),
        args,
    )

    def wanted(part: str) -> bool:
        return not parts or part in parts

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
                report.rows += await idle_cpu(
                    url,
                    pid,
                    cameras=args.idle_cameras,
                    rate=rate,
                    seconds=args.idle_seconds,
                    target=IDLE_TARGETS.get(rate),
                    microphone=args.microphone,
                )
            if wanted("memory"):
                say("letting cameras come and go")
                report.rows += await memory(
                    url, pid, cameras=args.idle_cameras, rounds=args.soak_rounds, seconds=8
                )
            for rate in rates if wanted("capacity") and args.cameras else []:
                say(f"adding cameras at {rate:g} frames/s")
                report.rows += await capacity(
                    url,
                    pid,
                    model,
                    rate=rate,
                    most=args.cameras,
                    target=CAPACITY_TARGETS.get(rate, 0),
                    seconds=6,
                    rng=random.Random(args.seed),
                )
        if args.server_url is None and wanted("start"):
            report.add(start_row(starts))
    return report
