"""A true Qwen3-TTS process with a tiny model of random weights, in the models' environment; and any local model of speech."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from server.shared.speech import SpeechWorker
from tests.real_model.server import PYTHON, ROOT, run_module

W = TypeVar("W", bound=SpeechWorker)
PACKAGES = ROOT / ".venv-models" / "speech"
EXTRAS = Path(__file__).parent / "qwen_tts_extras"
ENVIRONMENT = {"PYTHONPATH": f"{PACKAGES}:{EXTRAS}"}


def missing() -> str:
    """Return why there is no local voice here and the remedy; "" when there is one."""
    if PYTHON.exists() and (PACKAGES / "qwen_tts").is_dir():
        return ""
    return "qwen-tts is not installed: `bash scripts/models.sh --speech` puts it into .venv-models/speech."


def needed() -> None:
    """Skip a test where there is no local voice; where a real model is required, fail."""
    if lacking := missing():
        assert "REAL_MODEL_REQUIRED" not in os.environ, lacking
        pytest.skip(lacking)


def make(folder: Path) -> None:
    """Make the model's files; half a minute on a busy machine."""
    run_module("tests.real_model.tiny_speech", folder, env=_environment())


def compare(folder: Path) -> dict[str, Any]:
    """Make models in the folder and compare what they speak (see `tests.real_model.speech_compared`)."""
    done = run_module("tests.real_model.speech_compared", folder, env=_environment())
    found: dict[str, Any] = json.loads(done.splitlines()[-1])
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT, "HF_HUB_OFFLINE": "1"}


@asynccontextmanager
async def loading(worker: W) -> AsyncIterator[W]:
    """A local model that begins to load, and is closed in any case."""
    worker.start()
    try:
        yield worker
    finally:
        await worker.close()
