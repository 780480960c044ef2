"""WatchBench through the page: from the change that a canvas camera draws to the alert that the page shows."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path

from playwright.async_api import Page

from benchmarks.browser import chromium, outbound_video, page_with_camera, set_camera, socket_log
from benchmarks.live_page import question_box, start_camera
from benchmarks.watch_scenes import CONDITIONS, Model, Score, served, staged
from scripts.bench.processes import MeasurementError, ServerProcess
from tests.real_model.server import PYTHON, build, missing, watch_lessons

# Each alert with the time (epoch, ms) of the frame in which the page shows it; and orders go out as those of
# the simulated camera do: alerted each time, without a pause.
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
# The trained model knows this one.
_TRAINED = "you see red"


@asynccontextmanager
async def _server(model: Model, args: argparse.Namespace) -> AsyncIterator[ServerProcess]:
    """A server with the stand-in, or with a tiny model that is trained for it."""
    if args.trained:
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


async def watched_on_page(
    kind: str, seconds: float, seed: int, model: Model, args: argparse.Namespace, score: Score
) -> None:
    """Watch scenes of one class through the page."""
    stage = staged(kind, seconds, seed)
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
            await _order(page, condition)
        # The first look and that at the settled scene, longer with a model that computes
        await asyncio.sleep(10 if args.trained else 3)
        now: float = await page.evaluate("performance.timeOrigin + performance.now()")
        begin, skew = now / 1000, now / 1000 - time.time()
        await set_camera(page, stage={"kind": kind, "begin": now, "events": events})
        before, sent = replace(model.usage), await _sent(page)
        await asyncio.sleep(seconds)
        usage, uplink = model.usage.since(before), await _sent(page) - sent
        shown = {alert["id"]: alert["at"] for alert in await page.evaluate("window.__alerts")}
        alerts: dict[str, tuple[float, float]] = {}
        for entry in await socket_log(page, since=now):
            alert = entry["message"]
            if alert.get("type") == "alert" and alert["id"] in shown:
                # The later message of an alert has its reason alone.
                alerts.setdefault(
                    alert["id"], (alert["at"] / 1000 - begin, shown[alert["id"]] / 1000 - begin)
                )
    print(f"{kind}: uplink {uplink * 8 / seconds / 1000:.0f} kbit/s", flush=True)
    blind = [at + skew - begin for at in model.blind]
    score.take(stage, list(alerts.values()), seconds, blind)
    score.usage.take(usage)


async def _order(page: Page, condition: str) -> None:
    """Add a watch as a person does."""
    await question_box(page).fill(f"Tell me when {condition}")
    await page.get_by_role("button", name="Watch for this", exact=True).click()
    await page.wait_for_function(
        "condition => window.__log.some(({message: m}) => m.type === 'watches' &&"
        " m.watches.some((one) => one.condition === condition))",
        arg=condition,
    )


async def _sent(page: Page) -> float:
    """Bytes that the page has sent with its video."""
    report = await outbound_video(page)
    return float(report["pairBytesSent"]) if report else 0.0
