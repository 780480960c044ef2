"""Makes the README's pictures: the real page with a label in front of its camera, answered by the
built-in engine.

    python -m tests.browser.screenshots

Writes docs/page-phone.png and docs/page-desktop.png.
"""

from __future__ import annotations

import asyncio
import base64
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, expect

from benchmarks.browser import chromium, page_with_camera
from tests.browser.visitor import Visitor
from tests.support.running import running

DOCS = Path(__file__).resolve().parents[2] / "docs"
MAX_BYTES = 150_000

# A packet on a table, in colours without gradients, which a small PNG can hold. {width}, {height}
# and {left}, {top}, where the packet of 560×470 stands, differ with how the camera is held.
SCENE = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">
  <rect width="{width}" height="{height}" fill="#a5b3a8"/>
  <g transform="translate({left} {top})">
    <rect x="-2000" y="390" width="5000" height="2000" fill="#80552f"/>
    <path d="M-2000 440h5000M-2000 520h5000M-2000 640h5000M-2000 800h5000" stroke="#6b4524" stroke-width="4"/>
    <ellipse cx="300" cy="474" rx="350" ry="22" fill="#4a2f18"/>
    <path d="M500 0l60 30v412l-60 28z" fill="#966716"/>
    <rect width="500" height="470" rx="6" fill="#d29b36"/>
    <rect x="20" y="22" width="460" height="426" rx="14" fill="#fbf6e9"/>
    <g font-family="DejaVu Sans, Liberation Sans, Arial, sans-serif" fill="#2b211a" text-anchor="middle">
      <text x="250" y="96" font-size="50" font-weight="700">OAT BISCUITS</text>
      <path d="M90 124h320" stroke="#d29b36" stroke-width="4"/>
      <text x="250" y="178" font-size="30">with honey and hazelnuts</text>
      <text x="250" y="240" font-size="32">Net weight 250 g</text>
      <text x="250" y="322" font-size="27" font-weight="700">BEST BEFORE 14 MAR 2027</text>
      <text x="250" y="404" font-size="46" font-weight="700">3.40 EUR</text>
    </g>
  </g>
</svg>"""


@dataclass(frozen=True)
class Shot:
    name: str
    viewport: tuple[int, int]
    scale: float  # device pixels a CSS pixel
    # The camera's picture, and where in it the packet stands
    picture: tuple[int, int]
    packet: tuple[int, int]
    questions: tuple[str, ...]


SHOTS = (
    Shot("page-phone", (412, 914), 1.5, (720, 1280), (95, 420), ("When does it expire?",)),
    Shot(
        "page-desktop",
        (1280, 800),
        1,
        (1280, 720),
        (370, 110),
        ("What does it cost?", "When does it expire?"),
    ),
)


def smaller(png: bytes) -> bytes:
    """The same picture in fewer bytes; in fewer colours where that does not do."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    for colours in (256, 192, 128, 96, 64):
        if out.tell() <= MAX_BYTES:
            break
        out = io.BytesIO()
        flat = picture.quantize(colours, Image.Quantize.MEDIANCUT, 3, dither=Image.Dither.NONE)
        flat.save(out, "PNG", optimize=True)
    return out.getvalue()


async def take(browser: Browser, url: str, shot: Shot) -> bytes:
    (width, height), (left, top) = shot.picture, shot.packet
    scene = SCENE.format(width=width, height=height, left=left, top=top)
    svg = base64.b64encode(scene.encode()).decode()
    options = {"color_scheme": "light", "device_scale_factor": shot.scale}
    async with page_with_camera(
        browser,
        viewport=shot.viewport,
        context_options=options,
        width=width,
        height=height,
        mode=f"image:data:image/svg+xml;base64,{svg}",
    ) as page:
        visitor = Visitor(page, url)
        await visitor.open()
        await visitor.start()
        await visitor.settle(3)
        for question in shot.questions:
            response = await visitor.ask(question)
            print(f"{shot.name}: {question} {response['text']}", file=sys.stderr)
        await expect(visitor.turns.last).to_have_attribute("data-state", "done")
        # As it is when nobody types: the box without its ring, the camera asleep again.
        await visitor.box.blur()
        await visitor.until(lambda sent: float(sent.get("framesPerSecond", 99)) <= 4, timeout=30)
        return smaller(await page.screenshot(animations="disabled"))


async def main() -> None:
    DOCS.mkdir(exist_ok=True)
    async with running() as run, chromium() as browser:
        for shot in SHOTS:
            png = await take(browser, run.base_url, shot)
            (DOCS / f"{shot.name}.png").write_bytes(png)
            print(f"docs/{shot.name}.png: {len(png)} bytes", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main())
