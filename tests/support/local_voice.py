"""A true Qwen3-TTS process with a tiny model of random weights, in the models' environment."""

from __future__ import annotations

import os
from pathlib import Path

from tests.real_model.server import PYTHON, ROOT, run_module

PACKAGES = ROOT / ".venv-models" / "speech"
EXTRAS = Path(__file__).parent / "qwen_tts_extras"
ENVIRONMENT = {"PYTHONPATH": f"{PACKAGES}:{EXTRAS}"}


def missing() -> str:
    """Return why there is no local voice here and the remedy; "" when there is one."""
    if PYTHON.exists() and (PACKAGES / "qwen_tts").is_dir():
        return ""
    return "qwen-tts is not installed: `bash scripts/models.sh --speech` puts it into .venv-models/speech."


def make(folder: Path) -> None:
    """Make the model's files; half a minute on a busy machine."""
    env = {**os.environ, **ENVIRONMENT, "HF_HUB_OFFLINE": "1"}
    run_module("tests.real_model.tiny_speech", folder, env=env)
