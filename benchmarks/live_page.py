"""Act like a user on the page, and measure: start the camera, type or tap a question."""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.async_api import Browser, Locator, Page

from benchmarks.browser import chromium, socket_log, wait_for_message
from benchmarks.microphones import chromium_arguments
from benchmarks.questions import Asked, Results
from scripts.bench.chat_client import Answer, Arrived
from scripts.bench.processes import ServerProcess, StandInProcess
from scripts.bench.report import Report

# Longer than the page stays awake after the last key
ASLEEP = 2.2


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
    page: Page,
    rng: random.Random,
    *,
    typed: bool,
    text: str = "What do you see here?",
    tap: str = "What is this?",
    timeout: float = 30,
) -> Answer:
    """Ask as a person does, by typing or by one tap, of a camera that has fallen asleep; times are
    the page's own.
    """
    await asyncio.sleep(ASLEEP + rng.uniform(0, 0.5))
    since = time.time() * 1000
    if typed:
        await question_box(page).press_sequentially(text, delay=60)
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
    await find_records(results, model)
    return results


async def find_records(results: Results, model: StandInProcess) -> None:
    """Give each question the stand-in's record of its time: the page's own questions bear no tag."""
    records = [r for r in await model.records() if r["question"]]
    for asked in results.asked:
        begin, end = asked.answer.asked, max(asked.answer.asked, asked.answer.ended_at)
        asked.record = next((r for r in records if begin - 0.01 <= r["arrived"] <= end), None)


@dataclass(frozen=True, slots=True)
class BrowserRun:
    """`args` are the benchmark's."""

    args: argparse.Namespace
    browser: Browser
    model: StandInProcess
    report: Report

    @property
    def microphone(self) -> bool:
        microphone: bool = self.args.microphone
        return microphone

    def wanted(self, part: str) -> bool:
        return not self.args.only or part in self.args.only.split(",")

    @asynccontextmanager
    async def server(self) -> AsyncIterator[ServerProcess]:
        """A server whose engine is the stand-in, once it has found it."""
        # Without a recogniser the page offers no microphone.
        hears = {"TRANSCRIPTION_BASE_URL": self.model.base_url} if self.microphone else {}
        async with ServerProcess.before(self.model, **hears) as server:
            await server.wait_for_engine()
            yield server


@asynccontextmanager
async def browser_run(args: argparse.Namespace, title: str) -> AsyncIterator[BrowserRun]:
    report = Report.of(title, args)
    async with AsyncExitStack() as stack:
        more: list[str] = []
        if args.microphone:
            more = chromium_arguments(Path(stack.enter_context(TemporaryDirectory())))
        browser = await stack.enter_async_context(chromium(args=more))
        report.conditions["browser"] = browser.version
        model = await stack.enter_async_context(StandInProcess(first_token_ms=args.first_token_ms))
        yield BrowserRun(args, browser, model, report)
