"""Videos and sound, one at a time, by a worker without a model: progress, results, bad ends."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from server.core.errors import Busy, NotFound
from server.core.metrics import Metrics
from server.features.generation import job
from server.features.generation.bounds import SoundRequest, VideoRequest
from server.features.generation.generator import GenerationRuntime
from server.features.generation.job import (
    GenerationJob,
    JobProgress,
    JobState,
    Mp4Writer,
    ResultTooLarge,
    crop_and_resize,
)
from server.features.hosting.runtime import StartFailed
from tests.support.children import alive
from tests.support.clients import soon
from tests.support.engine_plans import WAN

VIDEO = VideoRequest(prompt="a red ball", steps=3, seed=7, width=64, height=32, frames=9, fps=16)
SOUND = SoundRequest(prompt="rain", steps=1, seed=7, seconds=0.5)


def generator(manner: str, **more: Any) -> GenerationRuntime:
    argv = (sys.executable, "-m", "tests.generating.stand_in", manner)
    return GenerationRuntime(WAN, argv, {}, **more)


@asynccontextmanager
async def loaded(manner: str, **more: Any) -> AsyncIterator[GenerationRuntime]:
    one = generator(manner, **more)
    try:
        await one.start()
        yield one
    finally:
        await one.stop()


async def ended(making: GenerationJob) -> JobProgress:
    await soon(lambda: making.progress.state not in (JobState.WORKING, JobState.CANCELLING))
    return making.progress


async def done(
    making: GenerationJob, model: GenerationRuntime, request: Any = VIDEO
) -> JobProgress:
    """Begin, and return the progress at the end."""
    making.start(model, request)
    return await ended(making)


def decoded(data: bytes, form: str = "rgb24") -> list[NDArray[Any]]:
    """The frames of an MP4."""
    with av.open(io.BytesIO(data), "r") as container:
        return [frame.to_ndarray(format=form) for frame in container.decode(video=0)]


def why(progress: JobProgress) -> str:
    """The sentence of what ended badly."""
    assert progress.error is not None
    return str(progress.error["message"])


def counted(making: GenerationJob, kind: str, result: str) -> float:
    return float(making._ended_counter.labels(kind, result)._value.get())


async def test_a_video_is_made_and_handed_over_once(making: GenerationJob) -> None:
    """Every frame is in the MP4, in order; taken once, it is gone."""
    async with loaded("video") as model:
        began = making.start(model, VIDEO)
        assert (began.state, began.kind, began.steps, began.frames) == (
            # The model says later how many steps there are.
            *(JobState.WORKING, "video", 0, 9),
        )
        progress = await ended(making)
    assert (progress.state, progress.step, progress.made, progress.seed) == (
        *(JobState.READY, 3, 9, 7),
    )
    made = making.take()
    assert (made.media_type, len(made.data)) == ("video/mp4", progress.bytes)
    shades = [float(frame.mean()) for frame in decoded(made.data, "gray")]
    assert len(shades) == 9
    assert shades == sorted(shades, reverse=True)
    making.mark_delivered(made)
    assert making.progress.state is JobState.TAKEN
    with pytest.raises(NotFound, match="can be fetched once"):
        making.take()
    assert counted(making, "video", "ok") == 1


async def test_sound_as_wav_and_as_bare_samples(making: GenerationJob) -> None:
    """The model's own rate, and as long as was asked for."""
    async with loaded("sound") as model:
        progress = await done(making, model, SOUND)
        assert (progress.state, progress.seconds) == (JobState.READY, 0.5)
        made = making.take()
        assert made.media_type == "audio/wav"
        with wave.open(io.BytesIO(made.data)) as read:
            assert (read.getframerate(), read.getnchannels(), read.getnframes()) == (
                *(16_000, 1, 8000),
            )
        await done(making, model, SOUND.model_copy(update={"format": "pcm"}))
        made = making.take()
    assert (made.media_type, made.data) == ("audio/pcm;rate=16000;channels=1", bytes(16_000))


async def test_one_at_a_time(making: GenerationJob, pool: ThreadPoolExecutor) -> None:
    """A second one is refused with what goes on; cancelling ends that, the next begins."""
    async with loaded("endless") as model:
        making.start(model, VIDEO)
        await soon(lambda: making.progress.step > 3)
        with pytest.raises(Busy, match=r"A video is being made.*one at a time.*cancel it"):
            making.start(model, VIDEO)
        with pytest.raises(Busy):
            GenerationJob(metrics=Metrics("0"), pool=pool).start(model, VIDEO)
        progress = await making.cancel()
        assert progress.state is JobState.CANCELLED
        assert not model.busy
        assert model._worker.pid is not None
        assert counted(making, "video", "cancelled") == 1
        # Cancelled before it has begun
        making.start(model, VIDEO)
        assert (await making.cancel()).state is JobState.CANCELLED
        making.start(model, VIDEO)
        await soon(lambda: making.progress.step > 0)
        await making.cancel()
    assert counted(making, "video", "cancelled") == 3
    assert (await making.cancel()).state is JobState.CANCELLED


async def test_work_that_does_not_hear_is_ended_with_its_process(
    making: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that goes on after its time is killed, and the next is done by a new process."""
    monkeypatch.setattr("server.features.generation.generator.CANCEL_SECONDS", 0.1)
    async with loaded("deaf") as model:
        before = model._worker.pid
        assert before is not None
        for _ in range(2):
            making.start(model, VIDEO)
            await soon(lambda: making.progress.step > 0)
            assert (await making.cancel()).state is JobState.CANCELLED
            assert not alive(before)
        assert not model.ended.is_set()


async def test_a_worker_may_tell_more_steps_than_can_wait(making: GenerationJob) -> None:
    """Thousands that come at once: some are left out, and the video is made."""
    async with loaded("talks") as model:
        progress = await done(making, model)
        assert (progress.state, progress.step, progress.made) == (JobState.READY, 3, 9)


@pytest.mark.parametrize(
    ("manner", "code", "words"),
    [
        ("fails", "engine_failed", "not enough memory"),
        ("dies", "engine_unavailable", "was ended by SIGKILL"),
        ("odd", "engine_failed", "63x32"),
        ("huge", "engine_failed", "more than 257 frames"),
    ],
)
async def test_what_ends_badly_has_a_sentence(
    making: GenerationJob, manner: str, code: str, words: str
) -> None:
    """A failure, a death, frames that fit no video: said, counted, nothing kept."""
    async with loaded(manner) as model:
        progress = await done(making, model)
        assert (progress.state, making._result) == (JobState.FAILED, None)
        assert progress.error is not None
        assert progress.error["code"] == code
        assert words in progress.error["message"]
        assert counted(making, "video", "error") == 1
        assert not model.busy


async def test_a_model_that_is_unloaded_ends_its_work(making: GenerationJob) -> None:
    """As when another model is started."""
    async with loaded("endless") as model:
        making.start(model, VIDEO)
        await soon(lambda: making.progress.step > 0)
        await model.stop()
        progress = await ended(making)
    assert "was unloaded" in why(progress)


async def test_a_result_is_bounded(making: GenerationJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file over the bound is given up while it grows, and so is sound."""
    monkeypatch.setattr(job, "MAX_RESULT_BYTES", 2000)
    async with loaded("video") as model:
        progress = await done(making, model)
        assert "is larger than" in why(progress)
    async with loaded("sound") as model:
        progress = await done(making, model, SOUND)
    assert "sound is larger than" in why(progress)


async def test_a_result_that_nobody_takes_goes(
    making: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself after a time, for the next one, or when it is cancelled; counted each time."""
    monkeypatch.setattr(job, "KEEP_SECONDS", 0.05)
    dropped = making._dropped_counter._value
    async with loaded("video") as model:
        await done(making, model)
        await soon(lambda: making.progress.state is JobState.EXPIRED)
        with pytest.raises(NotFound):
            making.take()
        assert dropped.get() == 1
        monkeypatch.setattr(job, "KEEP_SECONDS", 60)
        for _ in range(2):
            assert (await done(making, model)).state is JobState.READY
        assert dropped.get() == 2
        assert (await making.cancel()).state is JobState.CANCELLED
        assert dropped.get() == 3
        with pytest.raises(NotFound):
            making.take()


async def test_a_result_goes_after_ten_minutes_and_with_the_server(
    making: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result waits for 600 s by default, and a server that stops drops it."""
    loop, delays = asyncio.get_running_loop(), list[float]()
    later = loop.call_later

    def call_later(delay: float, *rest: Any, **more: Any) -> asyncio.TimerHandle:
        delays.append(delay)
        return later(delay, *rest, **more)

    async with loaded("video") as model:
        making.start(model, VIDEO)
        monkeypatch.setattr(loop, "call_later", call_later)
        assert (await ended(making)).state is JobState.READY
        assert 600 in delays
        assert max(delays) == 600
        await making.close()
        with pytest.raises(NotFound, match="10 minutes"):
            making.take()


async def test_no_sound_is_no_result(making: GenerationJob) -> None:
    """A file of nothing would say that all went well."""
    async with loaded("silent") as model:
        progress = await done(making, model, SOUND)
    assert "no sound" in why(progress)


async def test_a_worker_that_does_not_load_says_why(making: GenerationJob) -> None:
    """What its log repeats of a request is withheld."""
    lines: list[str] = []
    async with loaded("video", on_line=lines.append) as model:
        await done(making, model)
        # One came before its work was done and one after.
        await soon(lambda: model._worker.ring.withheld == 2)
    assert lines == ["a line of its log"]
    for one, words in (
        (generator("unloadable"), "not enough memory to load"),
        (generator("dies-early"), "status 7"),
        (GenerationRuntime(WAN, ("/nowhere/python",), {}), "ENGINE_PYTHON"),
    ):
        with pytest.raises(StartFailed, match=words):
            await one.start()
        await one.stop()


WIDTH, HEIGHT = 96, 64
RED, BLUE = (200, 30, 30), (20, 40, 210)


def plain(color: tuple[int, int, int]) -> bytes:
    return np.full((HEIGHT, WIDTH, 3), color, np.uint8).tobytes()


def noise(count: int) -> Iterator[bytes]:
    rng = np.random.default_rng(1)
    for _ in range(count):
        yield rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8).tobytes()


def made(frames: list[bytes], fps: int = 16, most: int = 2**24) -> bytes:
    writer = Mp4Writer(WIDTH, HEIGHT, fps, most)
    for frame in frames:
        writer.add(frame)
    return writer.finish()


def boxes(data: bytes) -> list[str]:
    """The names of the outermost boxes (ISO 14496-12, 4.2)."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(data[at + 4 : at + 8].decode())
        assert size >= 8
        at += size
    return found


def test_it_is_h264_with_its_colours_and_times() -> None:
    """4:2:0, BT.709 said and meant, every frame at its time."""
    data = made([plain(RED)] * 8 + [plain(BLUE)] * 9, fps=24)
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        assert stream.average_rate is not None
        assert (float(stream.average_rate), stream.frames) == (24.0, 17)
        frames = list(container.decode(stream))
    assert [round(float(frame.time) * 24) for frame in frames] == list(range(17))
    for frame, color in ((frames[3], RED), (frames[12], BLUE)):
        pixels = frame.to_ndarray(format="rgb24").reshape(-1, 3)
        assert np.abs(pixels.mean(0) - color).max() < 4


def test_the_index_is_in_front_of_the_pictures() -> None:
    """A page can play it before it has all of it; so it is for the longest video."""
    for count in (1, 9, 257):
        names = boxes(made(list(noise(count))))
        assert names.index("moov") < names.index("mdat")


def test_it_never_grows_beyond_its_bound() -> None:
    """A file that grows too large raises ResultTooLarge, while frames come or at the end."""
    whole = made(list(noise(30)))
    assert made(list(noise(30)), most=len(whole)) == whole
    for most in (len(whole) - 1, len(whole) // 2, 5000, 16):
        with pytest.raises(ResultTooLarge):
            made(list(noise(30)), most=most)
    writer = Mp4Writer(WIDTH, HEIGHT, 16, 2**20)
    writer.add(plain(RED))
    writer.discard()


WRITES_NOTHING = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
from tests.features.generation.test_job import made, noise
print(len(made(list(noise(30)))))
"""


@pytest.mark.slow
def test_nothing_of_it_reaches_a_file() -> None:
    """It is made where no file may have a single byte."""
    done = subprocess.run(
        [sys.executable, "-c", WRITES_NOTHING], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(made(list(noise(30))))


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (832, 480), (1920, 1088)])
def test_the_middle_of_the_picture_in_the_videos_shape(width: int, height: int) -> None:
    """RGB of exactly that size; nothing is squeezed, the margin is left out."""
    bgr = np.zeros((720, 1280, 3), np.uint8)
    bgr[..., 0], bgr[..., 1] = 10, 90
    # A disc in the middle stays a disc.
    rows, columns = np.ogrid[:720, :1280]
    bgr[(rows - 360) ** 2 + (columns - 640) ** 2 < 150**2, 2] = 220
    rgb = np.frombuffer(crop_and_resize(bgr, width, height), np.uint8).reshape(height, width, 3)
    assert tuple(rgb[0, 0]) == (0, 90, 10)
    assert tuple(rgb[height // 2, width // 2]) == (220, 90, 10)
    disc = rgb[..., 0] > 110
    tall, wide = disc.any(1).sum(), disc.any(0).sum()
    assert abs(int(tall) - int(wide)) <= 2
    assert tall == pytest.approx(300 * max(width / 1280, height / 720), abs=2)
