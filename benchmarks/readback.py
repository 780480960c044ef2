"""Measure what it costs a page to read small luma pictures from its camera, in headless Chromium.

    python -m benchmarks.readback

Each way reads 200 pictures of a playing 1280x720 camera; the page itself uses the first one
(client/features/pointing/readback.js).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from playwright.async_api import Route

from benchmarks.browser import chromium, page_with_camera
from scripts.arguments import command_line
from server.core import core_dumps

_MEASURE = """async () => {
  const {shrink} = await import("/client/features/pointing/readback.js");
  const stream = await navigator.mediaDevices.getUserMedia({video: true});
  const video = Object.assign(document.createElement("video"), {srcObject: stream, muted: true});
  await video.play();
  const [width, height] = [320, 180];
  const luma = new Uint8Array(width * height);
  const canvas = (willReadFrequently) => {
    const made = Object.assign(document.createElement("canvas"), {width, height});
    const drawn = made.getContext("2d", {willReadFrequently});
    return () => {
      drawn.drawImage(video, 0, 0, width, height);
      const {data} = drawn.getImageData(0, 0, width, height);
      shrink(data, {offset: 0, stride: 4 * width}, "RGBA", width, height, luma, width, height);
    };
  };
  const whole = new Uint8Array(1280 * 720 * 4);
  const formats = new Set();
  const copy = async () => {
    const frame = new VideoFrame(video);
    const [layout] = await frame.copyTo(whole.subarray(0, frame.allocationSize()));
    shrink(whole, layout, frame.format, 1280, 720, luma, width, height);
    formats.add(frame.format);
    frame.close();
  };
  const ways = {
    "VideoFrame.copyTo": copy,
    "canvas, willReadFrequently": canvas(true),
    "canvas": canvas(false),
  };
  const next = () => new Promise((done) => video.requestVideoFrameCallback(done));
  const found = {};
  for (const [name, way] of Object.entries(ways)) {
    const times = [];
    for (let n = 0; n < 220; n++) {
      await next();
      const began = performance.now();
      await way();
      if (n >= 20) times.push(performance.now() - began);
    }
    times.sort((one, other) => one - other);
    found[name] = [times[100], times[190]];
  }
  stream.getTracks().forEach((track) => track.stop());
  return {found, formats: [...formats]};
}"""
_CLIENT = Path(__file__).resolve().parents[1] / "client"


async def measure() -> tuple[dict[str, list[float]], list[str]]:
    async def serve(route: Route) -> None:
        path = route.request.url.removeprefix("http://localhost:9/client/")
        if path.endswith(".js"):
            body = (_CLIENT / path).read_bytes()
            await route.fulfill(body=body, content_type="text/javascript")
        else:
            await route.fulfill(body="<!doctype html>", content_type="text/html")

    async with chromium() as browser, page_with_camera(browser, mode="thing") as page:
        await page.route("**/*", serve)
        await page.goto("http://localhost:9")
        result: dict[str, Any] = await page.evaluate(_MEASURE)
        return result["found"], result["formats"]


def main() -> None:
    command_line(__doc__, prog="python -m benchmarks.readback").parse_args()
    found, formats = asyncio.run(measure())
    print("frames are", ", ".join(formats))
    for name, (median, slow) in found.items():
        print(f"{name}: {median:.2f} / {slow:.2f} ms a picture (p50 / p95)")


if __name__ == "__main__":
    core_dumps.forbid()
    main()
