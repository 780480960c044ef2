"""The figures through headless Chromium and the real page: typed and tapped questions, an idle camera, small print."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import random
import re
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from playwright.async_api import Browser, Locator, Page

from scripts.bench.browser import (
    chromium,
    outbound_video,
    page_with_camera,
    set_camera,
    socket_log,
    wait_for_message,
)
from scripts.bench.chat_client import Answer, Arrived
from scripts.bench.processes import ServerProcess, StandInProcess, Usage
from scripts.bench.questions import Asked, Results
from scripts.bench.report import Report, Row, Spread, machine

# Longer than the page stays awake after the last key
ASLEEP = 2.2
PRINT = (
    "BEST BEFORE 14 MAR 2027 LOT 88213",
    "Store below 25 degrees and keep dry",
    "Contains wheat, milk and hazelnuts",
    "Take one tablet twice a day with water",
)


def start_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Start Camera")


def question_box(page: Page) -> Locator:
    return page.get_by_label(re.compile("^Ask"))


async def start_camera(page: Page, url: str) -> float:
    """Open the page, press Start Camera, wait for the server's word that the camera is live.

    Gives the seconds from the page's offer to that word.
    """
    await page.goto(url)
    await start_button(page).click()
    live = await wait_for_message(
        page, 'way === "got" && m.type === "status" && m.camera === "live"'
    )
    offered: float = await page.evaluate(
        """() => performance.timeOrigin + performance.getEntriesByType("resource")
                .filter(entry => entry.name.includes("/api/webrtc/offer"))[0].startTime"""
    )
    return (float(live["at"]) - offered) / 1000


async def ask(
    page: Page, rng: random.Random, *, typed: bool, tap: str = "What is this?", timeout: float = 30
) -> Answer:
    """Ask as a person does, by typing or by one tap, of a camera that has fallen asleep; times are the page's own."""
    await asyncio.sleep(ASLEEP + rng.uniform(0, 0.5))
    since = time.time() * 1000
    if typed:
        await question_box(page).press_sequentially("What do you see here?", delay=60)
        await question_box(page).press("Enter")
    else:
        await page.get_by_role("button", name=tap).click()
    sent = await wait_for_message(page, 'way === "sent" && m.type === "chat"', since=since)
    await wait_for_message(
        page,
        'way === "got" && (m.type === "response" || m.type === "error")',
        since=since,
        timeout=timeout,
    )
    answer = Answer(str(sent["message"].get("id", "")), sent["at"] / 1000)
    for entry in await socket_log(page, sent["at"]):
        message = entry["message"]
        if entry["way"] != "got" or message.get("id") != answer.id:
            continue
        answer.messages.append(Arrived(entry["at"] / 1000, message))
        if message["type"] == "response":
            answer.response = message
        elif message["type"] == "error":
            answer.error = message
    return answer


async def ask_and_measure(
    page: Page, model: StandInProcess, count: int, rng: random.Random
) -> Results:
    """Questions one after the other, half of them typed, each with its record at the stand-in."""
    results = Results()
    for number in range(count):
        answer = await ask(page, rng, typed=number % 2 == 0)
        results.asked.append(Asked(number, number % 2 == 0, answer))
    records = [r for r in await model.records() if r["question"]]
    for asked in results.asked:
        begin, end = asked.answer.asked, max(asked.answer.asked, asked.answer.ended_at)
        asked.record = next((r for r in records if begin - 0.01 <= r["arrived"] <= end), None)
    return results


async def idle_rows(page: Page, pid: int | None, seconds: float, without: float) -> list[Row]:
    """Rows 6 and 7: an idle camera that nobody asks."""
    await asyncio.sleep(ASLEEP + 1)
    before, first = await outbound_video(page), Usage.of(pid) if pid else None
    await asyncio.sleep(seconds)
    last, after = Usage.of(pid) if pid else None, await outbound_video(page)
    if before is None or after is None:
        return [Row("7", "uplink of an idle camera", "kbit/s", note="the page sends no video")]
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
                "6",
                f"server CPU of an idle camera (Chromium), {frames:.1f} frames/s",
                "core",
                value=cores - without,
                target=0.007 if frames < 3 else 0.015,
                note=f"one camera and its socket, {seconds:g} s; without {without:.4f} core",
            )
        )
    encodings = ((after.get("parameters") or {}).get("encodings") or [{}])[0]
    rows.append(
        Row(
            "7",
            "uplink of an idle camera (Chromium)",
            "kbit/s",
            value=8 * per_second("pairBytesSent") / 1000,
            target=140,
            note=(
                f"all that its transport sent; video alone {8 * per_second('bytesSent') / 1000:.0f}; "
                f"{frames:.2f} frames/s of {after.get('frameWidth')}×{after.get('frameHeight')}; told: maxFramerate "
                f"{encodings.get('maxFramerate')}, maxBitrate {encodings.get('maxBitrate')}; "
                f"limited by {after.get('qualityLimitationReason')}"
            ),
        )
    )
    return rows


def likeness(wanted: str, got: str) -> float:
    """Share of the characters of `wanted` (spaces aside) that are found in `got`, in order."""
    a, b = "".join(wanted.split()), "".join(got.split())
    blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(a)


async def reading_rows(browser: Browser, pixels: Sequence[int], rng: random.Random) -> list[Row]:
    """Row 1, second half: print held in front of the camera, read by the built-in engine, asked asleep and awake."""
    rows: list[Row] = []
    async with (
        ServerProcess(ENGINE="builtin") as server,
        page_with_camera(browser) as page,
    ):
        await start_camera(page, server.url)
        seconds: list[float] = []
        for height in pixels:
            for typed in (False, True):
                shares: list[float] = []
                for line in PRINT:
                    await set_camera(page, mode=f"text:{line}", textPx=height, clock=False)
                    await asyncio.sleep(1.2)
                    if typed:
                        since = time.time() * 1000
                        answer = await _type(page, "Read this, please", since)
                    else:
                        answer = await ask(page, rng, typed=False, tap="Read this")
                    shares.append(likeness(line, answer.text))
                    if answer.response:
                        seconds.append(float(answer.response["inference_time"]))
                way = "typed (woken)" if typed else "tapped (idle)"
                rows.append(
                    Row(
                        "1",
                        f"print with capitals {height} px high read by the built-in engine, {way}",
                        "%",
                        value=100 * sum(shares) / len(shares),
                        target=95 if height == 14 else None,
                        at_least=True,
                        note=f"share of characters found, line by line: {[round(x, 2) for x in shares]}",
                    )
                )
        rows.append(Row("", "built-in engine's own time for reading", "s", Spread.of(seconds)))
    return rows


async def _type(page: Page, text: str, since: float) -> Answer:
    await asyncio.sleep(ASLEEP)
    await question_box(page).press_sequentially(text, delay=60)
    await question_box(page).press("Enter")
    end = await wait_for_message(
        page,
        'way === "got" && (m.type === "response" || m.type === "error")',
        since=since,
        timeout=30,
    )
    answer = Answer(str(end["message"].get("id", "")), end["at"] / 1000)
    if end["message"]["type"] == "response":
        answer.response = end["message"]
    return answer


async def run_browser(args: argparse.Namespace) -> Report:
    """All of it; `args` are the benchmark's."""
    parts = set(filter(None, args.only.split(",")))
    rng = random.Random(args.seed)
    report = Report(
        "qwen-camera, headless Chromium through the page, canvas camera 1280×720 at 30/s",
        {"machine": machine(), "arguments": {k: str(v) for k, v in vars(args).items()}},
    )

    def wanted(part: str) -> bool:
        return not parts or part in parts

    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(chromium())
        report.conditions["browser"] = browser.version
        model = await stack.enter_async_context(StandInProcess(first_token_ms=args.first_token_ms))
        server = await stack.enter_async_context(
            ServerProcess(ENGINE="vllm", VLLM_BASE_URL=model.base_url)
        )
        await server.wait_for_engine()
        if wanted("questions") or wanted("idle"):
            await asyncio.sleep(2)
            begin = Usage.of(server.pid)
            await asyncio.sleep(args.idle_seconds / 2)
            without = Usage.of(server.pid).cores_since(begin)
            async with page_with_camera(browser) as page:
                first = await start_camera(page, server.url)
                if wanted("idle"):
                    _say("watching an idle camera")
                    report.rows += await idle_rows(page, server.pid, args.idle_seconds, without)
                if wanted("questions"):
                    _say("asking questions")
                    await ask_and_measure(page, model, 4, rng)
                    results = await ask_and_measure(page, model, args.num_requests, rng)
                    report.rows = results.rows() + report.rows + results.whole_rows()
            report.add(
                Row("10", "first frame, from the offer, local", "s", value=first, target=0.5)
            )
        if wanted("reading"):
            _say("reading print")
            report.rows += await reading_rows(browser, (14, 10), rng)
    return report


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)
