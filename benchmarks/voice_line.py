"""Measure sound between the page and the server.

    python3 scripts/benchmark.py --voice --browser

The server runs in this process, and the real page in headless Chromium. Measured are the latency in both directions,
and the CPU time of this process for a microphone and a listener in addition to an idle camera. No model, speech
recogniser or speech engine is used: `scripts/benchmark.py --voice` measures those. Results are written to
benchmark_results/ as JSON and CSV.

Exit status: 0 measured, 1 not, 2 wrong options, 130 interrupted (nothing is written).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from playwright.async_api import Page

from benchmarks.browser import chromium, page_with_camera
from benchmarks.live_page import start_camera
from scripts.arguments import (
    create_parser,
    make_integer_parser,
    make_number_parser,
    make_option_adder,
)
from scripts.bench import program
from scripts.bench.processes import measure_cores
from scripts.bench.report import Report, Row, Spread, describe_machine
from scripts.bench.stand_in_model import RATE, make_tone
from scripts.bench.voice_figures import make_cpu_rows
from server.shared.sound.line import VoiceLine
from tests.support.running import running

# The loudness above which sound counts as a burst
LOUD = 0.05

_MICROPHONE = """async (silent) => {
  const context = (window.__audio ??= new AudioContext());
  await context.resume();
  const oscillator = new OscillatorNode(context, { frequency: 800 });
  const gate = (window.__gate = new GainNode(context, { gain: silent ? 0 : 0.5 }));
  const out = context.createMediaStreamDestination();
  oscillator.connect(gate).connect(out);
  oscillator.start();
  const sound = window.__peers.at(-1).getTransceivers().find((one) => one.receiver.track.kind === "audio");
  await sound.sender.replaceTrack(out.stream.getAudioTracks()[0]);
}"""
# Plays a burst of 60 ms; returns its time in seconds since the epoch.
_BURST = """async () => {
  const context = window.__audio;
  let offset = Infinity;
  for (let n = 0; n < 20; n++) {
    offset = Math.min(offset, performance.now() / 1000 - context.currentTime);
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
  const at = context.currentTime + 0.05 + Math.random() * 0.02;
  window.__gate.gain.setValueAtTime(0.5, at);
  window.__gate.gain.setValueAtTime(0, at + 0.06);
  return performance.timeOrigin / 1000 + offset + at;
}"""
# Records the times, in seconds since the epoch, at which loud sound begins after 100 ms without it.
_LISTEN = """async (loud) => {
  const track = window.__peers.at(-1).getReceivers().map((one) => one.track).find((one) => one.kind === "audio");
  const stream = new MediaStream([track]);
  window.__player = Object.assign(new Audio(), { srcObject: stream, muted: true });
  await window.__player.play();
  const context = new AudioContext({ latencyHint: "interactive" });
  await context.resume();
  const size = 256;
  const recorder = context.createScriptProcessor(size, 1, 1);
  window.__begins = [];
  let last = -1;
  let offset = Infinity;
  recorder.onaudioprocess = ({ inputBuffer, playbackTime }) => {
    offset = Math.min(offset, performance.now() / 1000 - context.currentTime);
    inputBuffer.getChannelData(0).forEach((sample, index) => {
      if (Math.abs(sample) < loud) return;
      const at = playbackTime - (2 * size - index) / context.sampleRate;
      if (at - last > 0.1) window.__begins.push(performance.timeOrigin / 1000 + offset + at);
      last = at;
    });
  };
  context.createMediaStreamSource(stream).connect(recorder).connect(context.destination);
}"""


async def measure_inward(page: Page, line: Any, bursts: int) -> list[float]:
    """Return the milliseconds from the first sound of each burst to the server's piece of sound that contains it."""
    found: list[float] = []
    last = 0.0

    def on_sound(sound: Any) -> None:
        nonlocal last
        if np.abs(sound.samples).max() > LOUD * 32_768:
            now = time.time()
            if now - last > 0.1:
                found.append(now)
            last = now

    line.on_sound.append(on_sound)
    sent = []
    for _ in range(bursts):
        sent.append(float(await page.evaluate(_BURST)))
        await asyncio.sleep(0.35)
    return [
        1000 * (min(after) - at) for at in sent if (after := [t for t in found if 0 < t - at < 0.3])
    ]


async def measure_outward(page: Page, line: Any, bursts: int) -> list[float]:
    """Return the milliseconds from PCM at the server to its sound in the page."""
    sent = []
    for _ in range(bursts):
        line.player.begin()
        sent.append(time.time())
        line.player.play(make_tone(0.1), RATE)
        line.player.finish()
        await asyncio.sleep(0.7)
    heard = [float(at) for at in await page.evaluate("() => window.__begins")]
    return [
        1000 * (min(after) - at) for at in sent if (after := [t for t in heard if 0 < t - at < 0.5])
    ]


async def measure(bursts: int, seconds: float) -> Report:
    about = {"machine": describe_machine(), "bursts": bursts, "seconds": seconds}
    report = Report("Sound between page and server", about)
    rows = report.rows
    async with (
        running(rate_limit_per_minute=0) as server,
        chromium() as browser,
        page_with_camera(browser) as page,
    ):
        await start_camera(page, server.base_url)
        (session,) = server.program.sessions.list_all()
        line = VoiceLine.of(session.lines)
        await asyncio.sleep(3)
        idle = await measure_cores(os.getpid(), seconds)
        line.on_sound.append(lambda _sound: None)
        await page.evaluate(_MICROPHONE, True)
        await asyncio.sleep(1)
        silent = await measure_cores(os.getpid(), seconds)
        found = await measure_inward(page, line, bursts)
        rows.append(Row("page's sound to server, one packet included", "ms", Spread.of(found)))
        line.on_sound.append(lambda _sound: None)
        await page.evaluate("() => (window.__gate.gain.value = 0.5)")
        await asyncio.sleep(1)
        speaking = await measure_cores(os.getpid(), seconds)
        await page.evaluate("() => (window.__gate.gain.value = 0)")
        line.on_sound.clear()
        await page.evaluate(_LISTEN, LOUD)
        found = await measure_outward(page, line, bursts)
        rows.append(Row("PCM at the server to sound in the page", "ms", Spread.of(found)))
        listening = await measure_cores(os.getpid(), seconds)
        line.player.begin()
        line.player.play(make_tone(seconds + 2), RATE)
        await asyncio.sleep(0.5)
        talking = await measure_cores(os.getpid(), seconds)
        line.player.discard()
    rows += make_cpu_rows(
        idle,
        {
            "a silent microphone more": silent - idle,
            "a speaking microphone more": speaking - idle,
            "a listener more, nothing said": listening - silent,
            "a listener more, while it talks": talking - listening,
        },
    )
    return report


def run(args: argparse.Namespace) -> int:
    report = asyncio.run(program.run_until_sigterm(measure(args.bursts, args.seconds)))
    return program.publish(report, "voice-page", args)


def main(arguments: Sequence[str]) -> int:
    parser = create_parser(__doc__, prog="benchmark.py --voice --browser")
    value = make_option_adder(parser)
    value("--bursts", make_integer_parser(1, 10_000), 30, "sounds each way")
    value("--seconds", make_number_parser(1, 3600), 15, "for each CPU figure")
    program.add_output(parser)
    args = parser.parse_args(arguments)
    return program.run(lambda: run(args), args.output)
