"""A simulated camera: draws a moving scene with a clock, encodes it live, and passes the frames to
any number of senders.

One encoder may feed a hundred cameras, so that the load of a benchmark stays on the server; one
camera with its own encoder may change its frame rate, as a browser does.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Self

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.bench import clock_code

# Pictures per second of a canvas camera; lower rates skip some, as maxFramerate does.
TICKS = 30
# Minimum seconds between two requested key frames, so that a burst of requests gets one.
KEY_PAUSE = 0.25
# Maximum frames that wait for one sender; beyond, it restarts at a key frame.
BACKLOG = 8
# Number of stored frame times, from which pauses are found
TIMES_KEPT = 64


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    data: bytes
    # Seconds since the epoch
    captured: float
    # 90 kHz, from the encoder's first frame on
    rtp_time: int
    key: bool


class Scene:
    """The camera's picture: textured ground, moving blocks, a clock. Fields may change at any time."""

    def __init__(self, width: int = 1280, height: int = 720, *, seed: int = 0) -> None:
        self.width = width
        self.height = height
        self.clock = True
        self.moving = True
        self.black = False
        # Lines of black text on white below the clock, instead of the blocks; "" for none
        self.text = ""
        # Height of a capital letter in pixels
        self.text_px = 24
        rng = np.random.default_rng(seed)
        ground = rng.integers(70, 150, (height // 16, width // 16)).astype(np.uint8)
        self._ground: NDArray[np.uint8] = np.asarray(
            cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8
        )
        self._starts = rng.integers(0, width, 6)
        self._speeds = rng.integers(60, 300, 6)

    def draw(self, epoch: float) -> av.VideoFrame:
        """Return the picture at `epoch` seconds, planar YUV 4:2:0."""
        planes = np.full((self.height * 3 // 2, self.width), 128, np.uint8)
        luma = planes[: self.height]
        if self.black:
            luma[:] = 16
        elif self.text:
            luma[:] = 235
            self._print(luma)
        else:
            luma[:] = self._ground
            if self.moving:
                self._draw_blocks(luma, epoch)
        if self.clock and not self.black:
            clock_code.draw(luma, int(epoch * 1000))
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")

    def _draw_blocks(self, luma: NDArray[np.uint8], epoch: float) -> None:
        size = self.height // 9
        for i, (start, speed) in enumerate(zip(self._starts, self._speeds, strict=True)):
            x = int(start + speed * epoch) % (self.width - size)
            y = int(self.height * (0.15 + 0.13 * i))
            luma[y : y + size, x : x + size] = 40 + 30 * i

    def _print(self, luma: NDArray[np.uint8]) -> None:
        font, thick = cv2.FONT_HERSHEY_SIMPLEX, max(1, self.text_px // 10)
        # A capital of this font is 21 units high at scale 1.
        scale = self.text_px / 21
        for i, line in enumerate(self.text.split("\n")):
            y = int(self.height * 0.15 + (i + 1) * self.text_px * 1.8)
            cv2.putText(luma, line, (40, y), font, scale, 20, thick, cv2.LINE_AA)


@dataclass(eq=False)
class Feed:
    """One sender's subscription to the encoder's frames. Close it with `LiveEncoder.unsubscribe`."""

    encoder: LiveEncoder
    frames: asyncio.Queue[EncodedFrame] = field(
        default_factory=lambda: asyncio.Queue(maxsize=BACKLOG)
    )
    # The sender cannot use deltas before the next key frame.
    needs_key: bool = True
    # Number of frames dropped because the sender was too slow
    dropped: int = 0


class LiveEncoder:
    """Encodes a scene at `rate` frames per second (the smallest step is 1/30 s) for all subscribers.

    `phase` (0 to 29) shifts the ticks, so that several encoders do not fire at once. The codec is
    "vp8" or "h264", the latter with a `profile` by libx264's name. A context manager.
    """

    def __init__(
        self,
        scene: Scene | None = None,
        *,
        rate: float = 2.0,
        bits_per_frame: int = 60_000,
        codec: str = "vp8",
        profile: str = "Baseline",
        phase: int = 0,
    ) -> None:
        self.profile = profile
        self.scene = scene or Scene()
        self.codec = codec
        # While true, nothing is captured or sent, as if the sender's process hung.
        self.paused = False
        # While true, the same picture is sent repeatedly, with an unchanged capture time.
        self.frozen = False
        self.bits_per_frame = bits_per_frame
        self.frames = 0
        # Times at which the newest frames were passed on, monotonic seconds
        self.times: deque[float] = deque(maxlen=TIMES_KEPT)
        self._rate = rate
        self._phase = phase
        self._feeds: set[Feed] = set()
        self._pool = ThreadPoolExecutor(1, "encode")
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._context: Any = None
        # The scene after `scene`; None if there is none
        self._turned: Scene | None = None
        self._key_wanted = False
        self._key_at = 0.0
        self._origin = time.time()
        self._last = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def rate(self) -> float:
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        if value != self._rate:
            self._rate = value
            self._changed.set()

    def subscribe(self) -> Feed:
        """Start a feed, from a key frame on; the first subscriber starts the encoder."""
        feed = Feed(self)
        self._feeds.add(feed)
        self.request_key()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="live-encoder")
        return feed

    def unsubscribe(self, feed: Feed) -> None:
        self._feeds.discard(feed)

    def request_key(self) -> None:
        self._key_wanted = True

    def turn(self, scene: Scene) -> None:
        """Continue with a scene of another size, from a key frame on."""
        self._turned = scene

    async def close(self) -> None:
        """Stop and free the thread. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._pool.shutdown(wait=True)
        self._context = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_tick()
            if self.paused or not self._feeds:
                continue
            if not (self.frozen and self._last):
                self._last = time.time()
            now = time.monotonic()
            key = (
                self._context is None
                or self._turned is not None
                or (self._key_wanted and now - self._key_at >= KEY_PAUSE)
            )
            if key:
                self._key_wanted, self._key_at = False, now
            frame = await loop.run_in_executor(self._pool, self._encode, self._last, key)
            if frame is not None:
                self._hand_out(frame)

    async def _wait_tick(self) -> None:
        """Sleep until the first tick at which a frame is due; a changed rate takes effect immediately."""
        while True:
            self._changed.clear()
            now = time.time()
            due = self._last + 1 / self._rate - 0.5 / TICKS
            at = max(now, due)
            # The next point of the grid of ticks
            at = (int(at * TICKS - self._phase / TICKS) + 1 + self._phase / TICKS) / TICKS
            try:
                async with asyncio.timeout(max(0.0, at - now)):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _encode(self, captured: float, key: bool) -> EncodedFrame | None:
        if self._turned is not None:
            self.scene, self._turned, self._context = self._turned, None, None
        if self._context is None:
            self._context = self._open()
        picture = self.scene.draw(captured)
        rtp_time = int((captured - self._origin) * 90_000)
        picture.pts = self.frames
        picture.pict_type = av.video.frame.PictureType.I if key else av.video.frame.PictureType.NONE
        packets = self._context.encode(picture)
        self.frames += 1
        if not packets:
            return None
        is_key = any(packet.is_keyframe for packet in packets)
        data = b"".join(bytes(packet) for packet in packets)
        return EncodedFrame(data, captured, rtp_time, is_key)

    def _open(self) -> Any:
        context: Any = av.CodecContext.create("libx264" if self.codec == "h264" else "libvpx", "w")
        context.width, context.height = self.scene.width, self.scene.height
        context.pix_fmt = "yuv420p"
        # A frame takes 1/30 s of the encoder's time at any real rate, so that each gets `bits_per_frame`,
        # and a change of rate needs no new encoder and no key frame.
        context.time_base, context.framerate = Fraction(1, TICKS), Fraction(TICKS)
        bits = self.bits_per_frame * TICKS
        context.bit_rate = bits
        context.gop_size = 100_000
        context.thread_count = 1
        if self.codec == "h264":
            context.profile = self.profile
            context.options = {
                # The fastest preset disables the features that the other profiles add to baseline.
                "preset": "ultrafast" if self.profile == "Baseline" else "superfast",
                "tune": "zerolatency",
                "level": "31",
                "forced-idr": "1",
            }
        else:
            context.qmin, context.qmax = 2, 56
            context.options = {
                "deadline": "realtime",
                "cpu-used": "-8",
                "lag-in-frames": "0",
                "static-thresh": "1",
                "minrate": str(bits),
                "maxrate": str(bits),
                "bufsize": str(bits // 6),
            }
        return context

    def _hand_out(self, frame: EncodedFrame) -> None:
        self.times.append(time.monotonic())
        for feed in self._feeds:
            if feed.frames.full():
                feed.dropped += 1
                feed.needs_key = True
                self.request_key()
                continue
            if feed.needs_key and not frame.key:
                self.request_key()
                continue
            feed.needs_key = False
            feed.frames.put_nowait(frame)
