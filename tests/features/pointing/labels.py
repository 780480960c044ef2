"""Drawn labels of medicines, food and appliances, in small print, as a camera sees them; and what is asked about them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.core.messages import Chat
from server.features.builtin.engine import BuiltinEngine
from server.features.builtin.finder import Finder
from server.features.builtin.reader import TextReader
from server.features.pointing import twice
from server.features.pointing.pointing import Pointing
from server.features.pointing.twice import ReadLines
from server.media.picture.grounding import Box
from tests.features.rooms import room

Bgr = NDArray[np.uint8]
SIZE = (1280, 720)
DOSE, EXPIRY, VOLTAGE = "What is the dose?", "When does it expire?", "What is the voltage?"
# A question, what the answer has to have, and the lines of the label
LABELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (DOSE, "5 mg", ("AMLOPIN tablets", "Dose: 5 mg once a day", "LOT 4471-B", "EXP 03/2028")),
    (DOSE, "50 mg", ("LOSARTA tablets", "Dose: 50 mg once a day", "Keep below 25 C")),
    (DOSE, "0.5 ml", ("VITADROP", "Dose: 0.5 ml daily", "Shake before use")),
    (DOSE, "400 mg", ("IBUFEN forte", "Dose: 400 mg every 6 hours", "Max. 1200 mg a day")),
    (EXPIRY, "12.05.2027", ("Whole milk 3.5 %", "Best before 12.05.2027", "Keep refrigerated")),
    (EXPIRY, "03/2028", ("PARALIEF 500", "24 tablets", "EXP 03/2028", "LOT 99812")),
    (EXPIRY, "08/2026", ("Eye drops", "10 ml sterile", "EXP 08/2026", "LOT K31")),
    (VOLTAGE, "230 V", ("KETTLE K-17", "Voltage 230 V ~ 50 Hz", "Power 2200 W")),
    (VOLTAGE, "12 V", ("CHARGER", "Voltage 12 V", "Current 2 A")),
    (VOLTAGE, "110 V", ("TOASTER T2", "Voltage 110 V ~ 60 Hz", "Power 900 W")),
)
# Height of a capital letter in pixels
HEIGHTS = (6, 7, 9, 14)


@dataclass(frozen=True, slots=True)
class Label:
    question: str
    value: str
    height: int
    bgr: Bgr


def labels() -> Iterator[Label]:
    """Each label in each height, turned, shaken and noisy by its number."""
    for number, (question, value, lines) in enumerate(LABELS):
        for height in HEIGHTS:
            yield Label(question, value, height, drawn(lines, height, seed=number * 10 + height))


def drawn(lines: tuple[str, ...], height: int, *, seed: int) -> Bgr:
    """Draw a label on a table."""
    rng = np.random.default_rng(seed)
    wide, high = SIZE
    bgr = np.full((high, wide, 3), rng.integers(90, 160, 3), np.uint8)
    scale, step = height / 21, round(height * 2.2)
    sizes = [cv2.getTextSize(line, cv2.FONT_HERSHEY_DUPLEX, scale, 1)[0][0] for line in lines]
    box = max(sizes) + 4 * height, step * len(lines) + 2 * height
    left = int(rng.integers(20, wide - box[0] - 20))
    top = int(rng.integers(20, high - box[1] - 20))
    cv2.rectangle(bgr, (left, top), (left + box[0], top + box[1]), (236, 240, 240), -1)
    for at, line in enumerate(lines):
        spot = left + 2 * height, top + height + (at + 1) * step - height // 2
        cv2.putText(bgr, line, spot, cv2.FONT_HERSHEY_DUPLEX, scale, (40, 30, 30), 1, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((wide / 2, high / 2), float(rng.uniform(-4, 4)), 1)
    bgr = np.asarray(cv2.warpAffine(bgr, turn, SIZE, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    bgr = np.asarray(cv2.GaussianBlur(bgr, (0, 0), 0.6), np.uint8)
    return np.clip(bgr + rng.normal(0, 6, bgr.shape), 0, 255).astype(np.uint8)


@contextmanager
def built(reader: TextReader | None = None) -> Iterator[tuple[BuiltinEngine, Finder]]:
    """The built-in engine, and what finds print beside it; `reader`: reads for the engine alone."""
    own = TextReader()
    with ThreadPoolExecutor(1) as pool:
        yield BuiltinEngine(heavy=pool, reader=reader or own), Finder(own)


async def asked(engine: Any, finder: Finder, label: Label) -> dict[str, Any]:
    """Ask the built-in engine about a label, in a session of its own; return the response."""

    async def read(bgr: Bgr) -> list[Box]:
        return await asyncio.to_thread(finder.read, bgr)

    with pytest.MonkeyPatch.context() as patch:
        # The reading counts, not this machine's speed.
        patch.setattr(twice, "SECONDS", 120.0)
        patch.setattr(twice, "FIND_SECONDS", 60.0)
        return await _asked(engine, read, label)


async def _asked(engine: Any, read: ReadLines, label: Label) -> dict[str, Any]:
    async with room(engine, pointing=lambda context: Pointing(context, read=read)) as one:
        one.session.handle(Chat(type="chat", content=label.question, id="q"))
        one.camera()
        one.frame(bgr=label.bgr)
        return await one.next("response", "error", timeout=120)
