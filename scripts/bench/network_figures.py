"""Rows 12 to 14 through headless Chromium and the real page: narrow uplinks, loss, links that are cut."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page

from scripts.bench.browser import (
    chromium,
    outbound_video,
    page_with_camera,
    prefer_codec,
    put_link_between,
    socket_log,
    wait_for_message,
)
from scripts.bench.browser_figures import (
    ask,
    ask_and_measure,
    question_box,
    start_button,
    start_camera,
)
from scripts.bench.http_json import request
from scripts.bench.link import Link
from scripts.bench.link_relay import LinkRelay
from scripts.bench.processes import ServerProcess, StandInProcess
from scripts.bench.questions import Asked, Results
from scripts.bench.report import Report, Row, Spread, machine
from scripts.bench.tcp_relay import TcpRelay

# One way; row 12 has a round trip of 40 ms, row 13 of 80.
NARROW_DELAY, LOSSY_DELAY = 0.02, 0.04
# kbit/s: most ms that a woken frame may be old at the model, p95
NARROW = {1000: 100, 500: 150, 300: 220}
STEP_MS = 280
# Share lost: longest gap between frames, seconds
LOSS = {0.02: 1.0, 0.05: 2.0, 0.1: 2.0}
FIRST_FRAME_S = 4.0
# Seconds that a link is cut: seconds until the picture is back
CUTS = {2.0: 1.0, 5.0: 1.0, 13.0: 1.0, 40.0: 5.0}
WATCH_S = 20.0
POLL_S = 0.02


class FrameTimes:
    """When a server's frames came, as its /metrics tell: one camera at a time."""

    def __init__(self, url: str) -> None:
        self.at: list[float] = []
        self._url = url
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> FrameTimes:
        self._task = asyncio.create_task(self._watch(), name="frame-times")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _count(self) -> int:
        reply = await request("GET", f"{self._url}/metrics")
        for line in reply.body.decode().splitlines():
            if line.startswith("qwen_camera_frames_received_total "):
                return int(float(line.split()[1]))
        return 0

    async def _watch(self) -> None:
        known = await self._count()
        while True:
            await asyncio.sleep(POLL_S)
            count = await self._count()
            if count > known:
                known = count
                self.at.append(time.monotonic())

    async def next(self, since: float, timeout: float) -> float | None:
        """Seconds from `since` to the first frame after it; None when none came within `timeout`."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = next((at for at in self.at if at >= since), None)
            if found is not None:
                return found - since
            await asyncio.sleep(POLL_S)
        return None

    def longest_gap(self, start: float, end: float) -> float:
        """Between frames, and from `start` to the first and from the last to `end`."""
        inside = [at for at in self.at if start <= at <= end]
        return max(b - a for a, b in zip([start, *inside], [*inside, end], strict=True))


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


async def narrow_rows(
    browser: Browser, url: str, model: StandInProcess, kbps: float, count: int, seed: int
) -> list[Row]:
    """Row 12: an uplink of `kbps` with a queue of 300 ms and a round trip of 40 ms."""
    rng = random.Random(seed)
    up = Link(rate=kbps * 1000, delay=NARROW_DELAY)
    async with (
        LinkRelay(up=up, down=Link(delay=NARROW_DELAY), seed=seed) as relay,
        page_with_camera(browser) as page,
    ):
        await put_link_between(page, relay)
        await start_camera(page, url)
        await ask_and_measure(page, model, 2, rng)
        dropped = up.dropped_full
        results = await ask_and_measure(page, model, count, rng)
        sent = await outbound_video(page) or {}
    bound = NARROW.get(round(kbps))
    dropped = up.dropped_full - dropped
    rows: list[Row] = []
    for typed, name in ((True, "typed"), (False, "tapped")):
        some = results.of(typed)
        stalled = [str(a.answer.error["code"]) for a in some if a.answer.error is not None]
        after = [a.captured_after for a in some]
        note = (
            f"{after.count(True)} of {len(some)} captured after the question, errors {stalled}; the queue dropped "
            f"{dropped} packets; sent {sent.get('frameWidth')}×{sent.get('frameHeight')}; {load()}"
        )
        what = f"uplink {kbps:g} kbit/s"
        ages = Spread.of(x for a in some if (x := a.age_ms) is not None)
        waits = Spread.of(x for a in some if (x := a.to_model_ms) is not None)
        rows += [
            Row("12", f"{what}: age at the model, {name}", "ms", ages, target_p95=bound, note=note),
            Row("12", f"{what}: question → model, {name}", "ms", waits),
        ]
    return rows


async def step_rows(
    browser: Browser, url: str, model: StandInProcess, count: int, seed: int
) -> list[Row]:
    """Row 12, last part: 1 Mbit/s falls to 400 kbit/s while a question is typed."""
    rng = random.Random(seed)
    up = Link(rate=1e6, delay=NARROW_DELAY)
    results = Results()
    async with (
        LinkRelay(up=up, down=Link(delay=NARROW_DELAY), seed=seed) as relay,
        page_with_camera(browser) as page,
    ):
        await put_link_between(page, relay)
        await start_camera(page, url)
        await ask_and_measure(page, model, 2, rng)
        dropped = up.dropped_full
        for number in range(count):
            # Some frames at the wide rate first; typing takes about 1.4 s.
            await asyncio.sleep(3)
            fall = asyncio.get_running_loop().call_later(
                2.2 + 0.7 + rng.uniform(0, 1.0), setattr, up, "rate", 4e5
            )
            answer = await ask(page, random.Random(0), typed=True)
            fall.cancel()
            results.asked.append(Asked(number, True, answer))
            await asyncio.sleep(1)
            up.rate = 1e6
        records = [r for r in await model.records() if r["question"]]
        sent = await outbound_video(page) or {}
    for asked in results.asked:
        begin, end = asked.answer.asked, max(asked.answer.asked, asked.answer.ended_at)
        asked.record = next((r for r in records if begin - 0.01 <= r["arrived"] <= end), None)
    stalled = sum(a.answer.error is not None for a in results.asked)
    ages = Spread.of(x for a in results.asked if (x := a.age_ms) is not None)
    waits = Spread.of(x for a in results.asked if (x := a.to_model_ms) is not None)
    note = (
        f"{stalled} errors; the queue dropped {up.dropped_full - dropped} packets; "
        f"sent {sent.get('frameWidth')}×{sent.get('frameHeight')}; oldest {ages.max:.0f} ms; {load()}"
    )
    what = "1 Mbit/s falling to 400 kbit/s"
    return [
        Row("12", f"{what}: age at the model", "ms", ages, target_p95=STEP_MS, note=note),
        Row("12", f"{what}: question → model", "ms", waits),
    ]


async def loss_rows(browser: Browser, loss: float, seeds: range, codec: str) -> list[Row]:
    """Row 13: random loss both ways, a round trip of 80 ms; idle, then awake."""
    firsts: list[float] = []
    gaps: dict[str, list[float]] = {"idle": [], "awake": []}
    for seed in seeds:
        up, down = Link(delay=LOSSY_DELAY, loss=loss), Link(delay=LOSSY_DELAY, loss=loss)
        async with (
            ServerProcess(ENGINE="builtin") as server,
            FrameTimes(server.url) as frames,
            LinkRelay(up=up, down=down, seed=seed) as relay,
            page_with_camera(browser) as page,
        ):
            await put_link_between(page, relay)
            await prefer_codec(page, codec)
            await page.goto(server.url)
            begin = time.monotonic()
            await start_button(page).click()
            first = await frames.next(begin, 20)
            firsts.append(20.0 if first is None else first)
            for state in gaps:
                start = time.monotonic()
                while time.monotonic() < start + WATCH_S:
                    if state == "awake":
                        await question_box(page).press_sequentially("a", delay=0)
                    await asyncio.sleep(0.5)
                gaps[state].append(frames.longest_gap(start, time.monotonic()))
    what = f"{loss:.0%} loss, {codec}"
    rows = [
        Row(
            "13",
            f"{what}: longest gap in {WATCH_S:g} s, {state}",
            "s",
            Spread.of(found),
            target_p95=LOSS.get(loss),
            note=f"{[round(x, 2) for x in found]}, {load()}",
        )
        for state, found in gaps.items()
    ]
    rows.append(Row("13", f"{what}: first frame", "s", Spread.of(firsts), target_p95=FIRST_FRAME_S))
    return rows


@asynccontextmanager
async def page_on_a_link(
    browser: Browser, url: str, seed: int
) -> AsyncIterator[tuple[Page, Callable[[bool], None]]]:
    """A live page whose whole way to the server, camera, HTTP and WebSocket, can be cut."""
    address = urlsplit(url)
    delay = NARROW_DELAY
    async with (
        TcpRelay(address.hostname or "", address.port or 0) as tcp,
        LinkRelay(up=Link(delay=delay), down=Link(delay=delay), seed=seed) as relay,
        page_with_camera(browser) as page,
    ):

        def cut(now: bool) -> None:
            tcp.cut = relay.cut = now

        await put_link_between(page, relay)
        await start_camera(page, tcp.url)
        try:
            yield page, cut
        finally:
            cut(False)


async def cut_rows(browser: Browser, model: StandInProcess, seconds: float, seeds: range) -> Row:
    """Row 14: nothing goes through for so long; then the picture has to be back, in the same chat."""
    back: list[float] = []
    same: list[bool] = []
    for seed in seeds:
        async with ServerProcess(ENGINE="vllm", VLLM_BASE_URL=model.base_url) as server:
            await server.wait_for_engine()
            async with (
                FrameTimes(server.url) as frames,
                page_on_a_link(browser, server.url, seed) as (page, cut),
            ):
                rng = random.Random(seed)
                await ask(page, rng, typed=True)
                await asyncio.sleep(rng.uniform(1, 2))
                cut(True)
                await asyncio.sleep(seconds)
                cut(False)
                found = await frames.next(time.monotonic(), 60)
                back.append(60.0 if found is None else found)
                since = time.time() * 1000
                with contextlib.suppress(Exception):
                    await wait_for_message(
                        page,
                        'way === "got" && (m.type === "pong" || m.type === "status")',
                        since=since,
                    )
                begun = {
                    e["message"]["began_at"]
                    for e in await socket_log(page)
                    if e["way"] == "got" and e["message"]["type"] == "ready"
                }
                same.append(len(begun) == 1)
    return Row(
        "14",
        f"link cut for {seconds:g} s: picture back after the link",
        "s",
        Spread.of(back),
        target_p95=CUTS.get(seconds),
        note=f"{[round(x, 2) for x in back]}, same chat in {same.count(True)} of {len(same)}; {load()}",
    )


async def run_network(args: argparse.Namespace) -> Report:
    """All of it; `args` are the benchmark's."""
    parts = set(filter(None, args.only.split(",")))
    seeds = range(args.seed, args.seed + args.seeds)
    report = Report(
        "qwen-camera on bad links, headless Chromium through the page, canvas camera 1280×720 at 30/s",
        {"machine": machine(), "arguments": {k: str(v) for k, v in vars(args).items()}},
    )

    def wanted(part: str) -> bool:
        return not parts or part in parts

    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(chromium())
        report.conditions["browser"] = browser.version
        model = await stack.enter_async_context(StandInProcess(first_token_ms=args.first_token_ms))
        if wanted("narrow") or wanted("step"):
            async with ServerProcess(ENGINE="vllm", VLLM_BASE_URL=model.base_url) as server:
                await server.wait_for_engine()
                rates = [args.uplink_kbps] if args.uplink_kbps else list(NARROW)
                for kbps in rates if wanted("narrow") else []:
                    _say(f"asking through an uplink of {kbps:g} kbit/s")
                    report.rows += await narrow_rows(
                        browser, server.url, model, kbps, args.num_requests, args.seed
                    )
                if wanted("step"):
                    _say("asking while the uplink narrows")
                    report.rows += await step_rows(
                        browser, server.url, model, args.num_requests // 2, args.seed
                    )
        for loss in LOSS if wanted("loss") else ():
            for codec in ("VP8", "H264"):
                _say(f"losing {loss:.0%} of all packets, {codec}")
                report.rows += await loss_rows(browser, loss, seeds, codec)
        for seconds in CUTS if wanted("cut") else ():
            _say(f"cutting the link for {seconds:g} s")
            report.add(await cut_rows(browser, model, seconds, seeds))
    return report


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)
