"""No picture is older than its capture time says, whatever is lost, mixed or changed on its way."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import av
import numpy as np
import pytest

from server.features.rtsp.worker import sources
from server.features.rtsp.worker.pictures import DecodedPicture, PictureDecoder
from server.features.rtsp.worker.rtsp import FailureReason, SourceFailed
from server.features.rtsp.worker.sources import SourceAddress
from server.media.video.video_stream import VideoStream
from tests.features.rtsp.worker.test_sources import DESCRIPTION, Answering, Playing
from tests.support.fakes_media import RecordingCamera

pytestmark = pytest.mark.slow

# Pictures of a run, so that a number has eight bits
PICTURES = 120
SIZES = ((320, 192), (160, 96), (192, 128))
SETS = {"H264": (7, 8), "H265": (32, 33, 34)}


def burned(number: int, width: int, height: int) -> np.ndarray:
    """Return planes of 4:2:0 whose luma shows the number in black and white, in each of four rows."""
    bits = [200 if number >> at & 1 else 60 for at in range(8)]
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = np.repeat(bits, width // 8)
    return planes


def read_numbers(luma: np.ndarray) -> set[int]:
    """Return the numbers of a picture's rows; one alone where it shows one moment.

    -1: not readable. Rows that nothing was drawn into are left out.
    """
    height, width = luma.shape
    found = set()
    for row in range(4):
        middle = luma[height * row // 4 + 8 : height * (row + 1) // 4 - 8].astype(int)
        if middle.min() < 20:
            continue
        cells = [middle[:, width * at // 8 + 4 : width * (at + 1) // 8 - 4] for at in range(8)]
        sure = all(cell.max() < 110 or cell.min() > 150 for cell in cells)
        found.add(
            sum(int(cell.mean() > 128) << at for at, cell in enumerate(cells)) if sure else -1
        )
    return found


@dataclass
class Encoded:
    """One encoded picture."""

    number: int
    data: bytes


@functools.cache
def encoded(codec: str, seed: int) -> tuple[Encoded, ...]:
    """Encode a run's pictures, whose size and parameter sets change now and then."""
    chance = random.Random(seed)
    names = {"H264": "libx264", "H265": "libx265", "VP8": "libvpx", "JPEG": "mjpeg"}
    found: list[Encoded] = []
    number = 0
    while number < PICTURES:
        group = chance.randint(4, 9)
        encoder = av.CodecContext.create(names[codec], "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height = chance.choice(SIZES)
        encoder.pix_fmt = "yuvj420p" if codec == "JPEG" else "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        encoder.thread_count, encoder.gop_size = 1, group
        fast = {"preset": "ultrafast", "tune": "zerolatency"}
        encoder.options = {
            "H264": fast | {"x264-params": f"slices={1 + seed % 2}"},
            "H265": {
                "preset": "ultrafast",
                "x265-params": f"keyint={group}:repeat-headers=1:log-level=none"
                f":pools=none:frame-threads=1:bframes={2 * (seed == 13)}:b-adapt=0:rc-lookahead=3",
            },
            "VP8": {"deadline": "realtime", "lag-in-frames": "0"},
            "JPEG": {},
        }[codec]
        last = min(PICTURES, number + chance.randint(6, 20))
        packets = []
        while number < last:
            planes = burned(number, encoder.width, encoder.height)
            image = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            image = image.reformat(format=encoder.pix_fmt)
            image.pts = number
            packets += encoder.encode(image)
            number += 1
        for packet in (*packets, *encoder.encode(None)):
            assert packet.pts is not None
            found.append(Encoded(packet.pts, bytes(packet)))
    return tuple(found)


def units_of(data: bytes) -> list[bytes]:
    return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:]]


@dataclass
class Part:
    """The payload of a packet."""

    data: bytes
    timestamp: int
    marker: bool
    # It has a picture's slice, or a piece of one.
    slice: bool = True


def parts_of(codec: str, picture: Encoded, timestamp: int, way: str) -> list[Part]:
    """Cut a picture into packets. `way`: what else than one marker at the end a camera sends."""
    if codec == "VP8":
        cuts = [picture.data[at : at + 300] for at in range(0, len(picture.data), 300)]
        parts = [
            Part(bytes((0x10 * (not at),)) + cut, timestamp, False) for at, cut in enumerate(cuts)
        ]
        parts[-1].marker = True
        return parts
    wide = codec == "H265"
    parts = []
    for unit in units_of(picture.data):
        kind = unit[0] >> 1 & 63 if wide else unit[0] & 31
        apart = kind in SETS[codec] and way.startswith("sets")
        # Sets go with the time of the picture before, and perhaps a marker of their own.
        time_of = timestamp - 3600 if apart else timestamp
        head = unit[:2] if wide else unit[:1]
        body = unit[len(head) :]
        cuts = [body[at : at + 300] for at in range(0, len(body), 300)]
        is_slice = kind < (32 if wide else 6)
        for at, cut in enumerate(cuts):
            ends = at == len(cuts) - 1
            if len(cuts) == 1:
                payload = unit
            else:
                flags = 0x80 * (not at) | 0x40 * ends
                payload = (
                    bytes((unit[0] & 0x81 | 49 << 1, unit[1], flags | kind)) + cut
                    if wide
                    else bytes((unit[0] & 0xE0 | 28, flags | kind)) + cut
                )
            last_of = (way == "slices" and is_slice) or (apart and way == "sets marked")
            parts.append(Part(payload, time_of, ends and last_of, is_slice))
    parts[-1].marker = way != "none"
    return parts


@dataclass
class Seen:
    """The pictures that were sent and came out, with their times."""

    # The time until which each picture may have been captured, monotonic seconds
    begun: dict[int, float] = field(default_factory=dict)
    # The numbers in each picture that came out, and its capture time
    shown: list[tuple[set[int], float]] = field(default_factory=list)

    def begin(self, number: int) -> None:
        self.begun.setdefault(number, time.monotonic())

    def sound(self, least: int) -> None:
        """Demand that each picture shows one moment, and none before its capture time."""
        for numbers, captured in self.shown:
            assert len(numbers) == 1, numbers
            (number,) = numbers
            assert captured <= self.begun[number] + 0.001, (number, captured - self.begun[number])
        assert len({min(numbers) for numbers, _ in self.shown}) >= least


def pictures_of(
    codec: str, seed: int, url: str, connect: Callable[[Seen, Iterator[None]], Any], seen: Seen
) -> None:
    """Read a camera as its process does, while pictures are wanted now and then."""
    chance = random.Random(seed + 1000)

    def send(shot: DecodedPicture) -> None:
        planes = np.frombuffer(shot.data, np.uint8).reshape(-1, shot.width)
        seen.shown.append((read_numbers(planes[: shot.height]), shot.at))
        pictures.allow_next()

    pictures = PictureDecoder(codec, send)

    def wanting() -> Iterator[None]:
        """Change at each step what is wanted, and leave the decoder some time."""
        while True:
            wanted = chance.random() < 0.5
            pictures.set_rate(1000 if wanted else 0)
            for _ in range(chance.randint(2, 25)):
                if wanted:
                    time.sleep(0.004)
                yield

    thread = threading.Thread(target=pictures.run)
    thread.start()
    try:
        connect(seen, wanting())
        address = SourceAddress(url, "", "", "", False)
        with pytest.raises(SourceFailed) as failed:
            sources.read(address, lambda *_: None, pictures.put)
        assert failed.value.trouble is FailureReason.ENDED
        time.sleep(0.05)
    finally:
        pictures.close()
        thread.join(20)


def rtsp_packets(codec: str, seed: int, seen: Seen, step: Iterator[None]) -> Iterator[bytes]:
    """Send interleaved packets, of which some are lost, cut short or followed by other bytes.

    A picture takes longer than its first slice.
    """
    chance = random.Random(seed)
    way = ("", "slices", "sets", "sets marked", "none")[seed % 5]
    sequence = chance.randrange(65536)
    for order, picture in enumerate(encoded(codec, seed)):
        next(step)
        for part in parts_of(codec, picture, 3600 * order + 90_000, way):
            sequence = (sequence + 1) & 0xFFFF
            fate = chance.random()
            if order and fate < 0.02:
                continue
            head = struct.pack("!BBHII", 0x80, 96 | part.marker << 7, sequence, part.timestamp, 7)
            rtp = head + part.data
            short = 4 * (order > 0 and 0.02 < fate < 0.03)
            yield b"$\0" + (len(rtp) - short).to_bytes(2, "big") + rtp
            if part.slice and picture.number not in seen.begun:
                seen.begin(picture.number)
                time.sleep(0.002)
            if order and 0.03 < fate < 0.04:
                yield chance.choice((b"#" * 37, b"#####$" + b"#" * 30, bytes(12)))


def broken_jpegs(seed: int) -> Iterator[Encoded]:
    """Cut some of them in the middle, whose end is there all the same."""
    chance = random.Random(seed)
    for picture in encoded("JPEG", seed):
        data = picture.data
        if chance.random() < 0.1:
            data = data[: len(data) * 2 // 3] + b"\xff\xd9"
        yield Encoded(picture.number, data)


def jpeg_parts(seed: int, seen: Seen, step: Iterator[None]) -> Iterator[bytes]:
    """Send each JPEG in two pieces, with and without its length, over a slow path."""
    chance = random.Random(seed)
    for picture in broken_jpegs(seed):
        next(step)
        size = f"Content-Length: {len(picture.data)}\r\n" if chance.random() < 0.5 else ""
        yield f"--x\r\nContent-Type: image/jpeg\r\n{size}\r\n".encode() + picture.data[:100]
        seen.begin(picture.number)
        time.sleep(0.004)
        yield picture.data[100:] + b"\r\n"


def of_rtsp(codec: str, seed: int, seen: Seen, patch: pytest.MonkeyPatch) -> None:
    def connect(seen: Seen, step: Iterator[None]) -> None:
        packets = rtsp_packets(codec, seed, seen, step)
        camera = Playing(packets, DESCRIPTION.replace("H264", codec))
        patch.setattr(socket, "socket", lambda *_: camera)

    pictures_of(codec, seed, "rtsp://127.0.0.1/x", connect, seen)


def of_http(_: str, seed: int, seen: Seen, patch: pytest.MonkeyPatch) -> None:
    kind = "multipart/x-mixed-replace; boundary=x"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode()

    def connect(seen: Seen, step: Iterator[None]) -> None:
        camera = Answering(itertools.chain([head], jpeg_parts(seed, seen, step)))
        patch.setattr(socket, "socket", lambda *_: camera)

    pictures_of("JPEG", seed, "http://127.0.0.1/", connect, seen)


def of_device(_: str, seed: int, seen: Seen, patch: pytest.MonkeyPatch) -> None:
    def connect(seen: Seen, step: Iterator[None]) -> None:
        def demux(_: object) -> Iterator[Any]:
            for picture in broken_jpegs(seed):
                next(step)
                yield av.Packet(picture.data)
                seen.begin(picture.number)

        stream = SimpleNamespace(codec_context=SimpleNamespace(name="mjpeg"))
        device = MagicMock(streams=SimpleNamespace(video=[stream]), demux=demux)
        patch.setattr(av, "open", lambda *_, **__: device)

    pictures_of("JPEG", seed, "/dev/video0", connect, seen)


def of_webrtc(codec: str, seed: int, seen: Seen, _: pytest.MonkeyPatch) -> None:
    asyncio.run(_of_webrtc(codec, seed, seen))


async def _of_webrtc(codec: str, seed: int, seen: Seen) -> None:
    """Send packets of which some are lost, sent again, or out of order."""
    chance = random.Random(seed)
    way = ("", "slices", "sets", "sets marked", "")[seed % 5] if codec == "H264" else ""
    camera = RecordingCamera()
    feedback = SimpleNamespace(send_nack=lambda *_: None, send_pli=lambda *_: None)
    sequence = chance.randrange(65536)
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as threads:
        stream = VideoStream(1, codec, sink=camera, feedback=feedback, pool=threads)
        late: list[tuple[int, int, Part]] = []
        for order, picture in enumerate(encoded(codec, seed)):
            timestamp = 90_000 + int((time.monotonic() - begun) * 90_000)
            packets = []
            for part in parts_of(codec, picture, timestamp, way):
                sequence = (sequence + 1) & 0xFFFF
                fate = chance.random() if order else 1.0
                if fate >= 0.03:
                    packets.append((picture.number, sequence, part))
                elif fate > 0.01:
                    late.append((picture.number, sequence, part))
            if chance.random() < 0.1:
                chance.shuffle(packets)
            if chance.random() < 0.2:
                packets, late = packets + late, []
            for shown, number, part in packets:
                now = time.monotonic()
                stream.packet(
                    number, part.timestamp, part.marker, part.data, now, retransmission=False
                )
                seen.begin(shown)
            await asyncio.sleep(0.012)
        await asyncio.sleep(0.5)
        stream.close()
    for frame in camera.frames:
        luma = frame.image.reformat(format="gray").to_ndarray()
        seen.shown.append((read_numbers(luma), frame.captured))


@pytest.mark.parametrize("seed", [0, 1, 4, 13, 17])
@pytest.mark.parametrize(
    ("way", "codec"),
    [
        (of_webrtc, "VP8"),
        (of_webrtc, "H264"),
        (of_rtsp, "H264"),
        (of_rtsp, "H265"),
        (of_http, "JPEG"),
        (of_device, "JPEG"),
    ],
)
def test_no_picture_is_older_than_it_says(
    way: Callable[[str, int, Seen, pytest.MonkeyPatch], None],
    codec: str,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time burned into each picture that comes out is not before its capture time."""
    seen = Seen()
    way(codec, seed, seen, monkeypatch)
    seen.sound(5)
