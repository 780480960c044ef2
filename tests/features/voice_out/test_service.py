"""The voice that the settings name, in the whole server."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from config import ConfigError
from server.features.voice_out import voices
from server.features.voice_out.voices import LocalVoice, VoiceService
from server.shared.speech import SpeechError, SpeechFailed, SpeechTimeout
from tests.support.clients import http, soon
from tests.support.local_voice import loading
from tests.support.running import Running, running
from tests.support.speech_server import SpeechServer


async def health(run: Running) -> Any:
    async with http(run) as client:
        return (await client.get("/health")).json()["voice"]


async def test_a_voice_that_answers() -> None:
    """/health has its state for who may see it, and says why it is not ready; visitors get no word of it."""
    async with (
        SpeechServer() as server,
        running(speech_base_url=server.base_url, speech_api_key="k") as run,
    ):
        voice = run.program.added.provided[VoiceService].voice
        assert voice is not None
        await soon(lambda: voice.ready)
        assert await health(run) == {"name": "server", "state": "ready", "detail": ""}
        server.key = "other"
        await voice.probe()
        found = await health(run)
        assert found["state"] == "unreachable"
        assert "SPEECH_API_KEY" in found["detail"]
        body, _ = run.program.health.make_summary()
        assert "voice" not in body
        assert "recogniser" not in body


@pytest.mark.parametrize("options", ["emit_every_frames=0", "no_such=1", "use_compile=perhaps"])
async def test_bad_options_stop_the_start(tmp_path: Path, options: str) -> None:
    with pytest.raises(ConfigError, match="SPEECH_LOCAL_OPTIONS"):
        async with running(speech_local_model=tmp_path, speech_local_options=options):
            pass


# A local voice's side of its process, with a small program in place of the model.

ROOT = Path(__file__).parents[3]
# Says each text in chunks of its characters; some texts are said otherwise.
PROGRAM = """
import os, sys
sys.path.insert(0, {root!r})
from server.shared.processes.wire import WorkerJobs, claim_output
channel = claim_output()
jobs = WorkerJobs(channel, "speak", busy={{"message": "Too many texts wait."}})
channel.send("note", text="The decoder runs plain.")
channel.send("ready", rate=24000)
jobs.listen(sys.stdin.buffer)
while True:
    message, stop = jobs.next_job()
    id, text = message.header["id"], message.header["text"]
    if text == "ends":
        os._exit(3)
    if text == "refused":
        jobs.finish(id, "error", message="The text is empty.")
        continue
    if text in ("endless", "silent"):
        if text == "endless":
            channel.send("chunk", b"ab", id=id)
        stop.wait()
    for char in text:
        channel.send("chunk", char.encode() * 4, id=id)
    jobs.finish(id, "end", frames=len(text))
"""


@asynccontextmanager
async def speaking(tmp_path: Path) -> AsyncIterator[LocalVoice]:
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\n{PROGRAM.format(root=str(ROOT))}")
    program.chmod(0o755)
    async with loading(LocalVoice(tmp_path, str(program))) as voice:
        await voice.wait()
        yield voice


async def spoken(voice: LocalVoice, text: str) -> list[bytes]:
    return [chunk.samples.tobytes() async for chunk in voice.speak(text, language="en")]


@pytest.mark.parametrize(("text", "error"), [("ends", SpeechFailed), ("silent", SpeechTimeout)])
async def test_one_that_ends_or_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: type[SpeechError]
) -> None:
    """The text fails; one whose process has ended is not ready any more."""
    if error is SpeechTimeout:
        monkeypatch.setattr(voices, "CHUNK_SECONDS", 0.2)
    async with speaking(tmp_path) as voice:
        with pytest.raises(error):
            await spoken(voice, text)
        await soon(lambda: voice.ready is (error is SpeechTimeout))
        assert voice.trouble == "" or "status 3" in voice.trouble
