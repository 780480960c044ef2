"""Makes the README's pictures: the real page with a picture in front of its camera, answered by the
built-in engine. juice.jpg was drawn for it, with a part of coffee.jpg behind the carton.

    python -m tests.browser.screenshots

Writes docs/page-phone.jpg and docs/page-desktop.jpg.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, expect

from benchmarks.browser import chromium, page_with_camera
from tests.browser.visitor import Visitor, shown
from tests.support.running import running

DOCS = Path(__file__).resolve().parents[2] / "docs"
CARTON = Path(__file__).with_name("juice.jpg")
COFFEE = Path(__file__).resolve().parents[1] / "features/builtin/photos/coffee.jpg"


@dataclass(frozen=True)
class Shot:
    name: str
    viewport: tuple[int, int]
    scale: float  # device pixels a CSS pixel
    seen: Path
    camera: tuple[int, int]
    questions: tuple[str, ...]


SHOTS = (
    Shot("page-phone", (412, 914), 1.5, CARTON, (960, 1280), ("When does it expire?",)),
    Shot(
        "page-desktop", (1280, 800), 1, COFFEE, (1280, 720), ("What is this?", "Where is the cup?")
    ),
)


async def take(browser: Browser, url: str, shot: Shot) -> bytes:
    options = {"color_scheme": "light", "device_scale_factor": shot.scale}
    async with page_with_camera(
        browser,
        viewport=shot.viewport,
        context_options=options,
        width=shot.camera[0],
        height=shot.camera[1],
        mode=shown(shot.seen.read_bytes()),
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
        return await page.screenshot(animations="disabled", type="jpeg", quality=85)


async def main() -> None:
    DOCS.mkdir(exist_ok=True)
    async with running() as run, chromium() as browser:
        for shot in SHOTS:
            picture = await take(browser, run.base_url, shot)
            (DOCS / f"{shot.name}.jpg").write_bytes(picture)
            print(f"docs/{shot.name}.jpg: {len(picture)} bytes", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main())
