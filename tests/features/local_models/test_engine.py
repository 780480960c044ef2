"""The local engine with true workers: tiny models, in the environment that has torch."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from server.core.errors import (
    EngineFailed,
    EngineLoading,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
)
from server.core.frames import BoxUnit, Geometry, Picture
from server.core.sound import SOUND_RATE, Sound
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.engine_log import LoadProgress
from server.features.hosting.catalogue.entry import RunMode
from server.features.hosting.hosting import Hosting
from server.features.hosting.runtime import StartFailed
from server.features.hosting.status import ManagerState
from server.features.local_models.engine import LocalEngine, TimeLimits
from server.features.openai_api.request import make_program_system_text
from server.media.picture import encode
from server.models.base import (
    Author,
    Chunk,
    Delta,
    Engine,
    EngineRequest,
    EngineState,
    Finished,
    Message,
    Shown,
    ShownPicture,
    Thought,
    Turn,
    Words,
)
from server.models.prompts import make_system_text
from server.models.thinking import ThinkingLimits
from server.shared.processes import reaper
from tests.real_model.server import (
    ASK_COLOR,
    ASK_SONG,
    COLORS,
    PYTHON,
    THOUGHTS,
    run_module,
)
from tests.support.answers import collect
from tests.support.children import alive
from tests.support.clients import soon
from tests.support.fakes import make_request
from tests.support.running import running

# Tokens of an answer that is far from its end whenever a test stops it.
SONG = 3000
LOADS = 60.0
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """So small a model is no quicker on more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


class Heard:
    """The reports to a manager."""

    def __init__(self) -> None:
        self.progress: list[LoadProgress] = []
        self.lines: list[str] = []


def local(
    folder: Path,
    *options: str,
    python: Path = PYTHON,
    own_code: bool = True,
    heard: Heard | None = None,
    thinking: ThinkingLimits | None = None,
) -> LocalEngine:
    """With the catalogue's words, which is not asked: it would refuse a damaged folder."""
    heard = heard or Heard()
    words = [str(python), "-m", "server.features.local_models.worker", "--model", str(folder)]
    words += [*options, *(["--trust-remote-code"] if own_code else [])]
    return LocalEngine(
        folder,
        words,
        env={},
        own_code=own_code,
        on_progress=heard.progress.append,
        on_line=heard.lines.append,
        thinking=thinking or ThinkingLimits(),
    )


@asynccontextmanager
async def started(*engines: LocalEngine) -> AsyncIterator[tuple[LocalEngine, ...]]:
    """Load them, all at once, and close them in any case."""
    try:
        await asyncio.gather(*(one.start() for one in engines))
        yield engines
    finally:
        for one in engines:
            await one.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loaded(tiny_model: Path) -> AsyncIterator[tuple[LocalEngine, Heard]]:
    heard = Heard()
    async with started(local(tiny_model, heard=heard)) as (one,):
        yield one, heard


@pytest.fixture
def engine(loaded: tuple[LocalEngine, Heard]) -> LocalEngine:
    return loaded[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def others(random_models: Path) -> AsyncIterator[dict[str, LocalEngine]]:
    """A Qwen3-VL and a Qwen2.5-Omni's part, by the names of their folders."""
    options = {"qwen3_vl": ("--context", "1024"), "qwen2_5_omni": ()}
    engines = {
        name: local(random_models / name, *words, own_code=False) for name, words in options.items()
    }
    async with started(*engines.values()):
        yield engines
    assert {one._worker.pid for one in engines.values()} == {None}


def request(question: str, color: str = "red", max_tokens: int = 64, **more: Any) -> EngineRequest:
    """A question about a picture of one colour."""
    bgr = np.full((196, 252, 3), COLORS[color][::-1], np.uint8)
    picture = Picture(
        "f", 1.0, None, 1280, 720, 252, 196, 63, encode.encode_jpeg(bgr), None, None, 0.003
    )
    return make_request(question, picture, max_tokens=max_tokens, **more)


async def steps(engine: LocalEngine) -> int:
    """The worker's own count of the model's steps."""
    worker, told = engine._worker, asyncio.Queue[int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_on_other", lambda said: told.put_nowait(said.header["steps"]))
        worker.send({"type": "state"})
        async with asyncio.timeout(10):
            return await told.get()


async def rests(engine: LocalEngine, seconds: float = 0.1) -> bool:
    """By the model's own count of steps, which goes no further."""
    stopped = await steps(engine)
    await asyncio.sleep(seconds)
    return await steps(engine) == stopped


async def begun(engine: LocalEngine) -> AsyncGenerator[Chunk, None]:
    """A song that is going on."""
    song = engine.answer(request(ASK_SONG, max_tokens=SONG))
    for _ in range(20):
        await anext(song)
    return song


async def test_it_says_what_it_is(loaded: tuple[LocalEngine, Heard]) -> None:
    engine, _ = loaded
    status = await engine.probe()
    assert (status.state, status.model) == (EngineState.READY, "tiny")
    able = status.capabilities
    assert able.geometry == Geometry(28, 784, 64 * 28 * 28)
    assert (able.context_length, able.max_concurrency, able.wants_pixels) == (8192, 1, False)
    assert (able.grounding, able.boxes) == (True, BoxUnit.PIXELS)


async def test_loading_is_told_step_by_step(loaded: tuple[LocalEngine, Heard]) -> None:
    _, heard = loaded
    phases = list(dict.fromkeys(one.phase for one in heard.progress))
    assert phases == [
        "checking the files",
        "starting torch and transformers",
        "loading the processor",
        "loading weights",
        "trying it",
    ]
    weights = [one for one in heard.progress if one.phase == "loading weights"]
    steps = [(one.percent or 0.0, one.done_bytes or 0) for one in weights]
    assert steps == sorted(steps)
    assert len(steps) > 10
    (total,) = {one.total_bytes for one in weights}
    assert steps[-1] == (100.0, total)
    assert 0 < (total or 0) < 3e6


@pytest.mark.parametrize("color", COLORS)
async def test_pixels_become_words(engine: LocalEngine, color: str) -> None:
    """The picture alone decides the answer; it comes in pieces, and with the model's own counts."""
    pieces, end = await collect(engine, request(ASK_COLOR, color))
    assert "".join(pieces) == f"It is {color}."
    assert len(pieces) >= 2
    assert (end.finish_reason, end.usage.completion_tokens) == ("stop", 4)
    assert (end.usage.prompt_tokens or 0) > 63


async def test_earlier_pictures_reach_the_model(engine: LocalEngine) -> None:
    alone = request(ASK_COLOR, "red")
    earlier = tuple(
        ShownPicture(request(ASK_COLOR, color).picture, "It is red.") for color in COLORS
    )
    together = request(ASK_COLOR, "red", earlier=earlier)
    prompts = [
        (await collect(engine, one))[1].usage.prompt_tokens or 0 for one in (alone, together)
    ]
    assert prompts[1] - prompts[0] > len(COLORS) * 63


async def test_the_limit_ends_an_answer(engine: LocalEngine) -> None:
    pieces, end = await collect(engine, request(ASK_SONG, max_tokens=20))
    assert "".join(pieces).split() == ["la"] * 20
    assert (end.finish_reason, end.usage.completion_tokens) == ("length", 20)


async def test_closing_stops_the_generation(engine: LocalEngine) -> None:
    """By the model's own count of steps: it has run about as often as words came, and runs no more."""
    before = await steps(engine)
    song = await begun(engine)
    await song.aclose()
    assert 20 <= await steps(engine) - before < SONG / 4
    assert await rests(engine, 0.2)
    assert "".join((await collect(engine, request(ASK_COLOR)))[0]) == "It is red."


async def test_a_cancelled_consumer_stops_it_before_the_first_word(engine: LocalEngine) -> None:
    """One that waits for its turn and one whose prompt is being read are both taken back."""
    song = await begun(engine)
    waiting = asyncio.create_task(collect(engine, request(ASK_SONG, max_tokens=SONG)))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait([waiting])
    await song.aclose()
    reading = asyncio.create_task(collect(engine, request(ASK_SONG, max_tokens=SONG)))
    await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.wait([reading])
    assert await rests(engine)
    assert not engine._worker.busy


async def test_a_broken_picture_is_an_error(engine: LocalEngine) -> None:
    broken = request(ASK_COLOR)
    object.__setattr__(broken.picture, "jpeg", b"\xff\xd8 not really a picture \xff\xd9")
    with pytest.raises(EngineFailed, match="picture"):
        await collect(engine, broken)
    assert "".join((await collect(engine, request(ASK_COLOR, "blue")))[0]) == "It is blue."


async def test_what_does_not_fit_into_the_context(engine: LocalEngine) -> None:
    """The oldest turns go first; a question that is too long is no answer and no crash."""
    turns = tuple(Turn("why? " * 400, "so! " * 400) for _ in range(4))
    _, end = await collect(engine, request(ASK_COLOR, turns=turns, max_tokens=16))
    assert 3000 < (end.usage.prompt_tokens or 0) <= 8192 - 16
    with pytest.raises(EngineRefused, match="8,192 tokens"):
        await collect(engine, request("why? " * 3000, turns=turns))
    assert (await collect(engine, request(ASK_COLOR)))[1].finish_reason == "stop"


async def test_a_programs_conversation(engine: LocalEngine) -> None:
    """Its pictures reach the model at their places; when it is too long, the oldest messages go and the pictures stay."""

    def chat(*said: str, words: str = "why? ") -> EngineRequest:
        messages = (
            Message(Author.SYSTEM, (Words(make_program_system_text("")),)),
            Message(Author.USER, (Words("Before"), Shown(1), Shown(0))),
            *(
                Message(Author.USER if one == "user" else Author.ASSISTANT, (Words(words),))
                for one in said
            ),
            Message(Author.USER, (Words(ASK_COLOR),)),
        )
        earlier = (ShownPicture(request(ASK_COLOR, "red").picture, "Before:"),)
        return request(ASK_COLOR, "blue", max_tokens=16, messages=messages, earlier=earlier)

    _, end = await collect(engine, chat("assistant"))
    assert (end.usage.prompt_tokens or 0) > 2 * 63
    # Also two of one side in a row, which leave an even number
    for said in (("assistant", "user", "assistant"), ("assistant", "user", "user", "assistant")):
        _, end = await collect(engine, chat(*said, words="why? " * 800))
        assert 2 * 63 < (end.usage.prompt_tokens or 0) <= 8192 - 16
    with pytest.raises(EngineRefused, match="8,192 tokens"):
        await collect(engine, _too_long(chat("user")))
    assert "".join((await collect(engine, request(ASK_COLOR, "blue")))[0]) == "It is blue."


def _too_long(one: EngineRequest) -> EngineRequest:
    """The same with a last message that no context holds."""
    *before, last = one.messages
    last = dataclasses.replace(last, parts=(Words("why? " * 3000),))
    return dataclasses.replace(one, messages=(*before, last))


async def test_silence_and_length_have_their_limits(engine: LocalEngine) -> None:
    usual = engine._limits
    engine._limits = TimeLimits(total=0.3)
    try:
        with pytest.raises(EngineTimeout, match="shorter"):
            await collect(engine, request(ASK_SONG, max_tokens=SONG))
        engine._limits = TimeLimits(first_token=0.001)
        with pytest.raises(EngineTimeout, match="begin to answer"):
            await collect(engine, request(ASK_SONG, max_tokens=SONG))
    finally:
        engine._limits = usual
    assert await rests(engine)


async def test_one_that_hangs_is_killed(random_models: Path) -> None:
    """A Gemma 3 answers; hanging, soon: a clear error, no spliced answer, no more answers."""
    heard = Heard()
    async with started(local(random_models / "gemma3", own_code=False, heard=heard)) as (engine,):
        assert engine.status.capabilities.context_length == 2048
        await random_words(engine)
        engine._limits = TimeLimits(silent=1.0, between_tokens=60.0)
        assert (await engine.probe()).ready
        await steps(engine)
        await asyncio.sleep(1.2)
        # It has answered in time.
        assert (await engine.probe()).ready
        song = engine.answer(request(ASK_SONG, max_tokens=1000))
        begin = [await anext(song) for _ in range(20)]
        said = "".join(one.text for one in begin if isinstance(one, Delta))
        assert said.strip()
        assert engine._worker.pid is not None
        (worker,) = reaper.list_descendants(engine._worker.pid)
        os.kill(worker, signal.SIGSTOP)

        async def look() -> None:
            while engine._worker.pid is not None:
                await engine.probe()
                await asyncio.sleep(0.05)

        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(look())
            with pytest.raises(EngineFailed, match=r"ended in mid-answer.* again"):
                async for _ in song:
                    pass
        assert engine.ended.is_set()
        assert (await engine.probe()).state is EngineState.UNREACHABLE
        assert "SIGKILL" in engine.status.detail
        with pytest.raises(EngineUnavailable):
            await collect(engine, request(ASK_COLOR))
    assert not any(ASK_SONG in line or said[:10] in line for line in heard.lines)


@pytest.mark.night
async def test_other_makes(others: dict[str, LocalEngine]) -> None:
    """Of each: pieces, counts and limits hold."""
    able = others["qwen3_vl"].status.capabilities
    assert (able.context_length, able.geometry) == (1024, Geometry(32, 65_536, 16_777_216))
    # Its own is shorter than what is asked for.
    assert others["qwen2_5_omni"].status.capabilities.context_length == 2048
    for engine in others.values():
        await random_words(engine)


def asked(question: str = "What barks?", **changes: Any) -> EngineRequest:
    return request(question, max_tokens=4, **changes)


def noise(seconds: float) -> Sound:
    samples = np.random.default_rng(1).integers(-9000, 9000, int(seconds * SOUND_RATE))
    return Sound(samples.astype(np.int16), 0.0)


async def test_an_omni_model_hears(others: dict[str, LocalEngine]) -> None:
    """Sound takes its tokens in the prompt, beside one picture and beside several; without ears it takes none."""
    omni, qwen = others["qwen2_5_omni"], others["qwen3_vl"]

    async def tokens(engine: LocalEngine, **changes: Any) -> tuple[int, bool]:
        _, end = await collect(engine, asked(**changes))
        return end.usage.prompt_tokens or 0, end.sound_refused

    spoken = {"spoken": True}
    assert omni.status.capabilities.audio_in
    assert not qwen.status.capabilities.audio_in
    plain, _ = await tokens(omni)
    # 25 a second, and the marks around them
    assert await tokens(omni, sound=noise(1.0), **spoken) == (plain + 27, False)
    assert await tokens(omni, sound=noise(2.0), **spoken) == (plain + 52, False)
    earlier = tuple(ShownPicture(asked().picture, f"{n}:", number=n) for n in (1, 2))
    several, _ = await tokens(omni, earlier=earlier)
    scene, refused = await tokens(omni, earlier=earlier, sound=noise(2.0))
    # The words before the scene's sound, too
    assert scene > several + 52
    assert not refused
    # Words alone: no ears, nothing to hear, and nothing but the sound
    deaf, _ = await tokens(qwen)
    assert await tokens(qwen, sound=noise(1.0), **spoken) == (deaf, True)
    assert await tokens(omni, sound=noise(0.0), **spoken) == (plain, True)
    with pytest.raises(EngineRefused, match="takes no sound"):
        await collect(qwen, asked("", sound=noise(1.0), **spoken))


async def test_a_worker_that_cannot_use_a_sound_answers_the_words(
    others: dict[str, LocalEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so before the answer begins, and is asked again without it."""
    omni = others["qwen2_5_omni"]
    plain = await collect(omni, asked())
    send = omni._worker.send

    def cut(header: dict[str, Any], payload: bytes = b"") -> None:
        if header.get("sound"):
            header, payload = {**header, "sound": header["sound"] - 1}, payload[:-1]
        send(header, payload)

    monkeypatch.setattr(omni._worker, "send", cut)
    pieces, end = await collect(omni, asked(sound=noise(1.0), spoken=True))
    assert pieces == plain[0]
    assert end.sound_refused


@pytest.fixture(scope="module")
def inside(tiny_model: Path, random_models: Path) -> dict[str, Any]:
    """Facts that cannot be seen from outside of a worker, found in one process."""
    given = json.dumps(
        {"system": make_system_text(), "question": ASK_COLOR, "color": COLORS["red"]}
    )
    told = run_module("tests.real_model.generating", tiny_model, random_models, given=given)
    found: dict[str, Any] = json.loads(told)
    return found


async def test_the_features_of_a_sound_reach_the_model(inside: dict[str, Any]) -> None:
    """In the model itself: as many tokens as its features need, in the message that it belongs to."""
    found = dict(inside["heard"])
    # With the libraries for videos
    video = found.pop("video", None)
    assert video in (None, {"by_message": [0, 50, 0], "frames": [200]})
    assert found == {
        "hears": True,
        "deaf": False,
        # System, two of a turn, the question, the beginning of the answer
        "spoken": {"by_message": [0, 0, 0, 25, 0], "frames": [100]},
        "silent": {"by_message": [0, 0, 0, 0, 0], "frames": []},
        "scene": {"by_message": [0, 50, 0], "frames": [200]},
        "two messages": {"by_message": [0, 25, 0, 50, 0], "frames": [300]},
        "half a sample": {"error": "sound"},
        "nothing": {"error": "sound"},
    }


async def random_words(engine: Engine) -> int:
    """Tokens of the prompt. The model's own marks in a question are no second picture."""
    asked = "<image><|image_pad|><end_of_utterance><row_1_col_1><start_of_image><end_of_turn> What is this?"
    pieces, end = await collect(engine, request(asked, max_tokens=24))
    assert end.finish_reason in ("stop", "length")
    assert 1 <= (end.usage.completion_tokens or 0) <= 24
    assert (end.usage.prompt_tokens or 0) > 20
    assert all(pieces)
    assert not re.search(r"<[a-z_|]+>", "".join(pieces))
    return end.usage.prompt_tokens or 0


async def thought(engine: LocalEngine, max_tokens: int = 8) -> tuple[str, str, Finished, int]:
    """The answer, the thoughts, its end, and how many tokens the model made."""
    before = await steps(engine)
    text = thoughts = ""
    async for chunk in engine.answer(request(ASK_COLOR, max_tokens=max_tokens)):
        if isinstance(chunk, Finished):
            return text, thoughts.strip(), chunk, await steps(engine) - before
        if isinstance(chunk, Delta):
            text += chunk.text
        elif isinstance(chunk, Thought):
            thoughts += chunk.text
    raise AssertionError("no end")


@pytest.mark.night
async def test_models_that_think(random_models: Path) -> None:
    """Thinking is switched off where the template can; else it has tokens of its own above those of
    the answer.

    RESPONSE_MAX_TOKENS (8 here) is less than the thoughts take, and holds for the answer alone.
    """
    on = local(random_models / "switch", thinking=ThinkingLimits(wanted=True))
    off, opened = local(random_models / "switch"), local(random_models / "opened")
    async with started(on, off, opened):
        assert (await thought(off))[:2] == ("It is red.", "")
        for engine in (on, opened):
            text, thoughts, end, steps = await thought(engine)
            assert (text, thoughts) == ("It is red.", " ".join(THOUGHTS))
            assert end.finish_reason == "stop"
            assert steps <= len(THOUGHTS) + 6
            text, thoughts, end, _ = await thought(engine, max_tokens=2)
            assert (text, thoughts) == ("It is red", " ".join(THOUGHTS))
            assert end.finish_reason == "length"
            # Too few for its thoughts: said, and no empty bubble.
            engine._thinking.limits = ThinkingLimits(wanted=True, max_tokens=3)
            with pytest.raises(EngineRefused, match="limit of reasoning"):
                await thought(engine, max_tokens=2)


async def test_an_operator_switches_models(tiny_model: Path, random_models: Path) -> None:
    """A SmolVLM takes the loaded model's place, which gives all memory back; then it goes."""
    settings = {"engine_python": PYTHON, "trust_remote_code": True, "local_model": tiny_model}
    async with running(engine="local", model_max_tokens=6000, **settings) as run:
        hosting = run.program.added.provided[Hosting]
        manager, place = hosting.manager, hosting.active
        await soon(lambda: place.status.ready, LOADS)
        # The setting's context, since the model's own is longer
        assert place.status.capabilities.context_length == 6000
        assert "".join((await collect(place, request(ASK_COLOR)))[0]) == "It is red."
        first = manager.ready_runtime
        assert isinstance(first, LocalEngine)
        choice = Choice(model=str(random_models / "smolvlm"), mode=RunMode.IN_PROCESS)
        assert "server.features.local_models.worker" in (await manager.preview(choice)).shown
        heard: list[str] = []
        phases: list[str] = []
        manager.on_line(heard.append)
        manager.on_change(lambda now: phases.append(now.progress.phase if now.progress else ""))
        await manager.start(choice)
        status = await manager.wait_settled()
        assert (status.state, status.error) == (ManagerState.READY, "")
        assert first.ended.is_set()
        assert "loading weights" in phases
        assert place.status.capabilities.max_concurrency == 1
        # The picture is cut into the 17 tiles that it fills, not the 57 of it made larger, which
        # take 723 tokens more.
        assert await random_words(place) < 1000
        await manager.stop()
        with pytest.raises(EngineUnavailable):
            await collect(place, request(ASK_COLOR))


async def test_a_step_is_stopped_in_its_middle(inside: dict[str, Any]) -> None:
    """In a layer of the first step; without memory only that answer fails."""
    found = {
        name: what for name, what in inside.items() if name not in ("heard", "refused", "no room")
    }
    # A turn less and its words all there: no more than marks, role and line ends are gone.
    assert 0 < found.pop("no system role") < 12
    assert found == {
        "stopped": ["cancelled", 0, 1, [0]],
        "no memory": "memory",
        "after that": ["stop", "It is red."],
        "no end": ["stop", "It is red."],
        "no numbers": "numbers",
        "no template": "template",
    }


# Models that cannot be loaded


async def failing(engine: LocalEngine) -> str:
    """The sentence that a start ends with; nothing of it is left running."""
    try:
        with pytest.raises(StartFailed) as raised:
            await engine.start()
        assert raised.value.message == engine.status.detail
        assert engine._worker.pid is None
        return raised.value.message
    finally:
        await engine.close()


def cpu_of_children() -> float:
    """The processor's seconds of all processes of this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def test_files_that_are_missing_or_damaged(tiny_model: Path, tmp_path: Path) -> None:
    begin = cpu_of_children()
    assert "is not a readable folder" in await failing(local(tmp_path / "none"))
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    assert "float8 format" in await failing(local(copy, "--dtype", "float8 format"))
    weights = copy / "model.safetensors"
    weights.rename(copy / "away")
    assert "no weights" in await failing(local(copy))
    (copy / "config.json").write_text("{")
    assert "damaged" in await failing(local(copy))
    assert "ENGINE_PYTHON" in await failing(local(copy, python=tmp_path / "python"))
    assert cpu_of_children() - begin < 10


async def test_a_python_without_torch_is_named(tiny_model: Path, tmp_path: Path) -> None:
    """The server's own has none: the sentence names it and ENGINE_PYTHON."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S -c "{_NO_TORCH}" "$@"\n')
    python.chmod(0o755)
    said = await failing(local(tiny_model, python=python))
    assert "ENGINE_PYTHON" in said
    assert "ModuleNotFoundError" in said


_NO_TORCH = (
    "import runpy, sys; sys.path.insert(0, '.'); sys.argv = sys.argv[2:];"
    " runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


async def test_code_of_the_models_own_needs_the_flag(tiny_model: Path) -> None:
    """Without TRUST_REMOTE_CODE the tiny model's processor is not run, and said so."""
    assert "TRUST_REMOTE_CODE" in await failing(local(tiny_model, own_code=False))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        # Nothing is made up in their place.
        ("weights of another model", "could not load the model"),
        ("damaged", "tokenizer.json"),
        ("no tokenizer", "could not load the model"),
        ("no processor", "could not load the model"),
    ],
)
async def test_what_loading_refuses(inside: dict[str, Any], fault: str, said: str) -> None:
    """A fault of a folder that shows only while it is loaded is told in transformers' words."""
    assert said in inside["refused"][fault]


async def test_no_memory_is_told_before_it_is_taken(inside: dict[str, Any]) -> None:
    """Under a limit on the process: how much is needed, how much there is, and what to do."""
    code, said = inside["no room"]
    assert code == "memory"
    assert "not enough memory" in said
    assert "4.6 GB" in said
    assert "and this machine has " in said
    assert "smaller model" in said


# Nothing is left behind


async def test_closing_leaves_no_process_and_no_file(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed while it loads: the worker and the copy of the model's code are gone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    engine = local(tiny_model)
    starting = asyncio.create_task(engine.start())
    await soon(lambda: engine._worker.pid is not None, 10)
    pid = engine._worker.pid
    assert pid is not None
    assert list(tmp_path.iterdir())
    with pytest.raises(EngineLoading):
        await collect(engine, request(ASK_COLOR))
    await engine.close()
    await engine.close()
    with pytest.raises(StartFailed):
        await starting
    assert not alive(pid)
    assert engine._worker.pid is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(EngineUnavailable):
        await collect(engine, request(ASK_COLOR))
    assert (await engine.probe()).state is EngineState.UNREACHABLE


@pytest.mark.parametrize(
    ("engine", "names"), [("auto", ["vllm", "local", "builtin"]), ("local", ["local"])]
)
async def test_its_place_among_the_engines(tmp_path: Path, engine: str, names: list[str]) -> None:
    """Between model server and built-in engine; a LOCAL_MODEL that fails ends nothing."""
    folder = tmp_path / "none"
    settings = {"vllm_base_url": "http://127.0.0.1:9/v1", "local_model": folder}
    async with running(engine=engine, **settings) as run:
        assert [one.name for one in run.program.engines.engines] == names
        place = run.program.added.provided[Hosting].active
        await soon(lambda: place.status.state is EngineState.MISCONFIGURED, 20)
        assert str(folder) in place.status.detail
        assert run.program.added.provided[Hosting].manager.get_status().error == place.status.detail
        assert run.program.engines.current.name == names[-1]
