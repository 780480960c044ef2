"""Measure the page in headless Chromium as users operate it: typed and tapped questions, idle camera, small text."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.async_api import Browser, Locator, Page

from benchmarks.browser import (
    chromium,
    get_outbound_video,
    get_socket_log,
    page_with_camera,
    set_camera,
    wait_for_message,
)
from benchmarks.rows import AskedQuestion, Results
from scripts.bench.chat_client import Answer, TimedMessage
from scripts.bench.processes import ServerProcess, StandInProcess, measure_cores
from scripts.bench.program import say
from scripts.bench.report import Report, Row, Spread
from scripts.bench.voice_sounds import make_hiss, write_sound

# Seconds, longer than the page stays awake after the last key press
ASLEEP = 2.2


def start_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Start Camera")


def find_question_box(page: Page) -> Locator:
    return page.get_by_role("textbox", name=re.compile("^Ask"))


async def start_camera(page: Page, url: str) -> float:
    """Open the page, start the camera and wait until it is live. Return the seconds from the offer until then."""
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
    page: Page,
    rng: random.Random,
    *,
    typed: bool,
    text: str = "What do you see here?",
    tap: str = "What is this?",
    timeout: float = 30,
) -> Answer:
    """Ask by typing or by one tap when the camera has become idle. Times are those of the page."""
    await asyncio.sleep(ASLEEP + rng.uniform(0, 0.5))
    since = time.time() * 1000
    if typed:
        await find_question_box(page).press_sequentially(text, delay=60)
        await find_question_box(page).press("Enter")
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
    for entry in await get_socket_log(page, sent["at"]):
        message = entry["message"]
        if entry["way"] == "got" and message.get("id") == answer.id:
            answer.take(TimedMessage(entry["at"] / 1000, message))
    return answer


async def ask_and_measure(
    page: Page, model: StandInProcess, count: int, rng: random.Random
) -> Results:
    """Ask questions one after the other, half of them typed. Return them with their records from the stand-in."""
    results = Results()
    for number in range(count):
        answer = await ask(page, rng, typed=number % 2 == 0)
        results.asked.append(AskedQuestion(number, number % 2 == 0, answer))
    await find_records(results, model)
    return results


async def find_records(results: Results, model: StandInProcess) -> None:
    """Assign to each question the stand-in's record from its time, since questions from the page have no tag."""
    records = [r for r in await model.fetch_records() if r["question"]]
    for asked in results.asked:
        begin, end = asked.answer.asked, max(asked.answer.asked, asked.answer.ended_at)
        asked.record = next((r for r in records if begin - 0.01 <= r["arrived"] <= end), None)


@dataclass(frozen=True, slots=True)
class BrowserRun:
    """A run in one browser. `args`: the options of the benchmark."""

    args: argparse.Namespace
    browser: Browser
    model: StandInProcess
    report: Report

    @asynccontextmanager
    async def server(self) -> AsyncIterator[ServerProcess]:
        """Yield a server whose engine is the stand-in, once the server has detected the engine."""
        # The page offers no microphone without a speech recogniser.
        hears = {"TRANSCRIPTION_BASE_URL": self.model.base_url} if self.args.microphone else {}
        async with ServerProcess.for_model(self.model, **hears) as server:
            await server.wait_for_engine()
            yield server


@asynccontextmanager
async def browser_run(args: argparse.Namespace, title: str) -> AsyncIterator[BrowserRun]:
    report = Report.of(title, args)
    async with AsyncExitStack() as stack:
        more: list[str] = []
        if args.microphone:
            # The microphone records a quiet room in which nobody speaks.
            folder = Path(stack.enter_context(TemporaryDirectory()))
            room = write_sound(folder / "room.wav", make_hiss(10))
            more = [f"--use-file-for-fake-audio-capture={room}"]
        browser = await stack.enter_async_context(chromium(args=more))
        report.conditions["browser"] = browser.version
        model = await stack.enter_async_context(StandInProcess(first_token_ms=args.first_token_ms))
        yield BrowserRun(args, browser, model, report)


async def talk(page: Page) -> None:
    """Press Talk, and wait until the server listens. The page's context may use the microphone."""
    await page.get_by_role("button", name="Talk").click()
    await wait_for_message(page, 'way === "got" && m.type === "listening" && m.state === "waiting"')


# The figures

PRINT = (
    "BEST BEFORE 14 MAR 2027 LOT 88213",
    "Store below 25 degrees and keep dry",
    "Contains wheat, milk and hazelnuts",
    "Take one tablet twice a day with water",
)


async def measure_idle_rows(
    page: Page, pid: int, seconds: float, without: float, *, microphone: bool
) -> list[Row]:
    """Measure rows 6 and 7: an idle camera without questions, with a microphone that is on or without one."""
    await asyncio.sleep(ASLEEP + 1)
    before = await get_outbound_video(page)
    used = await measure_cores(pid, seconds)
    after = await get_outbound_video(page)
    if before is None or after is None:
        return [
            Row("uplink of an idle camera", "kbit/s", note="the page sends no video", number="7")
        ]
    passed = (after["now"] - before["now"]) / 1000

    def get_rate(key: str) -> float:
        change: float = after[key] - before[key]
        return change / float(passed)

    frames = get_rate("framesSent")
    encodings = ((after.get("parameters") or {}).get("encodings") or [{}])[0]
    return [
        Row(
            f"server CPU of an idle camera (Chromium), {frames:.1f} frames/s"
            + (", and its microphone" if microphone else ""),
            "core",
            value=used - without,
            target=None if microphone else 0.007 if frames < 3 else 0.015,
            note=f"one camera and its socket, {seconds:g} s; without {without:.4f} core",
            number="6",
        ),
        Row(
            "uplink of an idle camera (Chromium)",
            "kbit/s",
            value=8 * (get_rate("pairBytesSent") - get_rate("soundBytesSent")) / 1000,
            target=140,
            note=(
                f"all that its transport sent but sound; video alone {8 * get_rate('bytesSent') / 1000:.0f}; "
                f"sound {8 * get_rate('soundBytesSent') / 1000:.0f}; "
                f"{frames:.2f} frames/s of {after.get('frameWidth')}×{after.get('frameHeight')}; sender: maxFramerate "
                f"{encodings.get('maxFramerate')}, maxBitrate {encodings.get('maxBitrate')}; "
                f"limited by {after.get('qualityLimitationReason')}"
            ),
            number="7",
        ),
    ]


def compute_likeness(wanted: str, got: str) -> float:
    """Return the fraction of the characters of `wanted` (except spaces) that occur in `got`, in order."""
    a, b = "".join(wanted.split()), "".join(got.split())
    blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(a)


async def measure_reading_rows(
    browser: Browser, pixels: Sequence[int], rng: random.Random
) -> list[Row]:
    """Measure row 1, second half: printed text read by the built-in engine, with an idle or a woken camera."""
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
                    shares.append(compute_likeness(line, answer.text))
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
    rng = random.Random(args.seed)
    title = "qwen-camera, headless Chromium through the page, canvas camera 1280×720 at 30/s"
    if args.camera_apart:
        title += ", drawn apart from the page's thread"
    if args.microphone:
        title += ", microphone on"
    async with browser_run(args, title) as run, run.server() as server:
        report = run.report
        if "questions" in args.only or "idle" in args.only:
            await asyncio.sleep(2)
            without = await measure_cores(server.pid, args.idle_seconds / 2)
            options = {"permissions": ["microphone"]} if args.microphone else None
            async with page_with_camera(
                run.browser, apart=args.camera_apart, context_options=options
            ) as page:
                first = await start_camera(page, server.url)
                if args.microphone:
                    await talk(page)
                if "idle" in args.only:
                    say("watching an idle camera")
                    report.rows += await measure_idle_rows(
                        page, server.pid, args.idle_seconds, without, microphone=args.microphone
                    )
                if "questions" in args.only:
                    say("asking questions")
                    await ask_and_measure(page, run.model, 4, rng)
                    results = await ask_and_measure(page, run.model, args.num_requests, rng)
                    report.rows = results.to_rows() + report.rows + results.make_client_rows()
            report.rows.append(
                Row("first frame, from the offer, local", "s", value=first, target=0.5, number="10")
            )
        if "reading" in args.only:
            say("reading print")
            report.rows += await measure_reading_rows(run.browser, (14, 10), rng)
    return report
