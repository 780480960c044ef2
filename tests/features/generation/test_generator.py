"""Videos and sound by the true worker: tiny models of diffusers and transformers."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.core.errors import EngineError, EngineFailed
from server.core.metrics import Metrics
from server.features.generation.bounds import (
    SoundRequest,
    VideoRequest,
    validate_sound_request,
    validate_video_request,
)
from server.features.generation.generator import GenerationRuntime
from server.features.generation.job import GenerationJob, JobState, ResultFile
from server.features.hosting.hosting import Hosting
from server.features.hosting.runtime import StartFailed
from server.shared.processes import reaper
from server.shared.processes.wire import WorkerMessage
from server.shared.processes.worker_process import WorkerJob, make_environment
from tests.features.generation.test_job import BLUE, RED, decoded, plain
from tests.real_model.server import PYTHON, run_module
from tests.support.clients import http, soon
from tests.support.engine_plans import WAN
from tests.support.running import Running, running

_FIND = "from importlib.util import find_spec as f; print(*map(f, ('torch', 'transformers', 'diffusers', 'ftfy')))"
# Seconds for all processes to be ready: a slow machine compiles diffusers first.
_LONG = 240
TOKEN = "operator-token-of-a-test-0123456789"
# Much more than any test lets it make.
_STEPS = 100
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


def missing() -> str:
    """Return how to complete the models' environment; "" when it has all that these tests need."""
    try:
        done = subprocess.run([PYTHON, "-c", _FIND], capture_output=True, text=True, timeout=60)
    except OSError:
        done = None
    if done is not None and done.returncode == 0 and "None" not in done.stdout:
        return ""
    return "diffusers is not installed: `bash scripts/models.sh` makes .venv-models from requirements-models.txt."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of `tests.generating.build`."""
    if lacking := missing():
        assert "REAL_MODEL_REQUIRED" not in os.environ, lacking
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("models")
    run_module("tests.generating.build", folder, env=make_environment(env(folder)))
    return folder


def env(home: Path, **more: str) -> dict[str, str]:
    """So small a model is no quicker on more than one core; nothing is written outside of `home`."""
    return {"OMP_NUM_THREADS": "1", "HOME": str(home), **more}


# No file that it writes can have more than a block of 512 bytes, or 1024 where a shell counts so:
# no frame fits in.
NO_FILES = ("/bin/sh", "-c", 'ulimit -f 1 && exec "$@"', "sh")


def worker(
    folder: Path, *options: str, before: tuple[str, ...] = (), **more: str
) -> GenerationRuntime:
    own = ("-m", "server.features.generation.worker", "--model", str(folder), *options)
    argv = (*before, str(PYTHON), *own)
    return GenerationRuntime(WAN, argv, env(folder.parent, **more))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(models: Path) -> AsyncIterator[Running]:
    """The whole program; nothing is loaded yet."""
    settings = {"operator_token": TOKEN, "engine_python": PYTHON, "rate_limit_per_minute": 0}
    with pytest.MonkeyPatch.context() as patch:
        # So small a model is no quicker on more than one core.
        patch.setenv("OMP_NUM_THREADS", "1")
        async with running(**settings) as one:
            yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(run: Running, models: Path) -> AsyncIterator[dict[str, GenerationRuntime]]:
    """One for each model, `words` by the program."""
    started = {
        "picture": worker(
            models / "picture",
            before=NO_FILES,
            # Python would leave modules behind that end after 512 bytes.
            PYTHONDONTWRITEBYTECODE="1",
        ),
        **{name: worker(models / name) for name in ("speech", "tune")},
        "music": worker(models / "music"),
    }
    try:
        async with asyncio.timeout(_LONG), http(run, TOKEN) as client:
            choice = {"model": str(models / "words"), "mode": "in_process", "vae_tiling": True}
            reply = await client.post("/api/engine/start", json=choice, timeout=_LONG)
            assert reply.status_code == 202, reply.text
            await asyncio.gather(*(one.start() for one in started.values()))
            status = await run.program.added.provided[Hosting].manager.wait_settled()
            assert (status.state, status.error) == ("ready", "")
        words = run.program.added.provided[Hosting].manager.ready_runtime
        assert isinstance(words, GenerationRuntime)
        yield started | {"words": words}
    finally:
        await asyncio.gather(*(one.stop() for one in started.values()))


def video(model: GenerationRuntime, **changed: Any) -> VideoRequest:
    given = {
        "prompt": "a red ball rolls",
        "negative_prompt": "blue",
        "width": 96,
        "height": 64,
        "seconds": 0.3,
        "fps": 16,
        "steps": 2,
        "seed": 7,
    }
    return validate_video_request(given | changed, model.rules)


async def made(
    pool: ThreadPoolExecutor,
    model: GenerationRuntime,
    request: VideoRequest | SoundRequest,
    picture: bytes = b"",
) -> ResultFile:
    making = GenerationJob(metrics=Metrics("0"), pool=pool)
    try:
        making.start(model, request, picture)
        await soon(lambda: making.progress.state is not JobState.WORKING, 60)
        assert making.progress.error is None, making.progress.error
        return making.take()
    finally:
        await making.close()


async def all_of(
    model: GenerationRuntime, request: VideoRequest, picture: bytes = b""
) -> list[WorkerMessage]:
    return [message async for message in model.make(request.model_dump(), picture)]


async def payloads(
    model: GenerationRuntime, request: VideoRequest, picture: bytes = b""
) -> list[bytes]:
    """The frames as the worker sent them."""
    return [m.payload for m in await all_of(model, request, picture) if m.type == "frame"]


async def test_a_video_from_words(
    workers: dict[str, GenerationRuntime], pool: ThreadPoolExecutor
) -> None:
    """By its folder's rules, in the size asked for; another seed makes other frames."""
    model = workers["words"]
    rules = model.rules
    assert (model.backend, rules.output, rules.factor, rules.frame_step) == (
        *("diffusers", "video", 16, 4),
    )
    assert rules.first_frame == "may"
    assert set(rules.takes) == {"negative", "guidance", "steps"}
    pictures = decoded((await made(pool, model, video(model))).data)
    assert [one.shape for one in pictures] == [(64, 96, 3)] * 5
    same = await payloads(model, video(model))
    assert await payloads(model, video(model)) == same
    assert await payloads(model, video(model, seed=8)) != same
    # The negative prompt counts, too.
    assert await payloads(model, video(model, negative_prompt="")) != same


async def test_a_model_that_does_both(workers: dict[str, GenerationRuntime]) -> None:
    """One that takes words alone takes a picture, too, with the same weights."""
    model = workers["words"]
    with_picture = video(model, steps=1, camera="given")
    red, blue = [await payloads(model, with_picture, plain(color)) for color in (RED, BLUE)]
    none = await payloads(model, video(model, steps=1))
    assert [len(one) for one in (red, blue, none)] == [5, 5, 5]
    assert red != blue != none != red


async def test_each_step_is_told(workers: dict[str, GenerationRuntime]) -> None:
    """Steps, then frames, then the end."""
    model = workers["words"]
    messages = await all_of(model, video(model, steps=3))
    assert [m.type for m in messages] == ["step"] * 4 + ["frame"] * 5 + ["end"]
    told = [(m.header["step"], m.header["steps"]) for m in messages[:4]]
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[WorkerMessage]:
    """The messages of workers about their jobs, cancelled ones, too."""
    found: list[WorkerMessage] = []
    take = WorkerJob.take

    def note(job: WorkerJob, message: WorkerMessage | None) -> None:
        found.extend([message] if message is not None else [])
        take(job, message)

    monkeypatch.setattr(WorkerJob, "take", note)
    return found


@pytest.mark.parametrize("steps", [1, _STEPS])
async def test_cancelling_stops_the_model(
    workers: dict[str, GenerationRuntime], taken: list[WorkerMessage], steps: int
) -> None:
    """By its own count of steps, and while it decodes; the next one is made at once."""
    model = workers["words"]
    pid = model._worker.pid
    assert pid is not None
    (worker,) = reaper.list_descendants(pid)
    large = video(model, width=256, height=256, seconds=2, steps=steps)
    messages = model.make(large.model_dump())
    assert [(await anext(messages)).header["step"] for _ in range(2)] == [0, 1]
    # Into the middle of what comes next
    await asyncio.sleep(0.05)
    began = cpu_seconds(worker)
    await messages.aclose()
    assert not model.busy
    assert taken[-1].type == "end"
    assert taken[-1].header["step"] <= min(steps, 3)
    await asyncio.sleep(0.3)
    # Decoding takes 4 s of it, a step 0.1; what is left is a collection of garbage.
    assert cpu_seconds(worker) - began < 0.8, "it goes on"
    assert model._worker.pid == pid
    assert (await all_of(model, video(model)))[-1].type == "end"


def cpu_seconds(pid: int | None) -> float:
    """Of all threads of a process (proc(5), fields 14 and 15 of stat)."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_video_from_the_cameras_picture(
    workers: dict[str, GenerationRuntime], pool: ThreadPoolExecutor
) -> None:
    """Another picture makes another video; the worker can write no file of a frame's size."""
    model = workers["picture"]
    assert (model.backend, model.rules.first_frame) == ("diffusers", "must")
    request = video(model, camera="given", steps=1)
    assert len(decoded((await made(pool, model, request, plain(RED))).data)) == 5
    red, blue = [await payloads(model, request, plain(color)) for color in (RED, BLUE)]
    assert red != blue


async def test_speech(workers: dict[str, GenerationRuntime], pool: ThreadPoolExecutor) -> None:
    """A model of transformers: its own rate, one channel, 16 bit; longer words make longer speech."""
    model = workers["speech"]
    assert (model.backend, model.rules.output, model.rules.takes) == ("transformers", "sound", ())
    lengths = []
    for text in ("hi", "a red ball rolls over the table"):
        sound = await made(
            pool, model, validate_sound_request({"prompt": text, "format": "pcm"}, model.rules)
        )
        assert sound.media_type == "audio/pcm;rate=16000;channels=1"
        assert len(sound.data) % 2 == 0
        lengths.append(len(sound.data))
    assert lengths[1] > lengths[0] > 0


async def test_sound_token_by_token(
    workers: dict[str, GenerationRuntime], pool: ThreadPoolExecutor, taken: list[WorkerMessage]
) -> None:
    """As long as asked for, each token told as a step; cancelled, it stops within a token."""
    model = workers["tune"]
    assert (model.backend, model.rules.takes, model.rules.sample_rate) == (
        *("transformers", ("seconds",), 8000),
    )
    request = validate_sound_request(
        {"prompt": "rain", "seconds": 0.5, "format": "pcm"}, model.rules
    )
    sound = await made(pool, model, request)
    assert sound.media_type == "audio/pcm;rate=8000;channels=1"
    assert len(sound.data) == 0.5 * 8000 * 2
    asked = {"prompt": "rain", "negative_prompt": "", "guidance": 7.0, "steps": 50, "seed": 1}
    messages = model.make({**asked, "seconds": 60.0})
    told = [(await anext(messages)).header for _ in range(5)]
    # 50 tokens a second, and those that wait for the last of a token's codes
    assert (told[0]["step"], told[0]["steps"]) == (0, 60 * 50 + 4)
    await messages.aclose()
    assert taken[-1].header["step"] < 200


async def test_sound_of_a_pipeline(
    workers: dict[str, GenerationRuntime], pool: ThreadPoolExecutor
) -> None:
    """As long as asked for, at its own rate and channels; vLLM-Omni is for videos."""
    model = workers["music"]
    assert (model.backend, model.rules.sample_rate) == ("diffusers", 8000)
    assert "seconds" in model.rules.takes
    request = validate_sound_request(
        {"prompt": "rain", "seconds": 0.5, "steps": 2, "format": "pcm"}, model.rules
    )
    sound = await made(pool, model, request)
    assert sound.media_type == "audio/pcm;rate=8000;channels=2"
    assert len(sound.data) == 0.5 * 8000 * 2 * 2


async def test_the_whole_way_of_an_operator(
    workers: dict[str, GenerationRuntime], run: Running
) -> None:
    """The program loads the model by its folder and makes a video; sound does not fit."""
    wishes = {"prompt": "a red ball", "width": 96, "height": 64, "seconds": 0.3, "steps": 2}
    async with http(run, TOKEN) as client:
        shown = (await client.get("/api/engine", timeout=60)).json()["engine"]
        assert (shown["state"], shown["model_type"], shown["answers"]) == ("ready", "video", False)
        assert "-m server.features.generation.worker" in shown["command"]
        assert "--flow-shift 5 --vae-tiling" in shown["command"]
        assert run.program.engines.current.name == "builtin"
        reply = await client.post("/api/engine/sound", json={"prompt": "x"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, "wrong_model")
        assert "a video model" in reply.json()["error"]["message"]
        assert "text to speech" in reply.json()["error"]["message"]
        reply = await client.post("/api/engine/video", json=wishes)
        assert (reply.status_code, reply.json()["takes"]["backend"]) == (202, "diffusers")
        making = run.program.added.provided[GenerationJob]
        await soon(lambda: making.progress.state is not JobState.WORKING, 60)
        assert making.progress.error is None
        reply = await client.get("/api/engine/video/result")
        assert len(decoded(reply.content)) == 5


async def test_a_failing_model_says_so_without_what_was_asked(
    workers: dict[str, GenerationRuntime],
) -> None:
    """The class of the failure and its place, and the model goes on."""
    model = workers["words"]
    with pytest.raises(EngineError) as caught:
        # No size that the pipeline takes, sent past every check
        await all_of(
            model,
            VideoRequest(prompt="secret words", steps=1, seed=7, width=50, height=50, frames=5),
        )
    assert isinstance(caught.value, EngineFailed)
    assert "ValueError" in caught.value.message
    assert "secret" not in caught.value.message
    assert (await all_of(model, video(model)))[-1].type == "end"


async def test_what_can_not_be_loaded_has_a_sentence(models: Path, tmp_path: Path) -> None:
    """No folder, broken weights, a program of its own that would run: each says what to do."""
    broken = shutil.copytree(models / "speech", tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (own := tmp_path / "own" / "vae").mkdir(parents=True)
    (own / "mine.py").write_text("raise SystemExit(3)")
    (own.parent / "model_index.json").write_text('{"vae": ["mine", "Vae"]}')
    cases = {
        tmp_path / "nowhere": "folder does not exist",
        broken: "Fetch the model again",
        own.parent: "Python code (vae/mine.py)",
    }

    async def refusal(folder: Path) -> str:
        one = worker(folder)
        try:
            with pytest.raises(StartFailed) as caught:
                await one.start()
            return caught.value.message
        finally:
            await one.stop()

    said = await asyncio.gather(*map(refusal, cases))
    for words, sentence in zip(cases.values(), said, strict=True):
        assert words in sentence


async def test_nothing_loaded_and_stopped(
    workers: dict[str, GenerationRuntime], run: Running
) -> None:
    """Stopping gives the memory back, and what is asked for then says what to start."""
    async with http(run, TOKEN) as client:
        reply = await client.post("/api/engine/stop", json={}, timeout=60)
        assert reply.json()["engine"]["state"] == "idle"
        reply = await client.post("/api/engine/video", json={"prompt": "x"})
        assert reply.json()["error"]["code"] == "wrong_model"
        assert "No model is loaded. This needs a model for text to video" in reply.text
        assert workers["words"]._worker.pid is None
