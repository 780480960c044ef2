"""The settings of the microphone."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError, load
from server.features.voice_in.settings import VoiceInSettings
from tests.project.test_config import read, refused


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
