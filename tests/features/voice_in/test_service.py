"""The recogniser and the end-of-turn model that the settings name, in the whole server."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from config import ConfigError, load
from scripts.bench.live_encoder import LiveEncoder, Scene
from scripts.bench.voice_peer import VoicePeer
from server.core.sound import Sound
from server.features.voice_in import listening as turn_checks
from server.features.voice_in.recogniser import LocalRecogniser, ServerRecogniser
from server.features.voice_in.service import ListeningService
from server.features.voice_in.settings import VoiceInSettings
from server.shared.speech import SpeechUnavailable
from tests.project.test_config import read, refused
from tests.support import onnx_model
from tests.support.clients import Page, http, page_of, soon
from tests.support.running import Running, running
from tests.support.sounds import (
    HALVES,
    make_hiss,
    make_silence,
    needs_espeak,
    stream,
    synthesise_espeak,
)
from tests.support.speech_server import TranscriptionServer


def of(run: Running) -> ListeningService:
    found: ListeningService = run.program.added.provided[ListeningService]
    return found


def service(**given: Any) -> ListeningService:
    settings = load(None, **given)
    return ListeningService(VoiceInSettings.of(settings), settings.engine_python, {})


async def health(run: Running, part: str = "recogniser") -> Any:
    async with http(run) as client:
        return (await client.get("/health")).json()[part]


@pytest.mark.slow
async def test_a_recogniser_that_answers() -> None:
    """Clients hear of it, and again when it is gone; /health says why."""
    async with (
        TranscriptionServer() as server,
        running(transcription_base_url=server.base_url, transcription_api_key="k") as run,
    ):
        recogniser = of(run).asr.settled
        assert isinstance(recogniser, ServerRecogniser)
        await soon(lambda: recogniser.ready)
        assert await health(run) == {"name": "transcriptions", "state": "ready", "detail": ""}
        async with page_of(run) as page:
            assert page.seen[0]["features"]["voice_in"]["recogniser"] is True
            server.key = "other"
            await recogniser.probe()
            assert (await page.next("ready"))["features"]["voice_in"]["recogniser"] is False
        found = await health(run)
        assert found["state"] == "unreachable"
        assert "TRANSCRIPTION_API_KEY" in found["detail"]


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
        settled = speech.asr.settled
        assert isinstance(settled, LocalRecogniser)
        settled.start()
        await speech.choose(str(folder))
        assert speech.asr.chosen is not None
        chosen = speech.asr.chosen[1]
        await soon(lambda: words in settled.trouble and words in chosen.trouble)
        assert chosen.trouble.endswith("in the operator's panel.")
        assert "panel" not in settled.trouble
    finally:
        await speech.asr.close()


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
    lines = [
        record for record in caplog.records if "end-of-turn model not loaded" in record.message
    ]
    assert len(lines) == 1
    assert reason in vars(lines[0])["reason"]


@pytest.mark.slow
@needs_espeak
async def test_a_pause_within_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spoken into a microphone over WebRTC, with 1.2 s of silence in the middle: one question, where the model calls
    its first half unfinished.
    """
    # On a busy machine, too, no check is slow.
    monkeypatch.setattr(turn_checks, "ANSWER_SECONDS", 30.0)
    settings = turn_settings(tmp_path, 0.1)
    first, second = (synthesise_espeak(half) for half in HALVES[0])
    sentence = np.concatenate([first, make_silence(1.2), second])
    encoder = LiveEncoder(Scene(640, 480), rate=10)
    try:
        async with (
            TranscriptionServer() as words,
            running(transcription_base_url=words.base_url, **settings) as run,
        ):
            await soon(lambda: of(run).asr.ready)
            async with VoicePeer(run.base_url, encoder) as peer:
                await peer.listen(silence_ms=500, speak=False)
                peer.microphone.room = make_hiss(10)
                await peer.microphone.say(sentence)
                # The words of a turn that ended in the pause have come by now.
                since = peer.seen
                await peer.wait_for(
                    lambda m: m["type"] == "transcript" and m["final"], timeout=30, since=since
                )
                assert len(words.requests) == 1
            found = await metric(run, "turn_checks_total")
            assert found.get("incomplete", 0) >= 4
            assert not set(found) - {"incomplete", "unused"}
    finally:
        await encoder.close()


# The settings of the microphone


def test_the_end_of_turn_model_needs_its_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file itself is read at the start, and may be missing."""
    message = refused(monkeypatch, END_OF_TURN_MODEL="/nowhere/turn.onnx")
    assert message.startswith("END_OF_TURN_SHA256 is empty.")
    found = read(monkeypatch, END_OF_TURN_MODEL="~/turn.onnx", END_OF_TURN_SHA256="5F" * 32)
    assert VoiceInSettings.of(found).end_of_turn_model == Path.home() / "turn.onnx"


def test_a_bad_address_stops_the_start() -> None:
    """As any bad setting."""
    with pytest.raises(ConfigError, match="TRANSCRIPTION_BASE_URL"):
        load(None, transcription_base_url="ftp://127.0.0.1")


# The operator's routes for speech: who gets in, and a local recogniser that is chosen and ended


OPERATOR = "operator-token-of-this-test"
PATH = "/api/operator/speech"
SOUND = Sound(np.arange(-8000, 8000).astype(np.int16), 0.0)


async def chosen(client: httpx.AsyncClient, state: str) -> Any:
    """Wait until the chosen recogniser is in this state."""
    async with asyncio.timeout(120):
        while True:
            found = (await client.get(PATH)).json()["chosen"]
            if found is not None and found["state"] == state:
                return found
            await asyncio.sleep(0.05)


async def listens(page: Page, recogniser: bool) -> None:
    """Wait for a `ready` that says whether there is a recogniser."""
    while (await page.next("ready"))["features"]["voice_in"]["recogniser"] is not recogniser:
        pass


@pytest.mark.parametrize("only", [{}, {"features": "voice_in"}, {"features": "voice_out"}])
async def test_without_speech(only: dict[str, str]) -> None:
    """Also with one direction alone; a recogniser can be chosen only where there are spoken questions."""
    async with running(operator_token=OPERATOR, **only) as run, http(run, OPERATOR) as client:
        nothing = {"recogniser": None, "voice": None, "chosen": None}
        assert (await client.get(PATH)).json() == nothing
        left = await client.delete(f"{PATH}/recogniser")
        if only.get("features") == "voice_out":
            assert left.status_code == 404
        else:
            assert left.json() == nothing
            with pytest.raises(SpeechUnavailable, match="No recogniser is set"):
                await anext(of(run).asr.recognise(stream(SOUND), language=None))


async def test_what_is_no_folder_of_a_model_is_refused() -> None:
    # Also paths that no file system takes
    folders = ("", "  ", 5, None, "whisper", "/nowhere/whisper", "/\0", "/" + "a" * 300, "a" * 2000)
    async with running(operator_token=OPERATOR) as run, http(run, OPERATOR) as client:
        for folder in folders:
            answer = await client.post(f"{PATH}/recogniser", json={"folder": folder})
            assert answer.status_code == 400
            assert "folder" in answer.text
        assert of(run).asr.chosen is None


async def test_one_that_fails_leaves_that_of_the_settings(tmp_path: Path) -> None:
    """It says why; words still come from the server, and do when it is taken away."""
    (tmp_path / "config.json").write_text("{}")
    async with (
        TranscriptionServer() as server,
        running(
            transcription_base_url=server.base_url,
            operator_token=OPERATOR,
            engine_python="/nowhere",
        ) as run,
        http(run, OPERATOR) as client,
    ):
        ear = of(run).asr
        await soon(lambda: ear.ready)
        answer = await client.post(f"{PATH}/recogniser", json={"folder": str(tmp_path)})
        assert answer.status_code == 202
        found = await chosen(client, "unreachable")
        assert found["folder"] == tmp_path.name
        assert "ENGINE_PYTHON" in found["detail"]
        # A folder that the settings do not name
        assert (ear.now, ear.ready) == (ear.settled, True)
        assert [words.text async for words in ear.recognise(stream(SOUND), language=None)][
            -1
        ].strip()
        left = (await client.delete(f"{PATH}/recogniser")).json()
        assert (left["chosen"], left["recogniser"]["state"]) == (None, "ready")
