"""See `vllm_omni`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class OmniDiffusionSamplingParams:
    height: int
    width: int
    num_frames: int
    num_inference_steps: int
    guidance_scale: float
    generator: Any
