"""A red object has the same red in the model's picture."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import av
import cv2
import numpy as np
import pytest
from playwright.async_api import Page

from benchmarks.browser import prefer_codec
from server.core.frames import Frame
from server.media.camera import Camera
from tests.browser.visitor import CALM, Visit, shown, started
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

Rgb = tuple[int, int, int]
# The colours that a wrong matrix or range moves furthest, in four columns and two rows.
CHART: tuple[Rgb, ...] = (
    (210, 30, 30), (30, 180, 60), (30, 60, 200), (240, 200, 20),
    (235, 190, 165), (250, 250, 250), (128, 128, 128), (12, 12, 12),
)  # fmt: skip
# An encoder's rounding and the JPEG's; a wrong matrix is 30 off.
CLOSE = 7


def chart() -> str:
    """A camera's mode, of 1280×720."""
    bgr = np.array(CHART, np.uint8)[:, ::-1].reshape(2, 4, 3)
    image = cv2.resize(bgr, (1280, 720), interpolation=cv2.INTER_NEAREST)
    return shown(np.asarray(image, np.uint8), "png")


def read(jpeg: bytes) -> list[Rgb]:
    """The mean of the middle of each field."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    height, width = image.shape[:2]
    found: list[Rgb] = []
    for row, column in itertools.product(range(2), range(4)):
        top, left = height * (4 * row + 1) // 8, width * (4 * column + 1) // 16
        field = image[top : top + height // 4, left : left + width // 8].reshape(-1, 3)
        blue, green, red = (round(float(value)) for value in field.mean(axis=0))
        found.append((red, green, blue))
    return found


def far(found: Sequence[Rgb]) -> list[str]:
    return [
        f"{wanted} came as {got}"
        for wanted, got in zip(CHART, found, strict=True)
        if max(abs(a - b) for a, b in zip(wanted, got, strict=True)) > CLOSE
    ]


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_colours_come_as_they_are(
    visit: Visit, server: Running, model: FakeOpenAI, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chromium turns a canvas into YUV by a matrix and a range of its own, and says which. The
    first picture is the camera's, and no plain green, as memory that no sender drew into would be.
    """
    taken: list[av.VideoFrame] = []
    take = Camera.take

    def first(self: Camera, frame: Frame) -> None:
        taken.append(frame.image)
        take(self, frame)

    monkeypatch.setattr(Camera, "take", first)

    async def prepare(page: Page) -> None:
        await prefer_codec(page, codec)

    page = await started(visit, server.base_url, prepare=prepare, mode=chart(), **CALM)
    _, *chroma = taken[0].to_ndarray(format="yuv444p").reshape(3, -1).mean(axis=1)
    assert max(abs(float(mean) - 128) for mean in chroma) < 20, chroma
    monkeypatch.undo()
    await page.settle(12)
    await page.ask("Which colours are there?")
    jpeg = model.last.jpeg
    assert jpeg is not None
    assert far(read(jpeg)) == []
