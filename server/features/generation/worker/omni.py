"""Videos with vLLM-Omni's own `Omni`, in this process's children: quicker than diffusers where it
is installed.

Its server is not used: what a pipeline gives as an array made it fail ("'numpy.ndarray' object has
no attribute 'save'", vLLM-Omni issues 1653 and 6043). Here arrays, tensors and pictures are all
taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.features.generation.rules import Rules, first_frame, pixel_rules
from server.features.generation.worker.backend import (
    Loading,
    OnStep,
    Refused,
    Stop,
    Task,
    rgb_frames,
)


def installed() -> bool:
    return find_spec("vllm_omni") is not None


def load(folder: Path, how: Loading, stop: Stop) -> OmniBackend:
    """Raises ModelFolderError and what vLLM-Omni raises."""
    from vllm_omni.entrypoints.omni import Omni

    options: dict[str, Any] = {
        "model": str(folder),
        "vae_use_slicing": how.vae_slicing,
        "vae_use_tiling": how.vae_tiling,
        "enable_cpu_offload": how.cpu_offload,
        "enforce_eager": not how.compile,
    }
    if how.flow_shift is not None:
        options["flow_shift"] = how.flow_shift
    return OmniBackend(Omni(**options), folder)


class OmniBackend:
    """One `Omni`. It reports no steps, and its work ends early only with its process."""

    name = "vllm-omni"
    stoppable = False

    def __init__(self, omni: Any, folder: Path) -> None:
        self._omni = omni
        factor, frame_step = pixel_rules(folder)
        first = first_frame(folder)
        self.rules = Rules("video", factor, frame_step, first, ("negative", "guidance", "steps"))

    def make(self, task: Task, on_step: OnStep) -> Iterator[NDArray[np.uint8]]:
        import torch
        from vllm_omni.inputs.data import OmniDiffusionSamplingParams

        prompt: dict[str, Any] = {
            "prompt": task.prompt,
            "negative_prompt": task.negative_prompt,
            "modalities": ["video"],
        }
        if task.picture is not None:
            from PIL import Image

            prompt["multi_modal_data"] = {"image": Image.fromarray(task.picture)}
        device = "cuda" if torch.cuda.is_available() else "cpu"
        params = OmniDiffusionSamplingParams(
            height=task.height,
            width=task.width,
            num_frames=task.frames,
            num_inference_steps=task.steps,
            guidance_scale=task.guidance,
            generator=torch.Generator(device).manual_seed(task.seed),
        )
        made = self._omni.generate(prompt, params)
        yield from rgb_frames(_pictures(made))


def _pictures(made: Any) -> Any:
    """The frames of `generate`: in `images`, alone, in a pair with sound, or by name."""
    if isinstance(made, list):
        made = made[0] if made else None
    inner = getattr(made, "request_output", None)
    if inner is not None and not getattr(made, "images", None):
        made = inner[0] if isinstance(inner, list) and inner else inner
    made = getattr(made, "images", made)
    if isinstance(made, list) and len(made) == 1:
        made = made[0]
    if isinstance(made, tuple) and len(made) == 2:
        made = made[0]
    if isinstance(made, dict):
        frames = made.get("frames")
        made = frames if frames is not None else made.get("video")
    if made is None or (isinstance(made, list) and not made):
        raise Refused(
            "vLLM-Omni gave no frames. Its log says why: try other values, or another model.",
            "failed",
        )
    return made
