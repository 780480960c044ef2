"""A camera without glass: draws a moving scene with a clock, encodes it live, hands the frames to
any number of senders.

One encoder may feed a hundred cameras, so that the load of a benchmark stays on the server; one
camera with an encoder of its own may change its frame rate, as a browser does.
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

# Pictures a second of a canvas camera; lower rates leave some out, as maxFramerate does.
TICKS = 30
# Seconds between two key frames that are asked for: a burst of requests gets one answer.
KEY_PAUSE = 0.25
# Frames that may wait for one sender; out of breath with more, it starts anew at a key frame.
BACKLOG = 8
# Times of frames that are kept, for those who look for pauses
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
    """The camera's picture: textured ground, moving blocks, a clock. Fields may change any time."""

    def __init__(self, width: int = 1280, height: int = 720, *, seed: int = 0) -> None:
        self.width = width
        self.height = height
        self.clock = True
        self.moving = True
        self.black = False
        # Lines of black print on white below the clock, instead of the blocks; "" for none.
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
                self._blocks(luma, epoch)
        if self.clock and not self.black:
            clock_code.draw(luma, int(epoch * 1000))
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")

    def _blocks(self, luma: NDArray[np.uint8], epoch: float) -> None:
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
    """One sender's way to the encoder's frames. Close it with `LiveEncoder.unsubscribe`."""

    encoder: LiveEncoder
    frames: asyncio.Queue[EncodedFrame] = field(
        default_factory=lambda: asyncio.Queue(maxsize=BACKLOG)
    )
    # Deltas are of no use to it before the next key frame.
    needs_key: bool = True
    # Frames that were thrown away because the sender did not keep up.
    dropped: int = 0


class LiveEncoder:
    """Encodes a scene at `rate` frames a second (1/30 s is the finest step) for all who subscribed.

    `phase` (0 to 29) shifts the ticks, so that several encoders do not fire at once. The codec is
    "vp8" or "h264", this of a `profile` by libx264's name. A context manager.
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
        # Nothing is captured or sent while it is true: the sender's process hangs.
        self.paused = False
        # The same instant is sent again and again: capture times stand still.
        self.frozen = False
        self.bits_per_frame = bits_per_frame
        self.frames = 0
        # When the newest frames were handed out, monotonic seconds
        self.times: deque[float] = deque(maxlen=TIMES_KEPT)
        self._rate = rate
        self._phase = phase
        self._feeds: set[Feed] = set()
        self._pool = ThreadPoolExecutor(1, "encode")
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._context: Any = None
        # The scene after `scene`; None without one.
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
        """Go on with a scene of another size, from a key frame on."""
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
            await self._next_tick()
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

    async def _next_tick(self) -> None:
        """Sleep until the first tick at which a frame is due; a changed rate is looked at at once."""
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
        # A frame is 1/30 s of the encoder's own time, whatever the real rate is: so each gets
        # `bits_per_frame`, and a change of rate needs no new encoder and no key frame.
        context.time_base, context.framerate = Fraction(1, TICKS), Fraction(TICKS)
        bits = self.bits_per_frame * TICKS
        context.bit_rate = bits
        context.gop_size = 100_000
        context.thread_count = 1
        if self.codec == "h264":
            context.profile = self.profile
            context.options = {
                # The quickest one leaves out what the other profiles have over baseline.
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
