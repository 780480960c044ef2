"""Cameras (WHIP, RTSP) as programs of their own: started, heard, ended, and why one cannot be."""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiortc.codecs.h264 import H264Encoder

from scripts.bench.live_encoder import Feed, LiveEncoder
from tests.support.fakes_media import vp8_parts

HERE = Path(__file__).parent
# The system's own: its bindings are not in a virtual environment.
PYTHON = "/usr/bin/python3"
GSTREAMER = [PYTHON, str(HERE / "gstreamer_whip.py")]
RTSP = [PYTHON, str(HERE / "rtsp_server.py")]
WERIFT = ["node", str(HERE / "werift_whip.mjs")]
FFMPEG = [sys.executable, str(HERE / "ffmpeg_whip.py")]
ELEMENTS = ("webrtcbin", "nicesrc", "dtlsdec", "srtpdec", "rtpvp8pay", "vp8enc", "x264enc")
RTSP_ELEMENTS = ("x264enc", "x265enc", "rtph265pay")


@functools.cache
def no_gstreamer(
    what: str = "GStreamer's Python bindings are",
    versions: tuple[str, ...] = ("GstWebRTC", "GstSdp"),
    elements: tuple[str, ...] = ELEMENTS,
) -> str:
    """Return a sentence with the reason why GStreamer cannot run here; "" when it can."""
    look = f"""
import gi
for name in {versions}: gi.require_version(name, "1.0")
from gi.repository import Gst, {", ".join(versions)}
Gst.init(None)
print(*(name for name in {elements} if Gst.ElementFactory.find(name) is None))
"""
    try:
        done = subprocess.run([PYTHON, "-c", look], capture_output=True, text=True, timeout=60)
    except OSError:
        return f"There is no {PYTHON}, which GStreamer's bindings are for."
    if done.returncode:
        return f"{what} not installed (scripts/test.sh installs what is needed)."
    if done.stdout.strip():
        return f"GStreamer lacks {done.stdout.strip()} (scripts/test.sh installs what is needed)."
    return ""


def no_rtsp() -> str:
    """Return a sentence with the reason why GStreamer's RTSP server cannot run here; "" when it can."""
    return no_gstreamer("GStreamer's RTSP server is", ("GstRtspServer",), RTSP_ELEMENTS)


def no_werift() -> str:
    """Return a sentence with the reason why werift cannot run here; "" when it can."""
    if shutil.which("node") is None:
        return "Node.js is not installed, which werift needs."
    if not (HERE / "node_modules" / "werift").is_dir():
        return "werift is not installed (scripts/test.sh installs it with npm)."
    return ""


class PeerProcess:
    """One of them. Its lines are kept in `said`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[dict[str, Any]] = []
        self._more = asyncio.Event()
        self._reader = asyncio.create_task(self._read(), name="peer-output")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            with suppress(ValueError):
                self.said.append(json.loads(line))
                self._more.set()
        self._more.set()

    async def says(self, key: str, value: Any = None, seconds: float = 30.0) -> Any:
        """Return the value under `key` of a message, once it is `value` (None: any)."""
        async with asyncio.timeout(seconds):
            while True:
                for message in self.said:
                    if key in message and value in (None, message[key]):
                        return message[key]
                assert not self._reader.done(), f"it ended and said {self.said}"
                self._more.clear()
                await self._more.wait()

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def end(self) -> None:
        """Let it end its session and itself; killed when it does not within 10 s."""
        if self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                async with asyncio.timeout(10):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        await self._process.wait()
        await self._reader


@asynccontextmanager
async def peer_process(*command: str) -> AsyncIterator[PeerProcess]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    peer = PeerProcess(process)
    try:
        yield peer
    finally:
        await peer.end()


def _payloads(codec: str, data: bytes) -> list[bytes]:
    if codec == "vp8":
        return [part.data for part in vp8_parts(data, 0)]
    return list(H264Encoder._packetize(H264Encoder._split_bitstream(data)))


@asynccontextmanager
async def rtp_to(port: int, encoder: LiveEncoder) -> AsyncIterator[Feed]:
    """An encoder's frames as RTP to a UDP port of loopback, from a key frame on."""
    feed = encoder.subscribe()

    async def send() -> None:
        sequence = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while True:
                frame = await feed.frames.get()
                payloads = _payloads(encoder.codec, frame.data)
                for number, payload in enumerate(payloads):
                    last = number == len(payloads) - 1
                    header = struct.pack(
                        "!BBHII",
                        0x80,
                        96 | (0x80 if last else 0),
                        sequence & 0xFFFF,
                        frame.rtp_time & 0xFFFFFFFF,
                        1234,
                    )
                    out.sendto(header + payload, ("127.0.0.1", port))
                    sequence += 1
                    # A key frame at once is more than the other side's socket holds.
                    await asyncio.sleep(0.001)

    task = asyncio.create_task(send(), name="rtp")
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.wait([task])
        encoder.unsubscribe(feed)
