"""Measure the memory that hostile streams make this process hold: one scenario per run, because not
all memory is freed.

python -m tests.support.decoder_memory NAME prints a line of JSON: MiB before and at most, MiB that
the checks allow, and the reported reasons.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import av

from server.media.video import decode
from server.media.video.decode import DECODER_BYTES, FRAMES, DecodeLane
from server.media.video.payload import EncodedFrame
from tests.support import vp8_streams
from tests.support.children import memory_mib
from tests.support.h264_streams import Sps, Stream, Vui, pps

# One camera's frames
Frames = Iterator[bytes]
# 2432×2432, as the four cameras had it that made a server of 147 MiB one of 2,960
LARGE = Sps(152, 152, order=0, references=1, vui=Vui(reorder=16))


def shown_late(sps: Sps) -> Frames:
    """One key frame, and the same picture again and again, each with a place of its own."""
    stream = Stream(sps)
    yield stream.sets() + stream.key()
    for index in range(40):
        yield stream.skipped(order=2 * index + 2)


def shown_backwards(sps: Sps) -> Frames:
    """Each picture belongs in front of the one before."""
    stream = Stream(sps)
    yield stream.sets() + stream.key()
    for index in range(60):
        yield stream.skipped(order=120 - 2 * (index % 20), reference=index % 2 == 0)


def second_set(sps: Sps) -> Frames:
    """An honest beginning, then in mid-stream a set by another number, which pictures change to."""
    stream, small = Stream(replace(sps, number=3), pps=7), Stream(Sps())
    yield small.sets() + small.key()
    yield small.skipped() + stream.sets()
    yield stream.key()
    for index in range(40):
        yield stream.skipped(order=2 * index + 2)


def wild(sps: Sps, seed: int) -> Frames:
    chance, stream = random.Random(seed), Stream(sps)
    yield stream.sets() + stream.key()
    for _ in range(150):
        yield stream.wild(chance)


def sizes() -> Frames:
    """Three sizes by turns, each with its references filled, each by a set of its own."""
    streams = [
        Stream(Sps(side, side, number=side, references=9), pps=side) for side in (20, 24, 28)
    ]
    streams = [replace(one, sps=replace(one.sps, width=4 * one.sps.width)) for one in streams]
    yield b"".join(one.sets() for one in streams)
    for _ in range(4):
        for one in streams:
            yield one.key()
            for _ in range(12):
                yield one.skipped()


def tiny_units() -> Frames:
    """Half a million units in 2 MB."""
    stream = Stream(Sps())
    yield stream.sets() + stream.key()
    yield stream.sets() + b"\0\0\1\x0c" * 500_000


def large_units() -> Frames:
    """As much of a frame as a unit may have to itself, all of it escaped."""
    stream = Stream(Sps())
    yield stream.sets() + stream.key()
    yield (b"\0\0\1\x0c" + b"\0\0\3" * 1160) * 598


def picture_sets() -> Frames:
    stream = Stream(Sps())
    yield stream.sets() + stream.key()
    for number in range(256):
        yield pps(number)
    yield stream.skipped()


def slice_groups(sps: Sps) -> Frames:
    """Each kind of slice groups in every picture parameter set there may be, one with a map."""
    stream = Stream(sps)
    yield stream.sets() + stream.key()
    for number in range(256):
        yield pps(number, groups=8, kind=number % 2) + stream.skipped()
    for number in range(8):
        yield pps(number, groups=8, kind=6) + stream.key()


def partitions(sps: Sps) -> Frames:
    """Slices in three units each, of two MB a frame."""
    stream = Stream(sps)
    yield stream.sets() + stream.key()
    for number in range(40):
        yield b"".join(
            b"\0\0\1" + bytes([0x60 | kind]) + bytes([0x80 | number]) + b"p" * 3400
            for _ in range(190)
            for kind in (2, 3, 4)
        )


def out_of_order(sps: Sps) -> Frames:
    """The lower half of each picture first."""
    stream = Stream(sps)
    half = sps.width * sps.height // 2
    yield stream.sets() + stream.key()
    for _ in range(40):
        yield b"".join(stream.slices([half, 0]))


def user_data() -> Frames:
    """Supplemental information of a MiB a frame, with and without a picture."""
    stream = Stream(Sps())
    message = b"\0\0\1\x06\x05" + b"\xff" * 15 + b"\x01" + b"u" * (15 * 255 + 1) + b"\x80"
    yield stream.sets() + stream.key()
    for index in range(60):
        yield message * 250 + (stream.skipped() if index % 2 else b"")


def vp8(seed: int, side: int = 1536) -> Frames:
    """References and hidden pictures as they come, cut ones among them, another size now and then."""
    chance = random.Random(seed)
    for index in range(80):
        key = index == 0 or chance.random() < 0.05
        small = key and index and chance.random() < 0.3
        data = vp8_streams.frame(
            ((side // 3, side // 2) if small else (side, side)) if key else None,
            shown=index == 0 or chance.random() < 0.5,
            last=chance.random() < 0.5,
            golden=chance.random() < 0.3,
            alternative=chance.random() < 0.3,
            scale=chance.randrange(4),
        )
        yield data[: chance.randrange(10, len(data))] if chance.random() < 0.1 else data


def four(frames: Callable[[], Frames]) -> list[Frames]:
    return [frames() for _ in range(4)]


DEEP = replace(LARGE, profile=244, chroma=3, depth=14, chroma_depth=14)
_FIELDS = {"references": 4, "order": 0, "frames_only": False}
SCENARIOS: dict[str, tuple[str, Callable[[], list[Frames]]]] = {
    "deep": ("H264", lambda: four(lambda: shown_late(DEEP))),
    "reorder": ("H264", lambda: four(lambda: shown_late(LARGE))),
    "silent": ("H264", lambda: four(lambda: shown_backwards(replace(LARGE, vui=None)))),
    "second": ("H264", lambda: four(lambda: second_set(LARGE))),
    "references": ("H264", lambda: [shown_late(Sps(120, 68, order=0, references=16))]),
    "sizes": ("H264", lambda: [sizes()]),
    "wild": ("H264", lambda: [wild(Sps(96, 96, references=n, order=n % 3), n) for n in (0, 1, 4)]),
    "fields": ("H264", lambda: [wild(replace(LARGE, **_FIELDS), n) for n in (1, 2)]),  # type: ignore[arg-type]
    "tiny": ("H264", lambda: [tiny_units()]),
    "large": ("H264", lambda: [large_units()]),
    "picture_sets": ("H264", lambda: [picture_sets()]),
    "groups": ("H264", lambda: four(lambda: slice_groups(LARGE))),
    "partitions": ("H264", lambda: four(lambda: partitions(LARGE))),
    "out_of_order": ("H264", lambda: four(lambda: out_of_order(LARGE))),
    "user_data": ("H264", lambda: [user_data()]),
    "vp8": ("VP8", lambda: [vp8(n) for n in range(3)]),
    "vp8_largest": ("VP8", lambda: [vp8(8, 3072)]),
}


class _Camera:
    """Holds the newest picture, as a session does."""

    def __init__(self, pool: ThreadPoolExecutor, codec: str, told: Counter[str]) -> None:
        self.newest: av.VideoFrame | None = None
        self._told = told
        self.checks = FRAMES[codec]()
        self._lane = DecodeLane(
            pool,
            codec,
            on_image=self._image,
            on_error=lambda timestamp: told.update(error=timestamp is not None),
            on_drop=lambda reason, count: told.update({reason: count}),
            on_refused=lambda *reason: told.update(refused=1),
        )

    def _image(self, encoded: EncodedFrame, image: av.VideoFrame) -> None:
        self.newest = image
        self._told["shown"] += 1

    async def put(self, data: bytes, number: int) -> None:
        with suppress(ValueError):
            self.checks.check(data)
        self._lane.put(EncodedFrame(data, number, True, 0.0))
        while self._lane._busy or self._lane._waiting:
            await asyncio.sleep(0.001)


async def _run(name: str) -> dict[str, Any]:
    codec, cameras = SCENARIOS[name]
    streams = cameras()
    # This is about memory.
    decode.SHARE = 1e6
    told: Counter[str] = Counter()
    with ThreadPoolExecutor(1) as pool:
        lanes = [_Camera(pool, codec, told) for _ in streams]
        before = memory_mib()
        for number in range(10_000):
            going = [next(stream, None) for stream in streams]
            if not any(going):
                break
            for lane, data in zip(lanes, going, strict=True):
                if data:
                    await lane.put(data, number)
        peak = memory_mib(name="VmHWM")
    kept = [lane.checks.kept for lane in lanes]
    counted = sum(size + DECODER_BYTES for size in kept if size) / 2**20
    return {"before": before, "peak": peak, "counted": counted, **told}


if __name__ == "__main__":
    av.logging.set_level(av.logging.PANIC)
    print(json.dumps(asyncio.run(_run(sys.argv[1]))))
