"""See `vllm_omni`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


class Omni:
    def __init__(self, **options: Any) -> None:
        self._options = options

    def generate(self, prompt: dict[str, Any], params: Any) -> list[Any]:
        """Its first frame is the one it was given; what it was asked is written down."""
        first = np.asarray(prompt.pop("multi_modal_data")["image"], np.float32) / 255
        asked = asdict(params)
        asked["seed"] = asked.pop("generator").initial_seed()
        told = {"loaded": self._options, "asked": prompt | asked}
        (Path(os.environ["HOME"]) / "omni.json").write_text(json.dumps(told))
        count = params.num_frames
        video = np.stack([first * (1 - at / count) for at in range(count)])
        return [SimpleNamespace(images=[video[None]])]
