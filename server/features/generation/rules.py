"""Read the rules of a generating model from its files: sizes, frame counts, fields, sample rate.

Standard library only, because the worker in the models' environment uses this module, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from server.models.files import read_json

# Defaults for files without these values, from the config.json files of Wan 2.1: an autoencoder with 8 pixels per latent
# and patches of 2x2; four frames per latent after the first one
FACTOR = 16
FRAME_STEP = 4
# Hz, for model files without a sample rate
SAMPLE_RATE = 24_000
Output = Literal["video", "sound"]
# Whether a video may or must begin with a picture
FirstFrame = Literal["never", "may", "must"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of one model. The number of frames is a multiple of `frame_step`, plus 1."""

    output: Output
    # Width and height are multiples of it, in pixels.
    factor: int = FACTOR
    frame_step: int = FRAME_STEP
    first_frame: FirstFrame = "never"
    # The optional fields that the model accepts, among "negative", "guidance", "steps", "seconds"
    takes: tuple[str, ...] = ()
    # Hz
    sample_rate: int = SAMPLE_RATE

    def find_nearest_frames(self, wanted: float) -> int:
        """Return the nearest number of frames that the model can make; of two, the larger, as on the page."""
        return max(0, math.floor((wanted - 1) / self.frame_step + 0.5)) * self.frame_step + 1

    @classmethod
    def read(cls, message: Mapping[str, Any]) -> Rules:
        """Return the rules in a worker's message `ready`."""
        return cls(**{**message, "takes": tuple(message["takes"])})


def is_pipeline(folder: Path) -> bool:
    """Return True if the folder contains a diffusers pipeline; otherwise it contains a transformers model."""
    return (folder / "model_index.json").is_file()


def find_own_code(folder: Path) -> str:
    """Return the Python file that a pipeline would run when it is loaded; "" if there is none.

    Newer versions of diffusers ask before they run it, older ones do not. Raises ModelFolderError.
    """
    for part, what in read_json(folder / "model_index.json").items():
        if not isinstance(what, list) or not what or not isinstance(what[0], str):
            continue
        file = f"{what[0]}.py" if part == "_class_name" else f"{part}/{what[0]}.py"
        if (folder / file).is_file():
            return file
    return ""


def read_pixel_rules(folder: Path) -> tuple[int, int]:
    """Return `factor` and `frame_step` of a pipeline (see `Rules`). Raises ModelFolderError."""
    vae = _read_component(folder, "vae")
    transformer = _read_component(folder, "transformer") or _read_component(folder, "unet")
    spatial = _get_positive_integer(vae, "scale_factor_spatial", "spatial_compression_ratio")
    temporal = _get_positive_integer(vae, "scale_factor_temporal", "temporal_compression_ratio")
    patch = transformer.get("patch_size", 2)
    if isinstance(patch, list):
        patch = math.lcm(*(int(one) for one in patch[1:])) if len(patch) > 1 else patch[0]
    patch = patch if isinstance(patch, int) and patch > 0 else 2
    return (spatial * patch if spatial else FACTOR), temporal or FRAME_STEP


def _read_component(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name / "config.json"
    return read_json(path) if path.is_file() else {}


def _get_positive_integer(config: Mapping[str, Any], *names: str) -> int:
    """Return the value of the first of `names` that is a positive integer; 0 if there is none."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return 0
