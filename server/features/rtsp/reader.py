"""One fixed camera: run its process, restart it when it ends, and pass its pictures on."""

from __future__ import annotations

import logging
import random
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import av
import numpy as np
from prometheus_client import Counter

from server.core.aio import TaskSet, supervise
from server.core.frames import Frame, Part
from server.features.rtsp.settings import FixedCamera
from server.features.rtsp.worker.rtsp import FailureReason
from server.media.camera import Camera, CameraConnection
from server.media.video.decode import fits
from server.shared.processes.process import ProcessFailed
from server.shared.processes.wire import WorkerMessage
from server.shared.processes.worker_process import WorkerProcess, make_environment

log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[3]
# Interval of the control loop, seconds
LOOK_SECONDS = 0.25
# Pictures per second after a request, and until the first picture arrives
AWAKE_FPS = 8.0
_CODECS = frozenset({"H264", "H265", "JPEG"})
# Explanations for operators
SENTENCES = {
    FailureReason.UNREACHABLE: "No response from its address. Check that the camera is on, and the host and port of its url.",
    FailureReason.CERTIFICATE: "Its certificate is not trusted. Set ca to a PEM file with its certificate authority.",
    FailureReason.CREDENTIALS: "It refuses the user and password. Correct them in the list of cameras, and restart the server.",
    FailureReason.CLEAR_PASSWORD: "It requests the password in clear text. Use rtsps or https, enable Digest in the camera, or set clear_password = true.",
    FailureReason.REDIRECT: "It redirects to another address, which is not followed. If that address is right, set it as its url.",
    FailureReason.NOT_FOUND: "It has no stream at this path. Correct the path of its url.",
    FailureReason.REFUSED: "It refuses to play. It may have too many viewers; close some of them.",
    FailureReason.UDP_ONLY: "It sends by UDP only, which is not supported. Enable RTP over TCP (interleaved) in the camera.",
    FailureReason.CODEC: "It sends an unsupported codec. Configure it to send H.264 or H.265, or JPEGs over HTTP.",
    FailureReason.WEB_PAGE: "Its url is a web page. Set the address of its stream or picture, as given in the camera's manual.",
    FailureReason.FORMAT: "Its pictures are not 4:2:0 with 8 bits. Choose another profile in the camera.",
    FailureReason.SIZE: "Its pictures are too large (limit: 4096×4096 pixels in all, 8192 per side). Use the camera's second stream.",
    FailureReason.MEMORY: "Its stream needs more memory than allowed per camera. Choose a lower resolution in the camera.",
    FailureReason.SILENT: "It is connected but sends no data.",
    FailureReason.ENDED: "It closed the connection.",
    FailureReason.MALFORMED: "It sends malformed data.",
    FailureReason.DEVICE_MISSING: "Device not found. Check that the camera is plugged in; ls /dev/video* lists the devices.",
    FailureReason.DEVICE_FORBIDDEN: "The server's user has no access to this device. Add the user to the group video, and restart the server.",
    FailureReason.DEVICE_OTHER: "This device is not a supported camera. A camera often has two devices; set the other one.",
    FailureReason.DEVICE_BUSY: "Another program is using this device. Close that program.",
    FailureReason.CRASHED: "The process that reads it ended unexpectedly.",
}
# Fields of a listed camera that its process receives
_GIVEN = ("url", "user", "password", "ca", "clear_password")


@dataclass(slots=True)
class Facts:
    """Facts reported by the process, for operators; validated, because its input is untrusted."""

    codec: str = ""
    fps: float = 0.0
    # Frames of the current connection
    decoded: int = 0
    dropped: int = 0
    # Failed attempts and ended connections since the server's start
    failures: int = 0


class FixedCameraReader:
    """Reader of one camera, from `start` to `close`. Call all methods on the event loop.

    `wanted` returns the pictures per second needed now; 0: nothing is decoded.

    Bounds: 640 MiB of memory for its process beyond the program itself; 8 MiB for a frame; 600
    undecoded frames and 16 MiB since the last key frame, beyond which they are dropped and counted.
    One picture is in transit to the server; only the newest one waits.
    """

    def __init__(
        self,
        camera: FixedCamera,
        into: Camera,
        failures: Counter,
        wanted: Callable[[], float],
    ) -> None:
        self._camera = camera
        self._into = into
        into.absence = "This camera is not connected yet. Ask again in a few seconds."
        self._failures = failures
        self._wanted = wanted
        self.life = Reconnect(time.monotonic())
        self.facts = Facts()
        self._worker: WorkerProcess | None = None
        self._feed: CameraConnection | None = None
        # The rate last sent to the process; None before
        self._rate: float | None = None
        # Reason and detail that the process reported for its end; None before
        self._reason: tuple[FailureReason, str] | None = None
        self._tasks = TaskSet("standing")

    def start(self) -> None:
        self._tasks.spawn(supervise(self._run_step, name="standing"), name=self._camera.name)

    def retry_now(self) -> None:
        """Make the next attempt due now."""
        if self.life.state is FixedCameraState.WAITING:
            self.life.due = time.monotonic()

    def update_rate(self) -> None:
        """Send the wanted rate to the process if it has changed."""
        worker, rate = self._worker, self._wanted()
        if worker is None:
            return
        if self.life.state is not FixedCameraState.LIVE:
            rate = max(rate, AWAKE_FPS)
        if rate != self._rate:
            self._rate = rate
            worker.send({"type": "want", "rate": rate})

    async def _run_step(self) -> float:
        """Start or kill the process if due. Return the seconds until the next step."""
        now = time.monotonic()
        if self._worker is None and now >= self.life.due:
            await self._begin()
        elif self._worker is not None and self.life.is_overdue(now):
            self._reason = self._reason or (FailureReason.SILENT, "")
            self._worker.kill()
        self.update_rate()
        return LOOK_SECONDS

    async def _begin(self) -> None:
        self.life.begin(time.monotonic())
        self.facts = Facts(failures=self.facts.failures)
        self._reason, self._rate = None, None
        worker = WorkerProcess(
            on_message=lambda message: self._receive(worker, message),
            # Libraries' output may contain text from the camera.
            on_line=lambda _: None,
            on_exit=lambda status: self._on_exit(worker),
            quiet=lambda: True,
        )
        camera = self._camera
        # Set before it runs, because it may end at once.
        self._worker = worker
        try:
            argv = (sys.executable, "-m", "server.features.rtsp.worker")
            # One thread, because OpenBLAS reserves memory for each.
            await worker.start(argv, make_environment({"OPENBLAS_NUM_THREADS": "1"}), _ROOT)
        except ProcessFailed:
            self._worker = None
            self._on_failure(FailureReason.CRASHED, "")
            return
        given = {name: getattr(camera, name) for name in _GIVEN}
        worker.send({"type": "camera", **given})
        self._rate = None
        self.update_rate()

    def _receive(self, worker: WorkerProcess, message: WorkerMessage) -> None:
        """Handle a message of the process. Raises for a malformed one, which stops the process."""
        if worker is not self._worker:
            return
        header = message.header
        match message.type:
            case "playing":
                codec = str(header["codec"])
                self.facts.codec = codec if codec in _CODECS else ""
                self._feed = self._into.new_connection(sender_controlled=False)
                self._into.open_connection(self._feed)
                self._feed.connection_made()
            case "alive":
                self._on_alive(float(header["at"]), float(header["fps"]))
                self.facts.decoded = int(header["decoded"])
                self._count_dropped(int(header["dropped"]))
            case "frame":
                frame = _make_frame(message, time.monotonic(), self._camera.ignore)
                if self.life.state is not FixedCameraState.LIVE:
                    self.life.set_live(time.monotonic())
                    log.info(
                        "fixed camera connected",
                        extra={"camera": self._camera.name, "kind": self.facts.codec},
                    )
                if self._feed is not None:
                    self._feed.frame(frame)
                worker.send({"type": "taken"})
            case "failed":
                self._reason = (
                    FailureReason(header["trouble"]),
                    _get_codec_name(str(header["detail"])),
                )

    def _on_alive(self, at: float, fps: float) -> None:
        """Record undecoded frames, which show that the camera is live."""
        self.facts.fps = max(0.0, min(1000.0, fps))
        if self._feed is not None:
            now = time.monotonic()
            self._feed.tracker.frame(now, min(at, now))

    def _count_dropped(self, all: int) -> None:
        count, self.facts.dropped = all - self.facts.dropped, all
        if self._feed is not None and count > 0:
            self._feed.frames_dropped("not_needed", count)

    def _on_exit(self, worker: WorkerProcess) -> None:
        if worker is not self._worker:
            return
        self._worker = None
        trouble, detail = self._reason or (FailureReason.CRASHED, "")
        self._on_failure(trouble, detail)
        # Clean up the pipes and tasks of the ended process.
        self._tasks.spawn(worker.stop(), name="stop")

    def _on_failure(self, trouble: FailureReason, detail: str) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.stream_ended()
        self.facts.failures += 1
        self._failures.labels(trouble.value).inc()
        if self.life.trouble is not trouble:
            log.warning(
                "fixed camera failed",
                extra={"camera": self._camera.name, "reason": trouble.value},
            )
        self._into.absence = f"This camera sends no picture. {SENTENCES[trouble]}"
        self.life.fail(time.monotonic(), trouble, random.random(), detail)

    async def close(self) -> None:
        """Stop the process and all attempts. Safe to call twice."""
        worker, self._worker = self._worker, None
        await self._tasks.close()
        if worker is not None:
            await worker.stop()
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.stream_ended()


def _get_codec_name(text: str) -> str:
    return "".join(one for one in text[:16] if one.isascii() and (one.isalnum() or one == "-"))


def _make_frame(message: WorkerMessage, now: float, ignored: tuple[Part, ...]) -> Frame:
    """Return the Frame of a picture message. Raises ValueError if its size is invalid."""
    width, height = int(message.header["width"]), int(message.header["height"])
    if (
        not fits(width, height)
        or width % 2
        or height % 2
        or len(message.payload) != width * height * 3 // 2
    ):
        raise ValueError("a picture's size is invalid")
    planes = np.frombuffer(message.payload, np.uint8).reshape(height * 3 // 2, width)
    image = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    image.colorspace = int(message.header["colorspace"])
    image.color_range = int(message.header["color_range"])
    # Both processes use the same monotonic clock.
    at = min(float(message.header["at"]), now)
    return Frame(
        id=secrets.token_hex(8),
        image=image,
        width=width,
        height=height,
        captured=at,
        captured_sender=None,
        arrived=now,
        rtp_time=int(at * 90_000),
        ignored=ignored,
    )


# Schedule of a fixed camera's connection attempts. Pure.

# Seconds before the next attempt: doubled with each failure, up to the maximum
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
# The same after errors that a person must fix: cameras lock users out after a few wrong passwords.
MENDED_PAUSE, LAST_MENDED_PAUSE = 60.0, 900.0
# Random jitter, from this fraction of a pause: cameras behind one switch must not reconnect at the same time.
LEAST_SHARE = 0.5
# Length of a connection after which the next pause is short again
GOOD_SECONDS = 30.0
# Time limit for the first picture of a connection
FIRST_PICTURE_SECONDS = 30.0
NEEDS_PERSON = frozenset(
    {
        *(
            FailureReason.CREDENTIALS,
            FailureReason.CLEAR_PASSWORD,
            FailureReason.CERTIFICATE,
            FailureReason.REDIRECT,
        ),
        *(
            FailureReason.NOT_FOUND,
            FailureReason.CODEC,
            FailureReason.FORMAT,
            FailureReason.SIZE,
            FailureReason.MEMORY,
        ),
        *(FailureReason.UDP_ONLY, FailureReason.WEB_PAGE),
    }
)


class FixedCameraState(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"


class Reconnect:
    """State and schedule of one camera's connection attempts. `now` is monotonic seconds.

    Bounds of attempts: one at a time; pauses of 1 to 60 s, or of 1 to 15 minutes after errors that a
    person must fix.
    """

    def __init__(self, now: float) -> None:
        self.state = FixedCameraState.WAITING
        # Reason for no picture; None while live, and before the first failure
        self.trouble: FailureReason | None = None
        self.detail = ""
        # Beginning of the live state, or the time of the last picture
        self.since = now
        # Time of the next attempt
        self.due = now
        self._failures = 0
        self._began = now

    def begin(self, now: float) -> None:
        self.state = FixedCameraState.CONNECTING
        self._began = now

    def set_live(self, now: float) -> None:
        """Enter the live state, at the first picture."""
        self.state = FixedCameraState.LIVE
        self.trouble, self.detail = None, ""
        self.since = self._began = now

    def is_overdue(self, now: float) -> bool:
        """Return True if the current attempt has had no picture for too long."""
        return (
            self.state is FixedCameraState.CONNECTING and now >= self._began + FIRST_PICTURE_SECONDS
        )

    def fail(self, now: float, trouble: FailureReason, chance: float, detail: str = "") -> float:
        """Record the end of an attempt or a connection. Return the seconds until the next one.

        `chance`: random, 0 to 1.
        """
        was_live = self.state is FixedCameraState.LIVE
        if was_live:
            if now - self._began >= GOOD_SECONDS:
                self._failures = 0
            self.since = now
        self.state = FixedCameraState.WAITING
        self.trouble, self.detail = trouble, detail
        first, last = FIRST_PAUSE, LAST_PAUSE
        if trouble in NEEDS_PERSON:
            first, last = MENDED_PAUSE, LAST_MENDED_PAUSE
        pause = min(last, first * 2.0 ** min(self._failures, 16))
        pause *= LEAST_SHARE + (1 - LEAST_SHARE) * chance
        self._failures += 1
        self.due = now + pause
        return pause
