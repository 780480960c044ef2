"""No sound is kept: people speak, a model hears and answers aloud, and no file is written and no program
started.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from scripts.bench.live_encoder import LiveEncoder, Scene
from scripts.bench.voice_peer import VoicePeer
from scripts.bench.voice_sounds import synthesise_espeak
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_server import READABLE, ServerProcess
from tests.support.sounds import SENTENCES, needs_espeak
from tests.support.speech_server import SpeechServer, TranscriptionServer
from tests.support.unfaithful_server import PROGRAM, SOUNDS, file_of
from tests.whole.test_nothing_kept import CALLS, files_written, needs_strace, traced

pytestmark = [pytest.mark.slow, needs_strace, needs_espeak]

# Programs that libraries start before the server answers: where shared libraries are, which system it is
AT_IMPORT = ("ldconfig", "uname", "gcc", "ld", "objdump")
STARTED = re.compile(r'^\d+\s+execve(?:at)?\(.*?"([^"]+)".*= 0$')


class Voices:
    """A model that hears, a recogniser and a voice, in this process."""

    def __init__(self) -> None:
        self.model = FakeOpenAI(model="Qwen/Qwen2.5-Omni-7B")
        self.words = TranscriptionServer()
        self.voice = SpeechServer()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "ENGINE": "vllm",
            "VLLM_BASE_URL": self.model.base_url,
            "TRANSCRIPTION_BASE_URL": self.words.base_url,
            "SPEECH_BASE_URL": self.voice.base_url,
        }

    async def conversation(self, server: ServerProcess) -> None:
        """A spoken question with its spoken answer, then one about the past with what was heard."""
        encoder = LiveEncoder(Scene(640, 480), rate=10)
        try:
            async with VoicePeer(server.url, encoder) as peer:
                await peer.send({"type": "settings", "recall": True})
                await peer.wait_live()
                await peer.listen(silence_ms=200, speak=True)
                since = peer.seen
                await peer.microphone.say(synthesise_espeak(SENTENCES[0]))
                await peer.wait_for(lambda m: m["type"] == "response", timeout=60, since=since)
                await peer.wait_for(
                    lambda m: m["type"] == "speaking" and m["state"] == "done",
                    timeout=60,
                    since=since,
                )
                assert self.words.requests
                assert self.voice.texts
                assert len(self.model.last.sounds) == 1
                await peer.wait_for(lambda m: m["type"] == "recall" and m["pictures"] > 0, since=0)
                past = await peer.ask("What just happened?", route="past", timeout=60)
                assert past.response is not None, past.error
                assert len(self.model.last.sounds) == 1
                await peer.switch_off()
        finally:
            await encoder.close()


@pytest_asyncio.fixture
async def voices() -> AsyncIterator[Voices]:
    one = Voices()
    async with one.model, one.words, one.voice:
        yield one


def programs_started(trace: str) -> list[str]:
    """The programs of a trace, without the server itself and what libraries ask when they are imported."""
    found = [match[1] for line in trace.splitlines() if (match := STARTED.match(line))]
    assert found, "the trace has not even the server"
    return [path for path in found[1:] if path.rpartition("/")[2] not in AT_IMPORT]


async def test_what_is_said_reaches_no_file_and_no_program(tmp_path: Path, voices: Voices) -> None:
    """From the microphone to words, to the model and to the loudspeaker; sound is cut in memory."""
    calls = f"{CALLS},execve,execveat"
    trace = await traced(tmp_path, READABLE, voices.settings, voices.conversation, calls=calls)
    assert files_written(trace) == []
    assert programs_started(trace) == []
    assert [path.name for path in tmp_path.iterdir()] == ["trace"]


@pytest.mark.night
async def test_the_watch_sees_each_sound_that_is_kept(tmp_path: Path, voices: Voices) -> None:
    """The same with sound that is deliberately written, on each of its ways, and a program that is
    started for it, is caught.
    """
    settings = {**voices.settings, "KEEP_IN": str(tmp_path)}
    calls = f"{CALLS},execve,execveat"
    trace = await traced(
        tmp_path, "tests.support.unfaithful_server", settings, voices.conversation, calls=calls
    )
    written = files_written(trace)
    for way in SOUNDS:
        assert any(file_of(way) in line for line in written), way
        assert (await asyncio.to_thread((tmp_path / file_of(way)).stat)).st_size > 100
    assert any(path.endswith(PROGRAM) for path in programs_started(trace))
