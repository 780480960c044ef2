"""WatchBench: measure the alerts, misses and costs of watches on scripted scenes.

    python3 scripts/benchmark.py --watch --minutes 2            a simulated camera, through WebRTC and VP8
    python3 scripts/benchmark.py --watch --browser              the page in headless Chromium, whose camera is a canvas
    python3 scripts/benchmark.py --watch --browser --trained    the same with a tiny trained model (.venv-models)
    python3 scripts/benchmark.py --watch --conditions 8         eight conditions instead of one

The server watches the scenes for "a red thing", in real time. A stand-in for the model detects from each picture
whether the object is visible, and errs at given rates. The baselines get the same scenes as drawn, on simulated time,
and the same model: a frame a second; ten frames every 10 s; and a loop that asks again after the pause that the model
chose (as Frigate's watch does, by its description). Results are written to benchmark_results/ as JSON, CSV and, if
matplotlib is installed, PNG.

Exit status: 0 measured, 1 not, 2 wrong options, 130 interrupted (what was measured until then is written).
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.watch_scenes import CLASSES, CONDITIONS, Model, Score, make_stage, served
from scripts.arguments import (
    create_parser,
    make_integer_parser,
    make_number_parser,
    make_option_adder,
)
from scripts.bench import program
from scripts.bench.processes import MeasurementError, ServerProcess
from scripts.bench.report import Report
from tools.eyes_to_alert import watching

if TYPE_CHECKING:
    from playwright.async_api import Page

# Records each alert with the time (epoch, ms) of the frame in which the page shows it; and makes watches repeat,
# without a cooldown, as those of the simulated camera do.
_NOTES = """() => {
  window.__alerts = [];
  new MutationObserver((changes) => {
    const added = changes.flatMap(({addedNodes}) => [...addedNodes]);
    for (const entry of added.filter((node) => node.matches?.("article.alert"))) {
      requestAnimationFrame(() =>
        window.__alerts.push({id: entry.dataset.id, at: performance.timeOrigin + performance.now()}));
    }
  }).observe(document, {childList: true, subtree: true});
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    if (typeof data === "string" && data.includes('"type":"watch"')) {
      data = JSON.stringify({...JSON.parse(data), repeat: true, cooldown: 0});
    }
    return send.call(this, data);
  };
}"""
# The trained model knows this condition.
_TRAINED = "you see red"
# Seconds, in addition to two times to the model's first token
TARGET = 0.2
BASELINES = ("a frame a second", "10 s chunk", "model chooses the pause")
# Seconds from adding a watch to the beginning of the scene: its first look and that at the settled scene are then over.
SETTLES = 3.0


async def watch_camera(
    kind: str, seconds: float, seed: int, model: Model, args: argparse.Namespace, score: Score
) -> None:
    """Watch scenes of one class through a simulated camera."""
    stage = make_stage(kind, seconds, seed)
    async with (
        served(model, args.first_token) as server,
        watching(server.url, stage, CONDITIONS[: args.conditions]) as one,
    ):
        await asyncio.sleep(SETTLES)
        stage.begin = begin = time.time()
        before = replace(model.usage)
        await asyncio.sleep(seconds)
        found = [
            (at - begin, alerted - begin)
            for _, at, alerted in one.alerts.values()
            if alerted > begin
        ]
        usage = model.usage.subtract(before)
    score.take(stage, found, seconds, [at - begin for at in model.blind])
    score.usage.merge(usage)


# Through the page, from the change that a canvas camera draws to the alert that the page shows. Only this needs Playwright.


@asynccontextmanager
async def _server(model: Model, args: argparse.Namespace) -> AsyncIterator[ServerProcess]:
    """Yield a server with the stand-in, or with a tiny model that was trained for this benchmark."""
    if args.trained:
        from tests.real_model.server import PYTHON, build, missing, watch_lessons

        if lacking := missing():
            raise MeasurementError(lacking)
        with tempfile.TemporaryDirectory() as folder:
            tiny = await asyncio.to_thread(build, Path(folder), watch_lessons(_TRAINED))
            settings = {"ENGINE": "local", "LOCAL_MODEL": str(tiny), "ENGINE_PYTHON": str(PYTHON)}
            async with ServerProcess(
                **settings, TRUST_REMOTE_CODE="true", OMP_NUM_THREADS="1"
            ) as server:
                await server.wait_for_engine()
                yield server
        return
    async with served(model, args.first_token) as server:
        yield server


async def watch_page(
    kind: str, seconds: float, seed: int, model: Model, args: argparse.Namespace, score: Score
) -> None:
    """Watch scenes of one class through the page."""
    from benchmarks.browser import chromium, get_socket_log, page_with_camera, set_camera
    from benchmarks.live_page import start_camera

    stage = make_stage(kind, seconds, seed)
    events = [asdict(event) for event in stage.events]
    async with (
        _server(model, args) as server,
        chromium() as browser,
        page_with_camera(
            browser, mode="stage", stage={"kind": kind, "begin": 1e15, "events": []}
        ) as page,
    ):
        await page.add_init_script(f"({_NOTES})()")
        await start_camera(page, server.url)
        for condition in [_TRAINED] if args.trained else CONDITIONS[: args.conditions]:
            await _add_watch(page, condition)
        # Wait for the first look and that at the settled scene; a real model takes longer.
        await asyncio.sleep(10 if args.trained else 3)
        now: float = await page.evaluate("performance.timeOrigin + performance.now()")
        begin, skew = now / 1000, now / 1000 - time.time()
        await set_camera(page, stage={"kind": kind, "begin": now, "events": events})
        before, sent = replace(model.usage), await _count_sent_bytes(page)
        await asyncio.sleep(seconds)
        usage, uplink = model.usage.subtract(before), await _count_sent_bytes(page) - sent
        shown = {alert["id"]: alert["at"] for alert in await page.evaluate("window.__alerts")}
        alerts: dict[str, tuple[float, float]] = {}
        for entry in await get_socket_log(page, since=now):
            alert = entry["message"]
            if alert.get("type") == "alert" and alert["id"] in shown:
                # A later message of the same alert only adds its reason.
                alerts.setdefault(
                    alert["id"], (alert["at"] / 1000 - begin, shown[alert["id"]] / 1000 - begin)
                )
    print(f"{kind}: uplink {uplink * 8 / seconds / 1000:.0f} kbit/s", flush=True)
    blind = [at + skew - begin for at in model.blind]
    score.take(stage, list(alerts.values()), seconds, blind)
    score.usage.merge(usage)


async def _add_watch(page: Page, condition: str) -> None:
    """Add a watch as a person does."""
    from benchmarks.live_page import find_question_box

    await find_question_box(page).fill(f"Tell me when {condition}")
    await page.get_by_role("button", name="Watch for this", exact=True).click()
    await page.wait_for_function(
        "condition => window.__log.some(({message: m}) => m.type === 'watches' &&"
        " m.watches.some((one) => one.condition === condition))",
        arg=condition,
    )


async def _count_sent_bytes(page: Page) -> float:
    """Return the number of bytes that the page has sent over its video connection."""
    from benchmarks.browser import get_outbound_video

    report = await get_outbound_video(page)
    return float(report["pairBytesSent"]) if report else 0.0


def run_baseline(
    name: str, kind: str, seconds: float, seed: int, model: Model, first_token: float, score: Score
) -> None:
    """Run a baseline on the scene as drawn, on simulated time. It alerts once while its answer stays yes."""
    stage = make_stage(kind, seconds, seed)
    stage.begin = 0.0
    alerts, held, at = [], False, 0.0
    while at < seconds:
        moments = [at + number for number in range(10)] if name == "10 s chunk" else [at]
        votes = []
        for moment in moments:
            bgr = cv2.cvtColor(stage.draw_planes(moment), cv2.COLOR_YUV2BGR_I420)
            small = np.asarray(cv2.resize(bgr, (840, 448), interpolation=cv2.INTER_AREA), np.uint8)
            votes.append(model.look(small, second=False)[0])
        model.usage.add(len(votes), len(votes) * 480 + 150, 30)
        seen = any(votes)
        evidence = moments[votes.index(True)] if seen else at
        ends = moments[-1] + 2 * first_token
        if seen and not held:
            alerts.append((evidence, ends))
        held = seen
        at += {"a frame a second": 1.0, "10 s chunk": 10.0}.get(name, 5.0 if seen else 10.0)
    score.take(stage, alerts, seconds)
    score.usage.merge(model.usage)


async def measure(args: argparse.Namespace, scores: list[Score]) -> None:
    """Fill `scores`: those of this program for all classes and for each class, and the baselines'."""
    ours, *others = scores
    seconds = args.minutes * 60

    def make(seed: int) -> Model:
        return Model(args.false_yes, args.false_no, args.linked, seed)

    for index, kind in enumerate(args.only or CLASSES):
        seed = args.seed + index
        one = Score(f"ours, {kind}")
        if args.browser:
            await watch_page(kind, seconds, seed, make(seed), args, one)
        else:
            await watch_camera(kind, seconds, seed, make(seed), args, one)
        print(one.format_line(), flush=True)
        ours.merge(one)
        scores.append(one)
        for score in others[: 0 if args.trained else None]:
            work = partial(
                run_baseline, score.name, kind, seconds, seed, make(seed), args.first_token
            )
            await asyncio.to_thread(work, score)


def run(args: argparse.Namespace) -> int:
    if args.trained:
        # The tiny model only distinguishes one red picture from an orange and a grey one.
        args.browser, args.conditions, args.only = True, 1, ["colors"]
    way = "the page in Chromium" if args.browser else "a simulated camera"
    report = Report.of(f"WatchBench through {way}, {args.minutes:g} minutes a class", args)
    scores = [Score("ours"), *map(Score, () if args.trained else BASELINES)]
    cut = not asyncio.run(program.run_until_signal(measure(args, scores)))
    if not scores[0].seconds:
        raise KeyboardInterrupt
    target = None if args.trained else TARGET + 2 * args.first_token
    for score in scores:
        if score.seconds:
            print(score.format_line())
            report.rows += score.to_rows(target if score.name.startswith("ours") else None)
    report.more["scores"] = [asdict(score) for score in scores]
    delays = {
        score.name: score.delays
        for score in scores
        if not score.name.startswith("ours,") and score.delays
    }
    panels = {"s from the change to the alert": delays} if delays else None
    return program.publish(report, "watch", args, "", panels) or (130 if cut else 0)


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = create_parser(__doc__, prog="benchmark.py --watch")
    add, value = parser.add_argument, make_option_adder(parser)
    share = make_number_parser(0, 1)
    value("--minutes", make_number_parser(0.5, 1e5), 2.0, "of each class of scenes")
    add("--only", nargs="*", choices=CLASSES, help="classes (all)")
    value("--conditions", make_integer_parser(1, 8), 1, "watched for at a time")
    add("--browser", action="store_true", help="through the page in headless Chromium")
    add(
        "--trained",
        action="store_true",
        help="through the page, with a tiny model that is trained first (needs .venv-models)",
    )
    value("--false-yes", share, 0.02, "error rate of the stand-in")
    value("--false-no", share, 0.1, "error rate of the stand-in")
    value("--linked", share, 0.5, "probability that an error is repeated")
    value("--first-token", make_number_parser(0.001, 60), 0.1, "seconds of the stand-in")
    value("--seed", int, 1, "of scenes and errors")
    program.add_output(parser, plots=True)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    args = parse_options(arguments)
    return program.run(lambda: run(args), args.output)
