"""One run of figures through headless Chromium: the browser, the stand-in model, the report, which
parts are wanted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.async_api import Browser

from benchmarks.browser import chromium
from benchmarks.microphones import chromium_arguments
from scripts.bench.processes import ServerProcess, StandInProcess
from scripts.bench.report import Report
from scripts.bench.stand_in_speech import PROGRAM


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
        environment = {"ENGINE": "vllm", "VLLM_BASE_URL": self.model.base_url}
        if self.microphone:
            # Without a recogniser the page offers no microphone.
            environment |= {"TRANSCRIPTION_BASE_URL": self.model.base_url}
        async with ServerProcess(**environment) as server:
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
        model = await stack.enter_async_context(
            StandInProcess(first_token_ms=args.first_token_ms, program=PROGRAM)
        )
        yield BrowserRun(args, browser, model, report)


def say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)
