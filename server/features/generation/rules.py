"""Read from a generating model's files what it takes: sizes, frame counts, fields, rates.

Standard library only: the worker in the models' environment reads it, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from server.models.files import read_json

# For files that say nothing: an autoencoder of 8 pixels a latent below patches of 2x2, and four
# frames a latent behind the first (Wan 2.1, its config.json files).
FACTOR = 16
FRAME_STEP = 4
# Hz, where the model's files do not say
SAMPLE_RATE = 24_000
Output = Literal["video", "sound"]
# The use of a picture that a model may begin with
FirstFrame = Literal["never", "may", "must"]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one model. `frames` are `frame_step` * k + 1."""

    output: Output
    # Sides are multiples of it, in pixels.
    factor: int = FACTOR
    frame_step: int = FRAME_STEP
    first_frame: FirstFrame = "never"
    # Some of "negative", "guidance", "steps", "seconds"
    takes: tuple[str, ...] = ()
    # Hz
    sample_rate: int = SAMPLE_RATE

    def nearest_frames(self, wanted: float) -> int:
        """The nearest count that the model can make; of two the larger, as on the page."""
        return max(0, math.floor((wanted - 1) / self.frame_step + 0.5)) * self.frame_step + 1

    @classmethod
    def read(cls, message: Mapping[str, Any]) -> Rules:
        """Read the rules from a worker's message."""
        return cls(**{**message, "takes": tuple(message["takes"])})


def is_pipeline(folder: Path) -> bool:
    """Find whether the folder holds a diffusers pipeline; else it holds one model of transformers."""
    return (folder / "model_index.json").is_file()


def find_own_code(folder: Path) -> str:
    """The file of a pipeline that would run as a program when it is loaded; "" where there is none.

    Raises ModelFolderError. Newer diffusers asks before it runs one, older does not.
    """
    for part, what in read_json(folder / "model_index.json").items():
        if not isinstance(what, list) or not what or not isinstance(what[0], str):
            continue
        file = f"{what[0]}.py" if part == "_class_name" else f"{part}/{what[0]}.py"
        if (folder / file).is_file():
            return file
    return ""


def pixel_rules(folder: Path) -> tuple[int, int]:
    """Multiple of the sides in pixels, and frames a latent, of a pipeline. Raises ModelFolderError."""
    vae = _component(folder, "vae")
    transformer = _component(folder, "transformer") or _component(folder, "unet")
    spatial = _positive_integer(vae, "scale_factor_spatial", "spatial_compression_ratio")
    temporal = _positive_integer(vae, "scale_factor_temporal", "temporal_compression_ratio")
    patch = transformer.get("patch_size", 2)
    if isinstance(patch, list):
        patch = math.lcm(*(int(one) for one in patch[1:])) if len(patch) > 1 else patch[0]
    patch = patch if isinstance(patch, int) and patch > 0 else 2
    return (spatial * patch if spatial else FACTOR), temporal or FRAME_STEP


def _component(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name / "config.json"
    return read_json(path) if path.is_file() else {}


def _positive_integer(config: Mapping[str, Any], *names: str) -> int:
    """The first of `names` that is a whole number above 0; 0 when none is."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return 0
