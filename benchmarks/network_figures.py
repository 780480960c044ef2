"""Measure rows 12 to 14 with headless Chromium and the real page: narrow uplinks, loss, cut links."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page

from benchmarks.browser import (
    get_outbound_video,
    get_socket_log,
    page_with_camera,
    prefer_codec,
    put_link_between,
    wait_for_message,
)
from benchmarks.link import Link, LinkRelay, TcpRelay
from benchmarks.live_page import (
    BrowserRun,
    ask,
    ask_and_measure,
    browser_run,
    find_question_box,
    find_records,
    start_button,
    start_camera,
)
from benchmarks.rows import AskedQuestion, Results
from scripts.bench.http_json import request
from scripts.bench.processes import ServerProcess, find_longest_pause
from scripts.bench.program import say
from scripts.bench.report import Report, Row, Spread

POLL_S = 0.02


class FrameTimes:
    """The times of one camera's frames."""

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

    async def get_next(self, since: float, timeout: float) -> float | None:
        """Return the seconds from `since` to the first frame after it; None if none came within `timeout`."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = next((at for at in self.at if at >= since), None)
            if found is not None:
                return found - since
            await asyncio.sleep(POLL_S)
        return None


@dataclass(frozen=True, slots=True)
class LinkedPage:
    """A page behind a simulated link. `url`: the server's address for the page."""

    page: Page
    url: str
    camera: LinkRelay
    # Relay for HTTP and the WebSocket; None if they connect directly
    rest: TcpRelay | None

    def cut(self, now: bool) -> None:
        """Cut the link if `now` is True, else restore it."""
        self.camera.cut = now
        if self.rest is not None:
            self.rest.cut = now


@asynccontextmanager
async def linked_page(
    browser: Browser,
    url: str,
    *,
    up: Link,
    down: Link,
    seed: int,
    codec: str = "",
    whole: bool = False,
) -> AsyncIterator[LinkedPage]:
    """Yield a page that is not opened yet.

    `codec`: the only one offered, VP8 or H264; `whole`: HTTP can be cut, too.
    """
    async with AsyncExitStack() as stack:
        rest = None
        if whole:
            address = urlsplit(url)
            rest = TcpRelay(address.hostname or "", address.port or 0)
            await stack.enter_async_context(rest)
        camera = await stack.enter_async_context(LinkRelay(up=up, down=down, seed=seed))
        page = await stack.enter_async_context(page_with_camera(browser))
        await put_link_between(page, camera)
        if codec:
            await prefer_codec(page, codec)
        linked = LinkedPage(page, url if rest is None else rest.url, camera, rest)
        try:
            yield linked
        finally:
            linked.cut(False)


# One-way delays in seconds: the round trip is 40 ms in row 12 and 80 ms in row 13.
NARROW_DELAY, LOSSY_DELAY = 0.02, 0.04
# By kbit/s: largest age in ms of a woken frame at the model, p95
NARROW = {1000: 100, 500: 150, 300: 220}
STEP_MS = 280
# By fraction of lost packets: longest gap between frames in seconds
LOSS = {0.02: 1.0, 0.05: 2.0, 0.1: 2.0}
FIRST_FRAME_S = 4.0
# By duration of the cut in seconds: seconds until the picture is back
CUTS = {2.0: 1.0, 5.0: 1.0, 13.0: 1.0, 40.0: 5.0}
WATCH_S = 20.0


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def make_asked_rows(
    what: str, some: Sequence[AskedQuestion], bound: float | None, note: str, *, kind: str = ""
) -> list[Row]:
    """Return rows with the age and delay of the questions' frames. `bound`: of the age at p95, ms."""
    ages = Spread.of(a.age_ms for a in some)
    waits = Spread.of(a.to_model_ms for a in some)
    errors = [str(a.answer.error["code"]) for a in some if a.answer.error is not None]
    after = [a.captured_after for a in some]
    note = (
        f"{after.count(True)} of {len(some)} captured after the question, errors {errors}, "
        f"oldest {ages.max:.0f} ms; {note}; {load()}"
    )
    return [
        Row(
            f"{what}: age at the model{kind}", "ms", ages, target_p95=bound, note=note, number="12"
        ),
        Row(f"{what}: question → model{kind}", "ms", waits, number="12"),
    ]


@asynccontextmanager
async def narrow_page(
    run: BrowserRun, url: str, rate: float, rng: random.Random
) -> AsyncIterator[tuple[Page, Link, Callable[[], Awaitable[str]]]]:
    """Yield a page behind a link of row 12, after two questions; its uplink; and a function that describes traffic."""
    up, down = Link(rate=rate, delay=NARROW_DELAY), Link(delay=NARROW_DELAY)
    async with linked_page(run.browser, url, up=up, down=down, seed=run.args.seed) as linked:
        await start_camera(linked.page, linked.url)
        await ask_and_measure(linked.page, run.model, 2, rng)
        dropped = up.dropped_full

        async def note() -> str:
            sent = await get_outbound_video(linked.page) or {}
            size = f"{sent.get('frameWidth')}×{sent.get('frameHeight')}"
            return f"the queue dropped {up.dropped_full - dropped} packets; sent {size}"

        yield linked.page, up, note


async def measure_narrow_rows(run: BrowserRun, url: str, kbps: float, count: int) -> list[Row]:
    """Measure row 12: an uplink of `kbps` with a queue of 300 ms and a round trip of 40 ms."""
    rng = random.Random(run.args.seed)
    async with narrow_page(run, url, kbps * 1000, rng) as (page, _, note):
        results = await ask_and_measure(page, run.model, count, rng)
        said = await note()
    bound = NARROW.get(round(kbps))
    what = f"uplink {kbps:g} kbit/s"
    return [
        row
        for typed, kind in ((True, ", typed"), (False, ", tapped"))
        for row in make_asked_rows(what, results.get_asked(typed), bound, said, kind=kind)
    ]


async def measure_step_rows(run: BrowserRun, url: str, count: int) -> list[Row]:
    """Measure row 12, last part: 1 Mbit/s falls to 400 kbit/s while a question is typed."""
    rng = random.Random(run.args.seed)
    results = Results()
    async with narrow_page(run, url, 1e6, rng) as (page, up, note):
        for number in range(count):
            # Some frames at the wide rate first; typing takes about 1.4 s.
            await asyncio.sleep(3)
            fall = asyncio.get_running_loop().call_later(
                2.2 + 0.7 + rng.uniform(0, 1.0), setattr, up, "rate", 4e5
            )
            answer = await ask(page, random.Random(0), typed=True)
            fall.cancel()
            results.asked.append(AskedQuestion(number, True, answer))
            await asyncio.sleep(1)
            up.rate = 1e6
        await find_records(results, run.model)
        said = await note()
    return make_asked_rows("1 Mbit/s falling to 400 kbit/s", results.asked, STEP_MS, said)


async def measure_loss_rows(run: BrowserRun, loss: float, seeds: range, codec: str) -> list[Row]:
    """Measure row 13: random loss in both directions, a round trip of 80 ms; camera idle, then woken."""
    firsts: list[float] = []
    gaps: dict[str, list[float]] = {"idle": [], "awake": []}
    for seed in seeds:
        up, down = Link(delay=LOSSY_DELAY, loss=loss), Link(delay=LOSSY_DELAY, loss=loss)
        async with (
            ServerProcess(ENGINE="builtin") as server,
            FrameTimes(server.url) as frames,
            linked_page(
                run.browser, server.url, up=up, down=down, seed=seed, codec=codec
            ) as linked,
        ):
            await linked.page.goto(linked.url)
            begin = time.monotonic()
            await start_button(linked.page).click()
            first = await frames.get_next(begin, 20)
            firsts.append(20.0 if first is None else first)
            for state in gaps:
                start = time.monotonic()
                while time.monotonic() < start + WATCH_S:
                    if state == "awake":
                        await find_question_box(linked.page).press_sequentially("a", delay=0)
                    await asyncio.sleep(0.5)
                gaps[state].append(find_longest_pause(frames.at, start, time.monotonic()))
    what = f"{loss:.0%} loss, {codec}"
    rows = [
        Row(
            f"{what}: longest gap in {WATCH_S:g} s, {state}",
            "s",
            Spread.of(found),
            target_p95=LOSS.get(loss),
            note=f"{[round(x, 2) for x in found]}, {load()}",
            number="13",
        )
        for state, found in gaps.items()
    ]
    rows.append(
        Row(f"{what}: first frame", "s", Spread.of(firsts), target_p95=FIRST_FRAME_S, number="13")
    )
    return rows


async def cut_row(run: BrowserRun, seconds: float, seeds: range) -> Row:
    """Measure row 14: nothing passes for this many seconds; then the picture has to come back, in the same chat."""
    back: list[float] = []
    same: list[bool] = []
    for seed in seeds:
        up, down = Link(delay=NARROW_DELAY), Link(delay=NARROW_DELAY)
        async with (
            run.server() as server,
            FrameTimes(server.url) as frames,
            linked_page(run.browser, server.url, up=up, down=down, seed=seed, whole=True) as linked,
        ):
            rng = random.Random(seed)
            await start_camera(linked.page, linked.url)
            await ask(linked.page, rng, typed=True)
            await asyncio.sleep(rng.uniform(1, 2))
            linked.cut(True)
            await asyncio.sleep(seconds)
            linked.cut(False)
            found = await frames.get_next(time.monotonic(), 60)
            back.append(60.0 if found is None else found)
            since = time.time() * 1000
            with contextlib.suppress(Exception):
                await wait_for_message(
                    linked.page,
                    'way === "got" && (m.type === "pong" || m.type === "status")',
                    since=since,
                )
            begun = {
                e["message"]["began_at"]
                for e in await get_socket_log(linked.page)
                if e["way"] == "got" and e["message"]["type"] == "ready"
            }
            same.append(len(begun) == 1)
    return Row(
        f"link cut for {seconds:g} s: picture back after the link",
        "s",
        Spread.of(back),
        target_p95=CUTS.get(seconds),
        note=f"{[round(x, 2) for x in back]}, same chat in {same.count(True)} of {len(same)}; {load()}",
        number="14",
    )


async def run_network(args: argparse.Namespace) -> Report:
    seeds = range(args.seed, args.seed + args.seeds)
    title = "qwen-camera on bad links, headless Chromium through the page, canvas camera 1280×720 at 30/s"
    async with browser_run(args, title) as run:
        report = run.report
        if "narrow" in args.only or "step" in args.only:
            async with run.server() as server:
                rates = [args.uplink_kbps] if args.uplink_kbps else list(NARROW)
                for kbps in rates if "narrow" in args.only else []:
                    say(f"asking through an uplink of {kbps:g} kbit/s")
                    report.rows += await measure_narrow_rows(
                        run, server.url, kbps, args.num_requests
                    )
                if "step" in args.only:
                    say("asking while the uplink narrows")
                    report.rows += await measure_step_rows(run, server.url, args.num_requests // 2)
        for loss in LOSS if "loss" in args.only else ():
            for codec in ("VP8", "H264"):
                say(f"losing {loss:.0%} of all packets, {codec}")
                report.rows += await measure_loss_rows(run, loss, seeds, codec)
        for seconds in CUTS if "cut" in args.only else ():
            say(f"cutting the link for {seconds:g} s")
            report.rows.append(await cut_row(run, seconds, seeds))
    return report
