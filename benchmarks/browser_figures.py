"""The figures through headless Chromium and the real page: typed and tapped questions, an idle
camera, small print.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import random
from collections.abc import Sequence

from playwright.async_api import Browser, Page

from benchmarks.browser import outbound_video, page_with_camera, set_camera
from benchmarks.live_page import ASLEEP, ask, ask_and_measure, browser_run, start_camera
from benchmarks.microphones import talk
from scripts.bench.processes import ServerProcess
from scripts.bench.program import say
from scripts.bench.report import Report, Row, Spread
from scripts.bench.usage import Usage

PRINT = (
    "BEST BEFORE 14 MAR 2027 LOT 88213",
    "Store below 25 degrees and keep dry",
    "Contains wheat, milk and hazelnuts",
    "Take one tablet twice a day with water",
)


async def idle_rows(
    page: Page, pid: int | None, seconds: float, without: float, *, microphone: bool = False
) -> list[Row]:
    """Rows 6 and 7: an idle camera that nobody asks; with a microphone that is on, or without."""
    await asyncio.sleep(ASLEEP + 1)
    before, first = await outbound_video(page), Usage.of(pid) if pid else None
    await asyncio.sleep(seconds)
    last, after = Usage.of(pid) if pid else None, await outbound_video(page)
    if before is None or after is None:
        return [
            Row("uplink of an idle camera", "kbit/s", note="the page sends no video", number="7")
        ]
    passed = (after["now"] - before["now"]) / 1000

    def per_second(key: str) -> float:
        change: float = after[key] - before[key]
        return change / float(passed)

    rows: list[Row] = []
    frames = per_second("framesSent")
    if first and last:
        cores = last.cores_since(first)
        rows.append(
            Row(
                f"server CPU of an idle camera (Chromium), {frames:.1f} frames/s"
                + (", and its microphone" if microphone else ""),
                "core",
                value=cores - without,
                target=None if microphone else 0.007 if frames < 3 else 0.015,
                note=f"one camera and its socket, {seconds:g} s; without {without:.4f} core",
                number="6",
            )
        )
    encodings = ((after.get("parameters") or {}).get("encodings") or [{}])[0]
    rows.append(
        Row(
            "uplink of an idle camera (Chromium)",
            "kbit/s",
            value=8 * (per_second("pairBytesSent") - per_second("soundBytesSent")) / 1000,
            target=140,
            note=(
                f"all that its transport sent but sound; video alone {8 * per_second('bytesSent') / 1000:.0f}; "
                f"sound {8 * per_second('soundBytesSent') / 1000:.0f}; "
                f"{frames:.2f} frames/s of {after.get('frameWidth')}×{after.get('frameHeight')}; sender: maxFramerate "
                f"{encodings.get('maxFramerate')}, maxBitrate {encodings.get('maxBitrate')}; "
                f"limited by {after.get('qualityLimitationReason')}"
            ),
            number="7",
        )
    )
    return rows


def likeness(wanted: str, got: str) -> float:
    """Share of the characters of `wanted` (spaces aside) that are found in `got`, in order."""
    a, b = "".join(wanted.split()), "".join(got.split())
    blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(a)


async def reading_rows(browser: Browser, pixels: Sequence[int], rng: random.Random) -> list[Row]:
    """Row 1, second half: print held in front of the camera, read by the built-in engine, asked
    asleep and awake.
    """
    rows: list[Row] = []
    async with ServerProcess(ENGINE="builtin") as server, page_with_camera(browser) as page:
        await start_camera(page, server.url)
        seconds: list[float] = []
        for height in pixels:
            for typed in (False, True):
                shares: list[float] = []
                for line in PRINT:
                    await set_camera(page, mode=f"text:{line}", textPx=height, clock=False)
                    await asyncio.sleep(1.2)
                    answer = await ask(
                        page, rng, typed=typed, text="Read this, please", tap="Read this"
                    )
                    shares.append(likeness(line, answer.text))
                    if answer.response:
                        seconds.append(float(answer.response["inference_time"]))
                way = "typed (woken)" if typed else "tapped (idle)"
                rows.append(
                    Row(
                        f"print with capitals {height} px high read by the built-in engine, {way}",
                        "%",
                        value=100 * sum(shares) / len(shares),
                        target=95 if height == 14 else None,
                        at_least=True,
                        note=f"share of characters found, line by line: {[round(x, 2) for x in shares]}",
                        number="1",
                    )
                )
        rows.append(Row("built-in engine's own time for reading", "s", Spread.of(seconds)))
    return rows


async def run_browser(args: argparse.Namespace) -> Report:
    """All of it; `args` are the benchmark's."""
    rng = random.Random(args.seed)
    title = "qwen-camera, headless Chromium through the page, canvas camera 1280×720 at 30/s"
    if args.camera_apart:
        title += ", drawn apart from the page's thread"
    if args.microphone:
        title += ", microphone on"
    async with browser_run(args, title) as run, run.server() as server:
        report = run.report
        if run.wanted("questions") or run.wanted("idle"):
            await asyncio.sleep(2)
            begin = Usage.of(server.pid)
            await asyncio.sleep(args.idle_seconds / 2)
            without = Usage.of(server.pid).cores_since(begin)
            options = {"permissions": ["microphone"]} if run.microphone else None
            async with page_with_camera(
                run.browser, apart=args.camera_apart, context_options=options
            ) as page:
                first = await start_camera(page, server.url)
                if run.microphone:
                    await talk(page)
                if run.wanted("idle"):
                    say("watching an idle camera")
                    report.rows += await idle_rows(
                        page, server.pid, args.idle_seconds, without, microphone=run.microphone
                    )
                if run.wanted("questions"):
                    say("asking questions")
                    await ask_and_measure(page, run.model, 4, rng)
                    results = await ask_and_measure(page, run.model, args.num_requests, rng)
                    report.rows = results.rows() + report.rows + results.whole_rows()
            report.add(
                Row("first frame, from the offer, local", "s", value=first, target=0.5, number="10")
            )
        if run.wanted("reading"):
            say("reading print")
            report.rows += await reading_rows(run.browser, (14, 10), rng)
    return report
