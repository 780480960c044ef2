"""The recogniser and the end-of-turn model that the settings name, in the whole server."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config import load
from scripts.bench.live_encoder import LiveEncoder, Scene
from scripts.bench.voice_peer import VoicePeer
from server.features.voice_in import listening as turn_checks
from server.features.voice_in.local_recogniser import LocalRecogniser
from server.features.voice_in.server_recogniser import ServerRecogniser
from server.features.voice_in.service import ListeningService
from server.features.voice_in.settings import VoiceInSettings
from server.shared.speech.errors import SpeechUnavailable
from tests.support import onnx_model
from tests.support.clients import http, page_of, soon
from tests.support.running import Running, running
from tests.support.sounds import HALVES, hiss, needs_espeak, silence, spoken
from tests.support.transcription_server import TranscriptionServer


def of(run: Running) -> ListeningService:
    found: ListeningService = run.program.feature("voice_in")
    return found


def service(**given: Any) -> ListeningService:
    settings = load(None, **given)
    return ListeningService(VoiceInSettings.of(settings), settings.engine_python)


async def health(run: Running, part: str = "recogniser") -> Any:
    async with http(run) as client:
        return (await client.get("/health")).json()[part]


async def test_no_recogniser_by_default() -> None:
    """Nothing is asked, and clients hear that there is none."""
    async with running() as run:
        assert of(run).recogniser is None
        assert await health(run) is None
        async with page_of(run) as page:
            assert page.seen[0]["features"]["voice_in"]["recogniser"] is False


async def test_a_recogniser_that_answers() -> None:
    """Clients hear of it, and again when it is gone; /health says why."""
    async with (
        TranscriptionServer() as server,
        running(transcription_base_url=server.base_url, transcription_api_key="k") as run,
    ):
        speech = of(run)
        assert isinstance(speech.recogniser, ServerRecogniser)
        recogniser = speech.recogniser
        await soon(lambda: recogniser.ready)
        assert await health(run) == {"name": "transcriptions", "state": "ready", "detail": ""}
        async with page_of(run) as page:
            assert page.seen[0]["features"]["voice_in"]["recogniser"] is True
            server.key = "other"
            await speech.probe()
            assert (await page.next("ready"))["features"]["voice_in"]["recogniser"] is False
        found = await health(run)
        assert found["state"] == "unreachable"
        assert "TRANSCRIPTION_API_KEY" in found["detail"]


async def test_a_local_recogniser_that_cannot_be_loaded(tmp_path: Path) -> None:
    """The server runs without it, and /health says why; a server's address goes before it."""
    async with running(transcription_local_model=tmp_path, engine_python="/nowhere") as run:
        speech = of(run)
        assert isinstance(speech.recogniser, LocalRecogniser)
        with pytest.raises(SpeechUnavailable):
            await speech.recogniser.wait()
        found = await health(run)
        assert (found["name"], found["state"]) == ("local", "unreachable")
        assert "ENGINE_PYTHON" in found["detail"]
    both = load(
        None, transcription_base_url="http://127.0.0.1:9/v1", transcription_local_model=tmp_path
    )
    assert isinstance(ListeningService(VoiceInSettings.of(both), None).recogniser, ServerRecogniser)


# In place of a worker whose model cannot be loaded, and of one that dies
WORKER = """#!{python}
import sys
sys.path.insert(0, {root!r})
from server.shared.processes.wire import encode
sys.stdout.buffer.write(encode({message!r}))
"""


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"type": "failed", "message": "no weights"}, "whisper could not be loaded (no weights)"),
        ({"type": "ready"}, "process ended"),
    ],
)
async def test_a_chosen_recogniser_that_fails_names_the_panel(
    tmp_path: Path, message: dict[str, str], words: str
) -> None:
    """No setting names its folder, and it needs no new start of the server."""
    folder, python = tmp_path / "whisper", tmp_path / "python"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    root = str(Path(__file__).resolve().parents[3])
    python.write_text(WORKER.format(python=sys.executable, root=root, message=message))
    python.chmod(0o700)
    speech = service(engine_python=python, transcription_local_model=folder)
    try:
        settled = speech.recogniser
        assert isinstance(settled, LocalRecogniser)
        settled.start()
        await speech.choose(str(folder))
        assert speech.asr.chosen is not None
        chosen = speech.asr.chosen[1]
        await soon(lambda: words in settled.trouble and words in chosen.trouble)
        assert chosen.trouble.endswith("in the operator's panel.")
        assert "panel" not in settled.trouble
    finally:
        await speech.close()


async def test_a_local_model_loads_before_it_works(tmp_path: Path) -> None:
    """Nobody reads that it does not work until that is known; afterwards they do."""
    # In place of a worker that loads for long
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o700)
    one = service(engine_python=python, transcription_local_model=tmp_path)
    local = one.recogniser
    assert isinstance(local, LocalRecogniser)
    try:
        local.start()
        await soon(lambda: local.pid is not None)
        assert (one.seen()["recogniser"]["state"], one.seen()["recogniser"]["name"]) == (
            "loading",
            "local",
        )
        local.kill()
        await soon(lambda: not local.loading)
        assert one.seen()["recogniser"]["state"] == "unreachable"
        assert "process ended" in one.seen()["recogniser"]["detail"]
    finally:
        await one.close()


# The model for the end of turns


def turn_settings(folder: Path, likelihood: float) -> dict[str, Any]:
    """Settings with a model that calls each turn complete with the same likelihood."""
    file, sha256 = onnx_model.written(folder, onnx_model.turn_model(likelihood))
    return {"end_of_turn_model": file, "end_of_turn_sha256": sha256}


async def metric(run: Running, name: str) -> dict[str, float]:
    """Return the values of a metric by its one label."""
    async with http(run) as client:
        text = (await client.get("/metrics")).text
    return {
        label: float(value)
        for label, value in re.findall(rf'^qwen_camera_{name}{{\w+="(\w+)"}} (\S+)$', text, re.M)
    }


async def test_no_end_of_turn_model_by_default(tmp_path: Path) -> None:
    """Silence ends turns; without a microphone a model is not even loaded."""
    nothing = tmp_path / "none.onnx"
    for settings in (
        {},
        {"end_of_turn_model": nothing, "end_of_turn_sha256": "0" * 64, "microphone": False},
    ):
        async with running(**settings) as run:
            assert await health(run, "end_of_turn") is None
            assert await metric(run, "turn_model") == {}


@pytest.mark.parametrize(
    ("given", "reason"),
    [("missing", "cannot be read"), ("sha256", "another SHA-256"), ("text", "cannot load")],
)
async def test_an_end_of_turn_model_that_cannot_be_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, given: str, reason: str
) -> None:
    """The server runs without it; the log, /health and a metric say so, once each."""
    settings = turn_settings(tmp_path, 0.9)
    if given == "missing":
        settings["end_of_turn_model"] = tmp_path / "none.onnx"
    elif given == "sha256":
        settings["end_of_turn_sha256"] = "0" * 64
    else:
        file, sha256 = onnx_model.written(tmp_path, b"no model")
        settings = {"end_of_turn_model": file, "end_of_turn_sha256": sha256}
    async with running(**settings) as run:
        found = await health(run, "end_of_turn")
        assert (found["name"], found["state"]) == (
            settings["end_of_turn_model"].name,
            "misconfigured",
        )
        assert reason in found["detail"]
        assert await metric(run, "turn_model") == {"misconfigured": 1}
    lines = [record for record in caplog.records if "END_OF_TURN_MODEL" in record.message]
    assert len(lines) == 1
    assert reason in vars(lines[0])["reason"]


@pytest.mark.slow
@needs_espeak
@pytest.mark.parametrize(("likelihood", "turns"), [(None, 2), (0.1, 1)])
async def test_a_pause_within_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, likelihood: float | None, turns: int
) -> None:
    """Spoken into a microphone over WebRTC, with 1.2 s of silence in the middle: two questions, and one
    where the model calls its first half unfinished.
    """
    # On a busy machine, too, no check is slow.
    monkeypatch.setattr(turn_checks, "ANSWER_SECONDS", 30.0)
    settings = turn_settings(tmp_path, likelihood) if likelihood is not None else {}
    first, second = (spoken(half) for half in HALVES[0])
    sentence = np.concatenate([first, silence(1.2), second])
    encoder = LiveEncoder(Scene(640, 480), rate=10)
    try:
        async with (
            TranscriptionServer() as words,
            running(transcription_base_url=words.base_url, **settings) as run,
        ):
            recogniser = of(run).recogniser
            assert recogniser is not None
            await soon(lambda: recogniser.ready)
            async with VoicePeer(run.base_url, encoder) as peer:
                await peer.listen(silence_ms=500, speak=False)
                peer.microphone.room = hiss(10)
                await peer.microphone.say(sentence)
                # The words of a turn that ended in the pause have come by now.
                since = peer.seen
                await peer.wait_for(
                    lambda m: m["type"] == "transcript" and m["final"], timeout=30, since=since
                )
                assert len(words.requests) == turns
            found = await metric(run, "turn_checks_total")
            assert found.get("incomplete", 0) >= (4 if turns == 1 else 0)
            assert not set(found) - {"incomplete", "unused"}
    finally:
        await encoder.close()
