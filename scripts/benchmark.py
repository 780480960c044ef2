#!/usr/bin/env python3
"""Measure qwen-camera with simulated cameras and real sockets, and print the figures beside their targets.

    python scripts/benchmark.py                       starts a server and a stand-in model, measures both ways of asking
    python scripts/benchmark.py --server-url URL      measures a running server with the model that it has
    python scripts/benchmark.py --browser             the same through headless Chromium and the real page
    python scripts/benchmark.py --network             narrow, lossy and broken links, through Chromium and the page

Results go to benchmark_results/ as JSON and CSV.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.own_environment import go_on_inside  # noqa: E402

try:
    from scripts.bench.camera_peer import CameraPeer, close_all
    from scripts.bench.http_json import HttpError
    from scripts.bench.live_encoder import LiveEncoder, Scene
    from scripts.bench.load import capacity, first_frames, idle_cpu, memory, start_row
    from scripts.bench.processes import MeasurementError, ServerProcess, StandInProcess
    from scripts.bench.questions import Results, ask_many
    from scripts.bench.report import EXPECTATION, Report, machine
except ModuleNotFoundError as missing:
    go_on_inside(missing)

IDLE_TARGETS = {2.0: 0.007, 5.0: 0.015}
CAPACITY_TARGETS = {2.0: 100, 5.0: 55}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--server-url", help="measure this server instead of starting one")
    add("--server-pid", type=int, help="its process, for processor and memory (same machine)")
    add("--access-code", help="its access code")
    add("--num-requests", type=int, default=60, help="questions, after the warm-up (60)")
    add("--sessions", type=int, default=2, help="pages that ask (2)")
    add("--rate", type=float, default=0.8, help="questions a second, open loop, Poisson (0.8)")
    add("--typed-share", type=float, default=0.5, help="share of questions typed, not tapped (0.5)")
    add("--warm-up", type=int, default=3, help="questions a session before any is counted (3)")
    add("--first-token-ms", type=float, default=50, help="of the stand-in model (50)")
    add("--idle-seconds", type=float, default=20, help="how long idle cameras are watched (20)")
    add("--idle-cameras", type=int, default=10, help="idle cameras for processor and memory (10)")
    add("--cameras", type=int, default=0, help="most cameras of the ramp; 0 leaves it out (0)")
    add("--sample-rate", type=float, action="append", help="cameras' idle rates (2 and 5)")
    add("--soak-rounds", type=int, default=3, help="times that all cameras come and go (3)")
    add("--detail", choices=("auto", "low", "high"), default="auto")
    add("--browser", action="store_true", help="through headless Chromium and the page")
    add("--network", action="store_true", help="narrow, lossy and broken links (about 25 minutes)")
    add("--uplink-kbps", type=float, help="with --network: this narrow link in place of all (none)")
    add("--seeds", type=int, default=3, help="with --network: runs of each lossy or cut link (3)")
    add("--seed", type=int, default=1)
    add(
        "--only",
        default="",
        help="parts: questions,first,idle,memory,capacity,start; narrow,step,loss,cut (all)",
    )
    add("--output", type=Path, default=ROOT / "benchmark_results")
    add("--server-log", default="", help="log level of the started server (warning)")
    return parser.parse_args()


async def questions(
    url: str, model: StandInProcess | None, args: argparse.Namespace, report: Report
) -> None:
    rng = random.Random(args.seed)
    encoders = [
        LiveEncoder(Scene(seed=i), phase=int(30 * i / args.sessions)) for i in range(args.sessions)
    ]
    peers = [CameraPeer(url, e, wake=True, access_code=args.access_code) for e in encoders]
    try:
        for peer in peers:
            await peer.connect()
            await peer.open_socket()
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


async def run(args: argparse.Namespace) -> Report:
    parts = set(filter(None, args.only.split(",")))
    report = Report(
        "qwen-camera, simulated 1280×720 VP8 cameras over loopback",
        {"machine": machine(), "arguments": {k: str(v) for k, v in vars(args).items()}},
    )

    def wanted(part: str) -> bool:
        return not parts or part in parts

    async with contextlib.AsyncExitStack() as stack:
        url, pid, model = args.server_url, args.server_pid, None
        if url is None:
            model = await stack.enter_async_context(
                StandInProcess(first_token_ms=args.first_token_ms)
            )
            environment = {"ENGINE": "vllm", "VLLM_BASE_URL": model.base_url}
            if args.server_log:
                environment["LOG_LEVEL"] = args.server_log
            starts: list[float] = []
            for _ in range(2 if wanted("start") else 0):
                async with ServerProcess(**environment) as once:
                    starts.append(once.seconds_to_first_page)
            server = await stack.enter_async_context(ServerProcess(**environment))
            starts.append(server.seconds_to_first_page)
            url, pid = server.url, server.pid
            report.conditions["health"] = await server.wait_for_engine()
        if wanted("questions"):
            say("asking questions")
            await questions(url, model, args, report)
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


def say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def main() -> None:
    args = options()
    logging.basicConfig(level=logging.ERROR)
    try:
        if args.browser:
            # Playwright is needed for this way alone.
            from scripts.bench.browser_figures import run_browser

            report, name = asyncio.run(run_browser(args)), "browser"
        elif args.network:
            from scripts.bench.network_figures import run_network

            report, name = asyncio.run(run_network(args)), "network"
        else:
            report, name = asyncio.run(run(args)), "benchmark"
    except ModuleNotFoundError as exc:
        sys.exit(f"{exc.name} is not installed: `bash scripts/test.sh` installs it.")
    except (MeasurementError, HttpError, OSError) as exc:
        sys.exit(f"The measurement was broken off: {exc}")
    report.close()
    paths = report.write(args.output, name)
    print(report.table())
    print(f"\n{EXPECTATION}\n\nWritten: {', '.join(os.path.relpath(p) for p in paths)}")


if __name__ == "__main__":
    main()
