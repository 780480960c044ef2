"""The voice that the settings name, in the whole server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config import ConfigError, load
from server.features.voice_out.settings import VoiceOutSettings
from server.features.voice_out.voices import LocalVoice, VoiceService
from tests.support.clients import http, soon
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
        voice = run.program.feature("voice_out").voice
        assert voice is not None
        await soon(lambda: voice.ready)
        assert await health(run) == {"name": "server", "state": "ready", "detail": ""}
        server.key = "other"
        await voice.probe()
        found = await health(run)
        assert found["state"] == "unreachable"
        assert "SPEECH_API_KEY" in found["detail"]
        body, _ = run.program.health.summary()
        assert "voice" not in body
        assert "recogniser" not in body


@pytest.mark.parametrize("options", ["emit_every_frames=0", "no_such=1", "use_compile=perhaps"])
async def test_bad_options_stop_the_start(tmp_path: Path, options: str) -> None:
    with pytest.raises(ConfigError, match="SPEECH_LOCAL_OPTIONS"):
        async with running(speech_local_model=tmp_path, speech_local_options=options):
            pass


async def test_no_voice_by_default() -> None:
    async with running() as run:
        assert run.program.feature("voice_out").voice is None
        assert await health(run) is None


async def test_a_local_model_loads_before_it_works(tmp_path: Path) -> None:
    """Nobody reads that it does not work until that is known; afterwards they do."""
    # In place of a worker that loads for long
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o700)
    settings = load(None, speech_local_model=tmp_path, speech_python=python)
    one = VoiceService(VoiceOutSettings.of(settings), settings.engine_python)
    local = one.voice
    assert isinstance(local, LocalVoice)
    try:
        local.start()
        await soon(lambda: local.pid is not None)
        assert (one.seen()["voice"]["state"], one.seen()["voice"]["name"]) == ("loading", "local")
        local.kill()
        await soon(lambda: not local.loading)
        assert one.seen()["voice"]["state"] == "unreachable"
        assert "process ended" in one.seen()["voice"]["detail"]
    finally:
        await one.close()
